"""Decisions of admins about what waits for them, each with its own result."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final, Generic, Literal, TypeVar, get_args

from admin_api.operations.validation import check_reason
from gateway.domain.errors import GatewayError
from gateway.domain.subscriptions import NEEDS_REASON

S = TypeVar("S", bound=str)
Decision = Literal["approve", "deny"]
DECISIONS: Final[tuple[Decision, ...]] = get_args(Decision)
# In one request.
MAX_DECISIONS: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided(Generic[S]):
    """The result for one of many: its new status, or the error and the status that it has."""

    id: int
    status: S | None
    error: GatewayError | None


def check_decision_reason(decision: Decision, reason: str | None) -> str | None:
    """Raises GatewayError `validation_failed` if it is missing."""
    return check_reason(reason, required=decision in NEEDS_REASON, use="It is shown to the user.")


async def decide_each(ids: Iterable[int], decide: Callable[[int], Awaitable[S]]) -> list[Decided[S]]:
    """In the order given, each id once; `decide` returns the new status. An error for one does not affect the
    others."""
    decided: list[Decided[S]] = []
    for one in dict.fromkeys(ids):
        try:
            decided.append(Decided(id=one, status=await decide(one), error=None))
        except GatewayError as error:
            decided.append(Decided(id=one, status=error.details.get("status"), error=error))
    return decided
