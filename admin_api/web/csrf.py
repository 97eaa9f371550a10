"""Protection against cross-site request forgery: a browser sends its cookies with a request whatever page causes it."""

from typing import TYPE_CHECKING, Final

from starlette.requests import Request

from gateway.domain.errors import GatewayError

if TYPE_CHECKING:
    from admin_api.settings import Settings

SAFE_METHODS: Final = ("GET", "HEAD", "OPTIONS")
HEADER: Final = "x-litemaas-csrf"


def check_header(request: Request) -> None:
    """For the API with a session's cookie. Raises GatewayError `cross_site_request`."""
    settings: Settings = request.app.state.settings
    if request.method in SAFE_METHODS:
        return
    origin = request.headers.get("origin", "").lower()
    # CORS_ORIGINS name pages that may call the API with a session.
    is_allowed = origin in settings.cors_origins or not _is_foreign(request)
    if not is_allowed or HEADER not in request.headers:
        message = f"With a session, send the header {HEADER} (any value), and from pages of this origin only."
        raise GatewayError("cross_site_request", message)


def _is_foreign(request: Request) -> bool:
    """Whether the browser says that a page of another origin sent the request. Both headers are missing where no
    browser, or a very old one, sends it."""
    settings: Settings = request.app.state.settings
    origin = request.headers.get("origin")
    own = {settings.own_origin, f"{request.url.scheme}://{request.headers.get('host', '')}"}
    is_other_origin = origin is not None and origin not in own
    return is_other_origin or request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none")
