"""Which limit refuses a call, and the answer: message, code, when to come back.

Several may refuse: a spent window wins, else the longest wait.
"""

import math
from dataclasses import dataclass
from typing import Final

from gateway.domain.errors import GatewayError
from gateway.domain.limits import BUCKET_UNITS, LIMIT_LEVELS, Limit, amount_fields, is_money
from gateway.domain.reservation_plan import Entry, ReservationPlan
from gateway.domain.windows import iso_time

CONCURRENCY_WAIT_S: Final = 1.0
# A window full of reservations frees up as calls end.
RESERVED_WAIT_S: Final = 1.0
# Asked to wait longer, OpenAI's Node SDK retries at once, its Python SDK sleeps up to two minutes and Anthropic's for
# weeks; so beyond a minute the answer asks them not to retry.
MAX_SDK_WAIT_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What the script said of one limit; a bucket's `left` in 1/60000 units."""

    limit: Limit
    entry: Entry
    left: int
    held: int
    want: int

    @property
    def refuses(self) -> bool:
        """Whether this limit alone would refuse the call."""
        return self.want > 0 and self.missing > 0

    @property
    def missing(self) -> int:
        """How much more would have to be left; in 1/60000 units for a bucket."""
        return self.want * (BUCKET_UNITS if self.limit.is_bucket else 1) - self.left

    @property
    def is_spent(self) -> bool:
        """A window that refuses by what is used, not only by what is reserved."""
        return self.limit.window is not None and self.missing > self.held

    @property
    def never_fits(self) -> bool:
        """Even an empty limit would refuse this call."""
        return self.want > self.limit.capacity

    @property
    def used(self) -> int:
        """In whole units: rounded up where a bucket has refilled a part of one."""
        left = self.left // BUCKET_UNITS if self.limit.is_bucket else self.left
        return self.limit.capacity - left - (self.held if self.limit.window else 0)

    def wait_s(self) -> float:
        """Until it may fit, at the earliest; infinite for a limit that allows nothing."""
        if self.limit.amount == 0:
            return math.inf
        if self.limit.is_bucket:
            return self.missing / self.limit.amount / 1000
        return RESERVED_WAIT_S if self.limit.window else CONCURRENCY_WAIT_S


def pair(plan: ReservationPlan, takings: tuple[tuple[int, int, int], ...]) -> list[Taken]:
    """The script's numbers beside their limits."""
    return [
        Taken(limit=limit, entry=entry, left=left, held=held, want=want)
        for limit, entry, (left, held, want) in zip(plan.limits, plan.entries, takings, strict=True)
    ]


def decisive(taken: list[Taken]) -> Taken:
    """The limit to name, of those that refuse: one that never fits, else a spent window, else the longest wait."""
    refusing = [t for t in taken if t.refuses and not t.limit.shadow]
    return max(
        refusing,
        key=lambda t: (t.never_fits and t.limit.amount > 0, t.is_spent, t.entry.b if t.is_spent else t.wait_s()),
    )


def refusal(t: Taken, wait_s: float) -> GatewayError:
    """The answer for a call that `t` refuses. `wait_s` is when the caller should retry, at least t.wait_s()."""
    if t.limit.amount > 0 and t.never_fits:
        return _never_fits(t)
    details = {
        "limit": {
            "level": t.limit.level,
            "kind": t.limit.name,
            "window": t.limit.window,
            **amount_fields("limit", t.limit.kind, t.limit.amount),
            **amount_fields("used", t.limit.kind, t.used),
            **amount_fields("reserved", t.limit.kind, t.held),
            **amount_fields("requested", t.limit.kind, t.want),
            "refused_by": "gateway",
        }
    }
    says = f"The gateway (not the model) refuses this call: {_sentence(t)}"
    if t.is_spent:
        resets_at = None if t.limit.window == "lifetime" else iso_time(t.entry.b)
        details["limit"]["resets_at"] = resets_at
        when = f" It resets at {resets_at}." if resets_at else " It does not reset."
        return GatewayError("insufficient_quota", says + when, headers={"x-should-retry": "false"}, details=details)
    if math.isinf(wait_s):
        return GatewayError(
            "insufficient_quota", f"{says} It allows nothing.", headers={"x-should-retry": "false"}, details=details
        )
    headers = {"retry-after": str(math.ceil(wait_s)), "retry-after-ms": str(math.ceil(wait_s * 1000))}
    if wait_s > MAX_SDK_WAIT_S:
        headers["x-should-retry"] = "false"
    message = f"{says} Try again in {wait_s:.1f} s."
    return GatewayError("rate_limit_exceeded", message, headers=headers, details=details)


def _never_fits(t: Taken) -> GatewayError:
    maximum, unit = _amount(t, t.limit.amount), t.limit.label
    if t.limit.capacity != t.limit.amount:
        # Of a bucket that holds more or less than a minute's worth.
        maximum += f", at most {t.limit.capacity} at once"
    holder = LIMIT_LEVELS[t.limit.level].label
    return GatewayError(
        "request_exceeds_limit",
        f"This call can never fit: it needs about {_amount(t, t.want)} {unit}, and {holder} has "
        f"a limit of {maximum}. Send a shorter prompt or a lower max_tokens.",
        headers={"x-should-retry": "false"},
        details={
            "limit": {
                "level": t.limit.level,
                "kind": t.limit.name,
                **amount_fields("limit", t.limit.kind, t.limit.amount),
                **amount_fields("requested", t.limit.kind, t.want),
            }
        },
    )


def _sentence(t: Taken) -> str:
    per = f" per {t.limit.window}" if t.limit.window and t.limit.window != "lifetime" else ""
    if t.limit.window == "lifetime":
        per = " in all"
    reserved = f" and {_amount(t, t.held)} reserved by calls in progress" if t.held and t.limit.window else ""
    unit, holder = t.limit.label, LIMIT_LEVELS[t.limit.level].label
    return (
        f"the limit of {_amount(t, t.limit.amount)} {unit}{per} on {holder} "
        f"is reached ({_amount(t, t.used)} used{reserved}, {_amount(t, t.want)} requested)."
    )


def _amount(t: Taken, number: int) -> str:
    if is_money(t.limit.kind):
        return f"{number / 1e9:.6f}".rstrip("0").rstrip(".")
    return str(number)
