"""Who asks: the only place that turns a request's login into an Actor. There is no way around it in any mode."""

import hmac
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from admin_api.operations.actors import Actor
from admin_api.operations.personal_tokens import log_in_by_token, refused
from admin_api.settings import Settings
from gateway.domain.keys import PERSONAL_PREFIX

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

_bearer = HTTPBearer(auto_error=False, description="A personal access token (lmp-…), or LITEMAAS_ADMIN_TOKEN")


async def authenticate(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Actor:
    """Who asks, with the role he has at this moment. Raises GatewayError `not_authenticated`."""
    settings: Settings = request.app.state.settings
    pool: Pool = request.app.state.pool
    request_id, ip = request.state.request_id, _address(request)
    given = credentials.credentials if credentials else ""
    # In constant time: how long it takes tells nothing of how much was right.
    if hmac.compare_digest(given.encode(), settings.admin_token.get_secret_value().encode()):
        return Actor(name="admin-token", role="admin", request_id=request_id, ip=ip)
    if given.startswith(PERSONAL_PREFIX):
        return await log_in_by_token(pool, settings.peppers, given, request_id=request_id, ip=ip)
    raise refused("Send a personal access token as 'Authorization: Bearer <token>'.")


def _address(request: Request) -> str | None:
    """As the server saw it; a Unix socket has none."""
    try:
        return str(ip_address(request.client.host)) if request.client else None
    except ValueError:
        return None
