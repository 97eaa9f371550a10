"""Deliveries as people see them: their status, what was answered, and what can be sent again."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal, get_args
from uuid import UUID

from admin_api.storage.deliveries import Channel

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor

# Status of a delivery: `waiting` for its first or next attempt, `failed` after the last, or `dropped` because what it
# says was out of date before it could be sent.
Status = Literal["waiting", "delivered", "failed", "dropped"]
STATUSES: Final = get_args(Status)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryReport:
    """The status of one message to one receiver. `url` is the webhook's and `email` the person's as they are now;
    `next_try_at` is None unless it waits; `last_status` and `last_answer` are the receiver's at the last try.
    `is_held`: it is not tried, for its webhook is disabled or there is no mail server."""

    id: int
    message_id: UUID
    channel: Channel
    status: Status
    event: str
    alert_id: int | None
    webhook_id: int | None
    url: str | None
    user_id: int | None
    email: str | None
    tries: int
    last_error: str | None
    last_status: int | None
    last_answer: str | None
    next_try_at: datetime | None
    delivered_at: datetime | None
    failed_at: datetime | None
    dropped_at: datetime | None
    created_at: datetime
    is_held: bool


# Each filter has an index in the order of the pages; most rows are delivered, so that one needs none.
LIST_DELIVERIES: Final = """
SELECT d.id, d.message_id, d.channel, d.event, d.alert_id, d.webhook_id, w.url, d.user_id, u.email, d.tries,
       d.last_error, d.last_status, d.last_answer, d.delivered_at,
       CASE WHEN d.dropped_at IS NULL THEN d.gave_up_at END AS failed_at, d.dropped_at, d.created_at,
       CASE WHEN d.delivered_at IS NULL AND d.gave_up_at IS NULL AND d.next_try_at < 'infinity'
            THEN d.next_try_at END AS next_try_at,
       CASE WHEN d.delivered_at IS NOT NULL THEN 'delivered' WHEN d.dropped_at IS NOT NULL THEN 'dropped'
            WHEN d.gave_up_at IS NOT NULL THEN 'failed' ELSE 'waiting' END AS status,
       w.enabled IS FALSE OR d.next_try_at = 'infinity' AS is_held
FROM deliveries d LEFT JOIN webhooks w ON w.id = d.webhook_id LEFT JOIN users u ON u.id = d.user_id
WHERE d.id < $1
  AND ($2::text IS NULL OR ($2 = 'delivered' AND d.delivered_at IS NOT NULL)
       OR ($2 = 'failed' AND d.gave_up_at IS NOT NULL AND d.dropped_at IS NULL)
       OR ($2 = 'dropped' AND d.dropped_at IS NOT NULL)
       OR ($2 = 'waiting' AND d.delivered_at IS NULL AND d.gave_up_at IS NULL))
  AND ($3::bigint IS NULL OR d.webhook_id = $3) AND ($4::bigint IS NULL OR d.alert_id = $4)
ORDER BY d.id DESC LIMIT $5
"""


async def list_deliveries(
    executor: "Executor",
    *,
    before_id: int,
    limit: int,
    status: Status | None,
    webhook_id: int | None,
    alert_id: int | None,
) -> list[DeliveryReport]:
    """Newest first, those before `before_id` that are all of what is given."""
    rows = await executor.fetch(LIST_DELIVERIES, before_id, status, webhook_id, alert_id, limit)
    return [DeliveryReport(**row) for row in rows]


async def find_delivery(executor: "Executor", delivery_id: int) -> DeliveryReport | None:
    """One delivery as it is now."""
    found = await executor.fetchrow(LIST_DELIVERIES, delivery_id + 1, None, None, None, 1)
    return DeliveryReport(**found) if found and found["id"] == delivery_id else None


LOCK_DELIVERY: Final = """
SELECT id FROM deliveries WHERE id = $1 FOR UPDATE
"""


async def lock_delivery(executor: "Executor", delivery_id: int) -> DeliveryReport | None:
    """Locked until the transaction ends: it is not taken for a try meanwhile."""
    if await executor.fetchval(LOCK_DELIVERY, delivery_id) is None:
        return None
    return await find_delivery(executor, delivery_id)


MARK_DUE: Final = """
UPDATE deliveries SET next_try_at = now(), gave_up_at = NULL WHERE id = $1
"""


async def mark_due(executor: "Executor", delivery_id: int) -> None:
    """Tried next, by whichever replica looks first."""
    await executor.execute(MARK_DUE, delivery_id)
