"""Who asks: the only place that turns a request's login into an Actor. There is no way around it in any mode."""

import hmac
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import Depends, Request
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer

from admin_api.identity.jwt_logins import JWTLogins
from admin_api.operations.actors import Actor
from admin_api.operations.people.personal_tokens import log_in_by_token, refused
from admin_api.operations.people.sessions import SessionTimes, log_in_by_session
from admin_api.settings import Settings
from admin_api.web.addresses import address_of
from admin_api.web.call_rates import limit_address, take_call
from admin_api.web.idempotency import claim_key
from gateway.domain.errors import GatewayError
from gateway.domain.keys import PERSONAL_PREFIX

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

_bearer = HTTPBearer(
    auto_error=False,
    description="A personal access token (lmp-…), a JWT of the identity provider, or LITEMAAS_ADMIN_TOKEN",
)
_cookie = APIKeyCookie(
    name="__Host-litemaas_session",
    auto_error=False,
    description="Of a login at /api/auth/login. What changes something needs the header x-litemaas-csrf, of any value",
)
SAFE_METHODS: Final = ("GET", "HEAD", "OPTIONS")
CSRF_HEADER: Final = "x-litemaas-csrf"


async def authenticate(
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    _: Annotated[str | None, Depends(_cookie)] = None,
) -> Actor:
    """Who asks, with the role he has at this moment. Raises GatewayError `not_authenticated`, and `rate_limit_exceeded`
    for one who calls too often, and for an address that too often has no login that works. A request that was answered
    before, by its Idempotency-Key, ends here with Replay."""
    try:
        actor = await _find_actor(request, credentials)
    except GatewayError:
        await limit_address(request)
        raise
    caller = actor.name if actor.user_id is None else f"user:{actor.user_id}"
    await take_call(request, caller)
    await claim_key(request, caller)
    return actor


async def _find_actor(request: Request, credentials: HTTPAuthorizationCredentials | None) -> Actor:
    settings: Settings = request.app.state.settings
    pool: Pool = request.app.state.pool
    jwt_logins: JWTLogins = request.app.state.jwt_logins
    request_id, ip = request.state.request_id, address_of(request)
    given = credentials.credentials if credentials else ""
    # In constant time: how long it takes tells nothing of how much was right.
    if hmac.compare_digest(given.encode(), settings.admin_token.get_secret_value().encode()):
        return Actor(name="admin-token", role="admin", request_id=request_id, ip=ip)
    if given.startswith(PERSONAL_PREFIX):
        return await log_in_by_token(pool, settings.peppers, given, request_id=request_id, ip=ip)
    if jwt_logins.are_allowed and given.count(".") == 2:
        return await jwt_logins.log_in(pool, given, request_id=request_id, ip=ip)
    cookie = request.cookies.get(session_cookie(settings))
    # A login that was sent and is wrong is not made good by a cookie.
    if cookie is not None and "authorization" not in request.headers:
        _refuse_other_sites(request, settings)
        return await log_in_by_session(
            pool,
            settings.peppers,
            settings.encryption_keys,
            cookie,
            times_of(settings),
            request_id=request_id,
            ip=ip,
        )
    raise refused("Log in at /api/auth/login, or send a personal access token as 'Authorization: Bearer <token>'.")


def session_cookie(settings: Settings) -> str:
    """Its name; with `__Host-` no other host of the domain can plant one."""
    return "__Host-litemaas_session" if settings.is_secure else "litemaas_session"


def times_of(settings: Settings) -> SessionTimes:
    """How long sessions last."""
    return SessionTimes(idle_s=settings.session_idle_s, lifetime_s=settings.session_lifetime_s)


def _refuse_other_sites(request: Request, settings: Settings) -> None:
    """A browser sends the cookie with whatever page asks it to. Three tells of who did: Sec-Fetch-Site, Origin, and a
    header of our own, which a page of another origin can not set without asking first (CORS)."""
    if request.method in SAFE_METHODS:
        return
    origin = request.headers.get("origin")
    is_allowed = origin is not None and origin.lower() in settings.cors_origins
    own = {settings.own_origin, f"{request.url.scheme}://{request.headers.get('host', '')}"}
    is_foreign = (origin is not None and origin not in own and not is_allowed) or (
        request.headers.get("sec-fetch-site") in ("cross-site", "same-site") and not is_allowed
    )
    if is_foreign or CSRF_HEADER not in request.headers:
        message = f"With a session, send the header {CSRF_HEADER} (any value), and from pages of this origin only."
        raise GatewayError("cross_site_request", message)
