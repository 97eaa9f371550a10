"""The counters of limits, as the admin program has them."""

from starlette.requests import Request

from gateway.domain.errors import GatewayError
from gateway.storage.counters.scripts import Counters


def counters_of(request: Request) -> Counters:
    """Raises GatewayError `limits_unavailable` without Redis."""
    counters: Counters | None = request.app.state.counters
    if counters is None or not counters.is_connected:
        raise GatewayError("limits_unavailable", "Redis does not answer, so limits cannot be shown. Try again.")
    return counters
