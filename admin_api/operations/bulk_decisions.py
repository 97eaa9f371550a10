"""Approves or denies many subscriptions in one request. Each has its own result."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from admin_api.operations.actors import Actor, require_admin
from admin_api.operations.subscriptions import change_subscription
from admin_api.operations.validation import check_reason, invalid
from gateway.domain.errors import GatewayError
from gateway.domain.subscriptions import NEEDS_REASON, Status

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

Decision = Literal["approve", "deny"]
MAX_DECISIONS: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """The result for one subscription: its new status, or the error."""

    id: int
    status: Status | None
    error: GatewayError | None


def check_decision_reason(decision: Decision, reason: str | None) -> str | None:
    """Raises GatewayError `validation_failed` if it is missing."""
    return check_reason(reason, required=decision in NEEDS_REASON, use="It is shown to the user.")


async def decide_subscriptions(
    pool: "Pool", actor: Actor, subscription_ids: Sequence[int], decision: Decision, *, reason: str | None = None
) -> list[Decided]:
    """In the order given, each id once. An error for one subscription does not affect the others.

    Raises GatewayError `forbidden`, or `validation_failed` if the reason is missing or there are too many ids.
    """
    require_admin(actor)
    reason = check_decision_reason(decision, reason)
    if not 1 <= len(subscription_ids) <= MAX_DECISIONS:
        raise invalid("subscription_ids", f"Name 1 to {MAX_DECISIONS} subscriptions.")
    decided = []
    for subscription_id in dict.fromkeys(subscription_ids):
        try:
            row = await change_subscription(pool, actor, subscription_id, decision, reason=reason)
        except GatewayError as error:
            decided.append(Decided(id=subscription_id, status=error.details.get("status"), error=error))
        else:
            decided.append(Decided(id=subscription_id, status=row.status, error=None))
    return decided
