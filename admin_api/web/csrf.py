"""Protection against cross-site request forgery: a browser sends its cookies with a request whatever page causes it.

Three ways to show that a page of ours sent the request, each with the `Origin` and `Sec-Fetch-Site` of the browser:

- `/api`: the header `x-litemaas-csrf`, which a page of another origin cannot set without a CORS preflight;
- a form of a page with a session: a hidden field with a random number and the HMAC of it and the session's id. Nothing
  is stored, so each replica accepts it, and it ends with the session. It is another one each time, so that how well a
  page compresses says nothing of it (https://breachattack.com);
- a form of a page before the login: a signed random value in a cookie and in a hidden field ("double submit"). The
  signature and the `__Host-` prefix keep another host of the domain from choosing the value.

A plain HTML form needs no script. `Origin: null` is foreign: pages send `referrer-policy: same-origin`, with which
browsers send the origin with a form's POST.
"""

import hmac
import secrets
from collections.abc import Mapping
from time import time
from typing import TYPE_CHECKING, Final

from starlette.requests import Request
from starlette.responses import Response

from admin_api.encryption import SecretKeys
from admin_api.web.cookies import read_cookie, set_cookie
from gateway.domain.errors import GatewayError

if TYPE_CHECKING:
    from admin_api.settings import Settings

SAFE_METHODS: Final = ("GET", "HEAD", "OPTIONS")
HEADER: Final = "x-litemaas-csrf"
# The hidden field of a form.
FIELD: Final = "csrf_token"
FORM_TYPES: Final = ("application/x-www-form-urlencoded", "multipart/form-data")
# Purposes of signatures: a token of one kind is not valid as the other.
FORM: Final = "csrf form"
LOGIN_FORM: Final = "csrf login form"
NUMBER_BYTES: Final = 16
LOGIN_TOKEN_S: Final = 3600
REFUSED: Final = "This form was sent from another page, or is too old: load the page again, then send it."


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


def form_token(keys: SecretKeys, session_id: int) -> str:
    """The hidden field `csrf_token` of a form on a page with this session: another one each time."""
    number = secrets.token_hex(NUMBER_BYTES)
    return f"{number}.{keys.sign(f'{session_id}.{number}', purpose=FORM)}"


def check_form(request: Request, form: Mapping[str, object], session_id: int | None) -> None:
    """For a form of a page with a session; None: a caller without one. Raises GatewayError `cross_site_request`."""
    number, _, signature = _check_sent_by_a_form(request, form).partition(".")
    signed = f"{session_id}.{number}"
    if session_id is None or not number or not _keys(request).is_signed(signed, signature, purpose=FORM):
        raise GatewayError("cross_site_request", REFUSED)


def login_token(request: Request) -> str:
    """The hidden field `csrf_token` of forms on pages before the login. The cookie's value while it is valid, so that
    pages in several tabs have one; otherwise a new one. The answer takes it too: `set_login_token`."""
    kept = read_cookie(request, "csrf")
    # Half of its time: a page that is shown now can be sent for that long.
    if _is_login_token(_keys(request), kept, remaining_s=LOGIN_TOKEN_S / 2):
        return kept
    value = f"{secrets.token_urlsafe(32)}.{int(time()) + LOGIN_TOKEN_S}"
    return f"{value}.{_keys(request).sign(value, purpose=LOGIN_FORM)}"


def set_login_token(response: Response, settings: "Settings", token: str) -> None:
    """Gives the browser the cookie of `login_token`."""
    set_cookie(response, settings, "csrf", token, max_age=LOGIN_TOKEN_S)


def check_login_form(request: Request, form: Mapping[str, object]) -> None:
    """For a form of a page before the login. Raises GatewayError `cross_site_request`."""
    token = _check_sent_by_a_form(request, form)
    kept = read_cookie(request, "csrf")
    is_same = hmac.compare_digest(token.encode(), kept.encode())
    if not is_same or not _is_login_token(_keys(request), token):
        raise GatewayError("cross_site_request", REFUSED)


def _keys(request: Request) -> SecretKeys:
    settings: Settings = request.app.state.settings
    return settings.encryption_keys


def _check_sent_by_a_form(request: Request, form: Mapping[str, object]) -> str:
    """The form's token. No form token is valid for the API, nor for a body that only a script could send."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    token = form.get(FIELD)
    is_of_api = request.url.path == "/api" or request.url.path.startswith("/api/")
    if is_of_api or content_type not in FORM_TYPES or _is_foreign(request) or not isinstance(token, str):
        raise GatewayError("cross_site_request", REFUSED)
    if not token.isascii():
        # Ours are; a form may declare any charset, and be decoded to text that cannot be encoded.
        raise GatewayError("cross_site_request", REFUSED)
    return token


def _is_foreign(request: Request) -> bool:
    """Whether the browser says that a page of another origin sent the request. Both headers are missing where no
    browser, or a very old one, sends it."""
    settings: Settings = request.app.state.settings
    origin = request.headers.get("origin")
    own = {settings.own_origin, f"{request.url.scheme}://{request.headers.get('host', '')}"}
    is_other_origin = origin is not None and origin not in own
    return is_other_origin or request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none")


def _is_login_token(keys: SecretKeys, token: str, *, remaining_s: float = 0) -> bool:
    value, _, signature = token.rpartition(".")
    if not keys.is_signed(value, signature, purpose=LOGIN_FORM):
        return False
    return int(value.rpartition(".")[2]) > time() + remaining_s
