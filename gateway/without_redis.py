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
            metrics.LIMITS_UNAVAILABLE.labels("denied").inc()
            # The sentence stands where it is raised: pages have it in other languages, and find it here.
            message = "Limits cannot be checked at this moment, so the call is refused. Try again."
            raise GatewayError("limits_unavailable", message, headers={"retry-after": "1"})
        metrics.LIMITS_UNAVAILABLE.labels("allowed").inc()
        self._unmetered(reservation.record.account_id)
        reservation.is_leased = False


DENY: Final = WithoutRedis("deny", lambda _: None)
