"""Authentication: the only place that turns the login of a request into an Actor."""

import hmac
from dataclasses import replace
from typing import TYPE_CHECKING

from starlette.requests import Request

from admin_api.identity.jwt_logins import JWTLogins
from admin_api.operations.actors import Actor
from admin_api.operations.people.personal_tokens import log_in_by_token, rejected_login
from admin_api.operations.people.sessions import SessionTimes, log_in_by_session
from admin_api.settings import Settings
from admin_api.web import csrf
from admin_api.web.addresses import address_of
from admin_api.web.call_rates import limit_address, take_call
from admin_api.web.cookies import read_cookie
from admin_api.web.idempotency import claim_key
from admin_api.web.refused_logins import note_refusal
from gateway.domain.errors import GatewayError
from gateway.domain.keys import PERSONAL_PREFIX

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool


async def authenticate(request: Request) -> Actor:
    """Who calls the API, with the role they have at this moment.

    Raises GatewayError `not_authenticated`, `cross_site_request`, and `rate_limit_exceeded` for a caller, or an address
    whose logins fail, with too many calls. Raises Replay for a request that was answered before, by its
    Idempotency-Key.
    """
    try:
        actor = replace(await _find_actor(request), via=_route_of(request))
    except GatewayError:
        await limit_address(request)
        raise
    caller = actor.name if actor.user_id is None else f"user:{actor.user_id}"
    await take_call(request, caller)
    await claim_key(request, actor)
    return actor


async def authenticate_page(request: Request) -> Actor:
    """Whose session asks for a page, or sends the form of one: for the portal, where no other login counts. Raises
    GatewayError as `authenticate` does."""
    try:
        actor = replace(await _log_in_by_cookie(request), via=_route_of(request))
        if request.method not in csrf.SAFE_METHODS:
            csrf.check_form(request, await request.form(), actor.session_id)
    except GatewayError:
        await limit_address(request)
        raise
    await take_call(request, f"user:{actor.user_id}")
    return actor


def _route_of(request: Request) -> str:
    """As the OpenAPI document names it: a path without values, which could name people."""
    route = request.scope.get("route")
    return f"{request.method} {getattr(route, 'path_format', '')}".strip()


async def _find_actor(request: Request) -> Actor:
    settings: Settings = request.app.state.settings
    pool: Pool = request.app.state.pool
    jwt_logins: JWTLogins = request.app.state.jwt_logins
    request_id, ip = request.state.request_id, address_of(request)
    given = _bearer_token(request)
    # Constant time: the duration says nothing about how much of the token was right.
    if hmac.compare_digest(given.encode(), settings.admin_token.get_secret_value().encode()):
        # A new LITEMAAS_ADMIN_TOKEN is another login.
        digest = settings.peppers.digest(given, settings.peppers.newest).hex()
        return Actor(name="admin-token", role="admin", request_id=request_id, ip=ip, login=f"admin-token:{digest}")
    if given.startswith(PERSONAL_PREFIX):
        return await log_in_by_token(pool, settings.peppers, given, request_id=request_id, ip=ip)
    if jwt_logins.are_allowed and given.count(".") == 2:
        try:
            return await jwt_logins.log_in(pool, given, request_id=request_id, ip=ip)
        except GatewayError as exc:
            await note_refusal(request, exc, "jwt")
            raise
    # A cookie does not replace a login that was sent and is wrong.
    if read_cookie(request, "session") and "authorization" not in request.headers:
        csrf.check_header(request)
        return await _log_in_by_cookie(request)
    raise rejected_login(
        "Log in at /api/auth/login, or send a personal access token as 'Authorization: Bearer <token>'."
    )


def _bearer_token(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


async def _log_in_by_cookie(request: Request) -> Actor:
    settings: Settings = request.app.state.settings
    return await log_in_by_session(
        request.app.state.pool,
        settings.peppers,
        settings.encryption_keys,
        read_cookie(request, "session"),
        times_of(settings),
        request_id=request.state.request_id,
        ip=address_of(request),
    )


def times_of(settings: Settings) -> SessionTimes:
    """How long sessions last."""
    return SessionTimes(idle_s=settings.session_idle_s, lifetime_s=settings.session_lifetime_s)
