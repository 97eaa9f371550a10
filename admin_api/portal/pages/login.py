"""Before the login, and the end of it."""

from starlette.requests import Request
from starlette.responses import Response

from admin_api.identity.identity_providers import IdentityProviders
from admin_api.operations.people import sessions
from admin_api.portal.formatters import Formats
from admin_api.portal.languages import choose_language, translations
from admin_api.portal.rendering import Redirect, render_before_login
from admin_api.portal.visits import Visit


async def show(request: Request) -> Response:
    """The identity providers."""
    providers: IdentityProviders = request.app.state.identity_providers
    language = choose_language(None, request.headers.get("accept-language", ""))
    gettext = translations(language).gettext
    return render_before_login(
        request,
        "login.html",
        Formats(language, "UTC"),
        200,
        title=gettext("Log in to LiteMaaS"),
        providers=list(providers.names),
        next=request.query_params.get("next", "/home"),
        message=gettext("You have logged out.") if "out" in request.query_params else None,
    )


async def log_out(visit: Visit) -> Redirect:
    """Ends the session here, and at the identity provider where it has an address for that."""
    await sessions.end_sessions(visit.pool, visit.actor)
    providers: IdentityProviders = visit.request.app.state.identity_providers
    return Redirect(await providers.logout_url(visit.actor.provider) or "/login?out=1")
