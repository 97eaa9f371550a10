"""Before the login, and the end of it."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from admin_api.identity.identity_providers import IdentityProviders
from admin_api.operations.people import sessions
from admin_api.portal.formatters import Formats
from admin_api.portal.languages import choose_language, translations
from admin_api.portal.rendering import Redirect, render_before_login
from admin_api.portal.visits import Visit

# Of the parameter `out`: this session has ended, the one at the provider is next.
LEAVE_PROVIDER: Final = "provider"


async def show(request: Request) -> Response:
    """The identity providers."""
    providers: IdentityProviders = request.app.state.identity_providers
    language = choose_language(None, request.headers.get("accept-language", ""))
    gettext = translations(language).gettext
    is_leaving = request.query_params.get("out") == LEAVE_PROVIDER
    return render_before_login(
        request,
        "login.html",
        Formats(language, "UTC"),
        200,
        title=gettext("Log in to LiteMaaS"),
        providers=list(providers.names),
        next=request.query_params.get("next", "/home"),
        message=gettext("You have logged out.") if "out" in request.query_params else None,
        leads_on_to=await providers.logout_url("oidc") if is_leaving else None,
    )


async def log_out(visit: Visit) -> Redirect:
    """Ends the session here, and at the identity provider where it has an address for that. Not by a redirect to it: a
    form may only lead to pages of ours (`form-action` of the content security policy, which Chromium applies to
    redirects too), so the login page leads on."""
    await sessions.end_sessions(visit.pool, visit.actor)
    providers: IdentityProviders = visit.request.app.state.identity_providers
    has_logout = await providers.logout_url(visit.actor.provider) is not None
    return Redirect(f"/login?out={LEAVE_PROVIDER}" if has_logout else "/login?out=1")
