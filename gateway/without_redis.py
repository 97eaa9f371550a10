"""What becomes of a call while Redis is away: LITEMAAS_WHEN_LIMITS_UNAVAILABLE."""

from collections.abc import Callable, Collection
from typing import Final

from gateway import metrics
from gateway.domain.errors import GatewayError
from gateway.domain.limits import LIMIT_LEVELS, amount_text
from gateway.domain.reservation_plan import ReservationPlan
from gateway.domain.usage_rows import UsageRow
from gateway.local_limits import LocalLimits, ShareUsed, StateUnknown
from gateway.reservation import Reservation


class WithoutRedis:
    """All are refused, or all `allowed`, or those that fit into `local` shares. `unmetered` gets the account of each
    call that is admitted, and of each that ended without a lease."""

    def __init__(
        self, unmetered: Callable[[int], None], *, allowed: bool = False, local: LocalLimits | None = None
    ) -> None:
        self._unmetered = unmetered
        self._allowed = allowed
        self.local = local

    def admit(self, reservation: Reservation, plan: ReservationPlan, start_ms: int) -> None:
        """Marks it as one without a lease; raises GatewayError `limits_unavailable`."""
        again = {"retry-after": "1"}
        # The sentences stand where they are raised: pages have them in other languages, and find them here.
        if self.local is None and not self._allowed:
            metrics.LIMITS_UNAVAILABLE.labels("denied").inc()
            message = "Limits cannot be checked at this moment, so the call is refused. Try again."
            raise GatewayError("limits_unavailable", message, headers=again)
        if self.local is not None:
            try:
                self.local.take(reservation, plan, start_ms)
            except StateUnknown:
                metrics.LIMITS_UNAVAILABLE.labels("denied").inc()
                message = "Limits cannot be checked at this moment, so the call is refused. Try again."
                raise GatewayError("limits_unavailable", message, headers=again) from None
            except ShareUsed as used:
                metrics.LIMITS_UNAVAILABLE.labels("share_used").inc()
                limit, holder = used.limit, LIMIT_LEVELS[used.limit.level].label
                maximum = f"{amount_text(limit.kind, limit.amount)} {limit.label}"
                message = f"This gateway's share of the limit of {maximum} on {holder} is used up. Try again."
                raise GatewayError("limits_unavailable", message, headers=again) from None
        metrics.LIMITS_UNAVAILABLE.labels("allowed" if self.local is None else "local").inc()
        self._unmetered(reservation.record.account_id)
        reservation.is_leased = False

    def ended(self, row: UsageRow) -> None:
        """A call without a lease has ended; its row is journaled."""
        self._unmetered(row.account_id)
        if self.local is not None:
            self.local.ended(row)

    def forget(self, account_ids: Collection[int]) -> None:
        """The counters of these accounts are seeded again."""
        if self.local is not None:
            self.local.forget(account_ids)


DENY: Final = WithoutRedis(lambda _: None)
