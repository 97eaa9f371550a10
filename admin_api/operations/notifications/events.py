"""Events for users and webhooks, written to the outbox in the transaction of the change they report."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from admin_api.operations.actors import Actor
from admin_api.storage import deliveries

if TYPE_CHECKING:
    from admin_api.storage.subscriptions import Subscription
    from gateway.storage.postgres import Executor

Event = Literal[
    "limit.threshold_reached",
    "subscription.pending",
    "subscription.active",
    "subscription.denied",
    "subscription.suspended",
    "subscription.cancelled",
    "subscription.expired",
    "team.invited",
    "team.join_requested",
    "team.join_decided",
    "limit.requested",
    "limit.request_decided",
    "key.ending",
    "key.ended",
]
EVENTS: Final = get_args(Event)
# Sent to one webhook on demand, and to no other.
TEST: Final = "webhook.test"


async def notify(
    executor: "Executor",
    event: Event,
    data: Mapping[str, Any],
    *,
    account_id: int,
    user_id: int | None = None,
    by_user_id: int | None = None,
    alert_id: int | None = None,
) -> None:
    """Writes a message for each webhook with this `event`, and an e-mail for each user concerned: `user_id`, or the
    owners of the account, except `by_user_id`, who made the change. `alert_id` is the alert of the event. `data` must
    not contain secrets: receivers and the database store it. If the transaction is rolled back, nothing is sent."""
    await deliveries.insert(
        executor,
        event=event,
        payload=data,
        account_id=account_id,
        user_id=user_id,
        by_user_id=by_user_id,
        alert_id=alert_id,
    )


async def notify_subscription(executor: "Executor", row: "Subscription", actor: Actor) -> None:
    """The event of a subscription's new status."""
    event: Event = f"subscription.{row.status}"  # type: ignore[assignment]  # every status has an event
    data = {
        "subscription_id": row.id,
        "account_id": row.account_id,
        "account": row.account_name,
        "model": row.model_name,
        "status": row.status,
        "reason": row.reason,
        "expires_at": row.expires_at.isoformat() if row.expires_at else None,
        "by": actor.name,
    }
    await notify(executor, event, data, account_id=row.account_id, by_user_id=actor.user_id)
