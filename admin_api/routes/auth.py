"""`/api/auth`: login and logout of a browser, and the caller's sessions."""

import base64
import hmac
import json
from time import time
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import RedirectResponse

from admin_api.encryption import EncryptionError
from admin_api.identity.identity_providers import IdentityProviders
from admin_api.operations.people import sessions
from admin_api.operations.people.logins import RoleRules, admit_person
from admin_api.operations.people.refused_logins import LoginRefused
from admin_api.routes.dependencies import ID, AppPool, AppSettings, LoggedIn
from admin_api.routes.responses import ERRORS
from admin_api.schemas.sessions import EndedView, LogoutView, ProvidersView, SessionsView, SessionView
from admin_api.settings import Settings
from admin_api.storage.sessions import Provider
from admin_api.web.addresses import address_of
from admin_api.web.authenticate import times_of
from admin_api.web.call_rates import limit_address
from admin_api.web.cookies import read_cookie, set_cookie
from admin_api.web.refused_logins import note_refusal, refusal_page
from gateway.domain.errors import GatewayError

router = APIRouter(prefix="/api/auth", tags=["login"], responses=ERRORS)
PURPOSE: Final = "login under way"
# The encrypted login is bound to no row of the database, only to the cookie.
IN_A_BROWSER: Final = "cookie"
MAX_LOGIN_S: Final = 600
AWAY: Final[dict[int | str, dict[str, Any]]] = {302: {"description": "Redirect"}}


@router.get("/providers", dependencies=[Depends(limit_address)])
async def list_providers(request: Request) -> ProvidersView:
    """The identity providers to log in at."""
    return ProvidersView(providers=list(_providers(request).names))


@router.get(
    "/login", status_code=302, response_class=RedirectResponse, responses=AWAY, dependencies=[Depends(limit_address)]
)
async def log_in(
    request: Request,
    settings: AppSettings,
    provider: Provider | None = None,
    next: Annotated[str, Query(max_length=2000, description="Path to return to after the login")] = "/",
) -> Response:
    """Sends the browser to the identity provider. The state of the login is encrypted in a cookie, so that any replica
    can finish it."""
    try:
        departure = await _providers(request).depart(provider)
    except GatewayError as exc:
        if exc.code == "not_found":
            raise
        return await _refuse(request, exc, provider or _providers(request).names[0])
    kept = departure.state | {"next": _own_path(next), "until": str(int(time()) + MAX_LOGIN_S)}
    encrypted = settings.encryption_keys.encrypt(json.dumps(kept).encode(), purpose=PURPOSE, row=IN_A_BROWSER)
    cookie = base64.urlsafe_b64encode(encrypted).decode()
    answer = RedirectResponse(departure.url, 302)
    set_cookie(answer, settings, "login", cookie, max_age=MAX_LOGIN_S)
    return answer


@router.get(
    "/callback",
    status_code=302,
    response_class=RedirectResponse,
    responses=AWAY,
    dependencies=[Depends(limit_address)],
)
async def finish_login(
    request: Request,
    settings: AppSettings,
    code: Annotated[str | None, Query(max_length=4000)] = None,
    state: Annotated[str | None, Query(max_length=1000)] = None,
    error: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    """The identity provider sends the browser back to this route, which opens the session. A refused login is a page
    for a browser (`Accept: text/html`), and an error in JSON for others."""
    kept = _read_login(read_cookie(request, "login"), settings)
    door: Provider = "openshift" if kept is not None and kept["provider"] == "openshift" else "oidc"
    try:
        return await _finish(request, _check_return(kept, code=code, state=state, error=error), code or "")
    except GatewayError as exc:
        return await _refuse(request, exc, door)


def _check_return(
    kept: dict[str, str] | None, *, code: str | None, state: str | None, error: str | None
) -> dict[str, str]:
    if kept is None or state is None or not hmac.compare_digest(kept["state"].encode(), state.encode()):
        message = "This login was not begun in this browser, or too long ago; log in again."
        raise LoginRefused("state_unknown", message, code="login_failed")
    if error is not None or code is None:
        refused = LoginRefused("provider_refused", "The identity provider did not let you in.", code="login_failed")
        refused.details["error"] = error or ""
        raise refused
    return kept


async def _finish(request: Request, kept: dict[str, str], code: str) -> RedirectResponse:
    settings: Settings = request.app.state.settings
    pool = request.app.state.pool
    provider, person = await _providers(request).arrive(kept, code)
    rules = RoleRules(group_roles=settings.group_roles, initial_admins=settings.initial_admins)
    about: dict[str, Any] = {"request_id": request.state.request_id, "ip": address_of(request)}
    user = await admit_person(pool, person, rules, **about)
    cookie = await sessions.open_session(
        pool,
        settings.peppers,
        settings.encryption_keys,
        user,
        person=person,
        provider=provider,
        times=times_of(settings),
        user_agent=request.headers.get("user-agent"),
        **about,
    )
    answer = RedirectResponse(kept["next"], 302)
    set_cookie(answer, settings, "session", cookie, max_age=int(settings.session_lifetime_s))
    set_cookie(answer, settings, "login", "", max_age=0)
    return answer


async def _refuse(request: Request, error: GatewayError, door: Provider) -> Response:
    """The page of a refused login. Raises the error for a caller that asked for none."""
    await note_refusal(request, error, door)
    page = refusal_page(request, error, door)
    if page is None:
        raise error
    return page


@router.post("/logout")
async def log_out(request: Request, actor: LoggedIn, pool: AppPool) -> LogoutView:
    """Ends the session of this request. `logout_url`: where to end the session at the identity provider too."""
    await sessions.end_sessions(pool, actor)
    return LogoutView(logout_url=await _providers(request).logout_url(actor.provider))


@router.get("/sessions")
async def list_own_sessions(actor: LoggedIn, settings: AppSettings, pool: AppPool) -> SessionsView:
    """The caller's open sessions, newest first."""
    rows = await sessions.list_sessions(pool, actor, times_of(settings))
    return SessionsView(rows=[SessionView.of(row, actor.session_id) for row in rows])


@router.delete("/sessions")
async def end_own_sessions(actor: LoggedIn, pool: AppPool) -> EndedView:
    """Ends all sessions of the caller, this one included."""
    return EndedView(ended=await sessions.end_sessions(pool, actor, all_of_them=True))


@router.delete("/sessions/{session_id}")
async def end_own_session(actor: LoggedIn, pool: AppPool, session_id: ID) -> EndedView:
    """Ends one session of the caller."""
    return EndedView(ended=await sessions.end_sessions(pool, actor, session_id=session_id))


def _providers(request: Request) -> IdentityProviders:
    providers: IdentityProviders = request.app.state.identity_providers
    return providers


def _read_login(cookie: str, settings: Settings) -> dict[str, str] | None:
    try:
        encrypted = base64.urlsafe_b64decode(cookie)
        kept: dict[str, str] = json.loads(
            settings.encryption_keys.decrypt(encrypted, purpose=PURPOSE, row=IN_A_BROWSER)
        )
    except (ValueError, EncryptionError):
        return None
    return kept if int(kept["until"]) > time() else None


def _own_path(path: str) -> str:
    """Only a path of ours: `//host` and `/\\host` lead elsewhere."""
    is_own = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable() and "\\" not in path
    return path if is_own else "/"
