"""What becomes of a call while Redis is away: LITEMAAS_WHEN_LIMITS_UNAVAILABLE."""

from collections.abc import Callable
from typing import Final, Literal

from gateway import metrics
from gateway.domain.errors import GatewayError
from gateway.reservation import Reservation

Policy = Literal["deny", "allow"]


class WithoutRedis:
    """`unmetered` gets the account of each call that is admitted."""

    def __init__(self, policy: Policy, unmetered: Callable[[int], None]) -> None:
        self._policy = policy
        self._unmetered = unmetered

    def admit(self, reservation: Reservation) -> None:
        """Marks it as one without a lease; raises GatewayError `limits_unavailable`."""
        if self._policy == "deny":
            raise _refused("denied", "Limits cannot be checked at this moment, so the call is refused. Try again.")
        metrics.LIMITS_UNAVAILABLE.labels("allowed").inc()
        self._unmetered(reservation.record.account_id)
        reservation.is_leased = False


DENY: Final = WithoutRedis("deny", lambda _: None)


def _refused(outcome: str, message: str) -> GatewayError:
    metrics.LIMITS_UNAVAILABLE.labels(outcome).inc()
    return GatewayError("limits_unavailable", message, headers={"retry-after": "1"})
