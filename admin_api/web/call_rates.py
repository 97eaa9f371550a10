"""Rate limit of the admin API: by user, or by address without a login."""

from typing import TYPE_CHECKING

import structlog
from starlette.requests import Request

from admin_api import metrics
from admin_api.storage import call_rates
from admin_api.web.addresses import rated_address_of
from gateway.domain.errors import GatewayError

if TYPE_CHECKING:
    from admin_api.settings import Settings

log = structlog.get_logger(__name__)


async def take_call(request: Request, caller: str) -> None:
    """Counts one call. Raises GatewayError `rate_limit_exceeded`. Every answer has the rate limit headers.

    Without Redis every call is admitted: the limit protects the database from one caller and is not an exact count.
    """
    settings: Settings = request.app.state.settings
    rates: call_rates.CallRates | None = request.app.state.call_rates
    limit = settings.admin_calls_per_minute
    if rates is None or limit == 0:
        return
    try:
        rate = await rates.take(caller, per_minute=limit)
    except call_rates.Unavailable as exc:
        metrics.RATE_UNAVAILABLE.inc()
        log.warning("rate_limit_unavailable", cause=str(exc) or type(exc).__name__)
        return
    request.state.rate_headers = {
        "x-ratelimit-limit": str(limit),
        "x-ratelimit-remaining": str(rate.left),
        "x-ratelimit-reset": str(-(-rate.full_in_ms // 1000)),
    }
    if not rate.is_taken:
        wait_s = max(1, -(-rate.next_in_ms // 1000))
        message = f"More than {limit} calls a minute; the next one may come in {wait_s} s."
        raise GatewayError("rate_limit_exceeded", message, headers={"retry-after": str(wait_s)})


async def limit_address(request: Request) -> None:
    """For routes that need no login, and for logins that fail."""
    await take_call(request, f"address:{rated_address_of(request)}")
