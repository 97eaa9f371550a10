"""The outbox: notifications to send, one row per receiver, with their status."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import UUID

from admin_api.storage.webhooks import Format

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor

Channel = Literal["webhook", "email"]
# All channels, and the column of deliveries that names the receiver. These name channels too, and cannot be derived:
# - a migration: the CHECKs of deliveries.channel and of that column;
# - the statements below that insert deliveries and take those that are due, and Outbox in
#   admin_api/operations/notifications/outbox.py, which limits how many are under way;
# - DeliveryReport in delivery_reports.py and DeliveryView in admin_api/schemas/deliveries.py, which show the receiver;
# - SENDERS in admin_api/operations/notifications/channels.py;
# - docs/alerts.md.
# tests/contract/test_channels.py fails for each place that a channel is missing from.
RECEIVERS: Final[dict[Channel, str]] = {"webhook": "webhook_id", "email": "user_id"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One try of one message to one receiver. `url`, `format` and `secret` are a webhook's, `user_id`, `email` and
    `locale` a person's. `outdated` says why an e-mail is out of date."""

    id: int
    message_id: UUID
    channel: Channel
    event: str
    payload: Mapping[str, Any]
    tries: int
    created_at: datetime
    webhook_id: int | None
    url: str | None
    format: Format | None
    secret: bytes | None = field(repr=False)
    user_id: int | None
    email: str | None
    locale: str | None
    outdated: str | None


# Waits for a webhook that is just being deleted, and leaves it out then.
INSERT_FOR_WEBHOOKS: Final = """
INSERT INTO deliveries (channel, webhook_id, event, payload, alert_id)
SELECT 'webhook', id, $1, $2::jsonb, $4 FROM webhooks
WHERE enabled AND $1 = ANY(events) AND (account_id IS NULL OR account_id = $3)
FOR KEY SHARE
"""

# The user it is about; without one, the owner of the account or the owners of the team. Nobody is notified of what they
# did themselves.
INSERT_FOR_PEOPLE: Final = """
INSERT INTO deliveries (channel, user_id, event, payload, alert_id)
SELECT 'email', u.id, $1, $2::jsonb, $6 FROM users u
WHERE u.status = 'active' AND $1 <> ALL (u.muted_emails) AND u.id IS DISTINCT FROM $5
  AND (u.id = $4 OR ($4::bigint IS NULL AND (u.id = (SELECT owner_user_id FROM accounts WHERE id = $3)
    OR u.id IN (SELECT user_id FROM team_members WHERE account_id = $3 AND role = 'owner'))))
"""


async def insert(
    executor: "Executor",
    *,
    event: str,
    payload: Mapping[str, Any],
    account_id: int,
    user_id: int | None,
    by_user_id: int | None = None,
    alert_id: int | None = None,
) -> None:
    """A row for every webhook and every person that it concerns and who wants it, but `by_user_id`, in the
    transaction of the event."""
    text = json.dumps(dict(payload), default=str)
    await executor.execute(INSERT_FOR_WEBHOOKS, event, text, account_id, alert_id)
    await executor.execute(INSERT_FOR_PEOPLE, event, text, account_id, user_id, by_user_id, alert_id)


INSERT_FOR_ADMINS: Final = """
INSERT INTO deliveries (channel, user_id, event, payload)
SELECT 'email', id, $1, $2::jsonb FROM users
WHERE role = 'admin' AND status = 'active' AND $1 <> ALL (muted_emails)
"""


async def insert_for_admins(executor: "Executor", *, event: str, payload: Mapping[str, Any]) -> None:
    """An e-mail to each active admin who wants it."""
    await executor.execute(INSERT_FOR_ADMINS, event, json.dumps(dict(payload), default=str))


# A try is a lease: the process that takes a row has until `next_try_at`; if it dies, another one makes the next try.
# Each webhook by an index of its own, so that thousands of rows of one do not delay those of another. What waits
# for a webhook that is disabled goes on waiting.
DUE_WEBHOOKS: Final = """
SELECT d.id FROM webhooks w
LEFT JOIN unnest($1::bigint[], $2::integer[]) AS busy (webhook_id, tries) ON busy.webhook_id = w.id
CROSS JOIN LATERAL (
    SELECT id, next_try_at FROM deliveries
    WHERE webhook_id = w.id AND delivered_at IS NULL AND gave_up_at IS NULL AND next_try_at <= now()
    ORDER BY next_try_at LIMIT greatest($3 - coalesce(busy.tries, 0), 0) FOR UPDATE SKIP LOCKED
) d
WHERE w.enabled ORDER BY d.next_try_at LIMIT $4
"""
# All that is due for a person at once, so that they get one e-mail; $1 is the number of people.
DUE_MAILS: Final = """
SELECT d.id FROM (
    SELECT user_id, min(next_try_at) AS first FROM deliveries
    WHERE channel = 'email' AND delivered_at IS NULL AND gave_up_at IS NULL AND next_try_at <= now()
    GROUP BY user_id ORDER BY first LIMIT $1
) u CROSS JOIN LATERAL (
    SELECT id FROM deliveries
    WHERE user_id = u.user_id AND delivered_at IS NULL AND gave_up_at IS NULL AND next_try_at <= now()
    ORDER BY id LIMIT 5000 FOR UPDATE SKIP LOCKED
) d
"""
# Why e-mail `t` is out of date, NULL if it is not. Messages of before may lack a field: what is not known is not out of
# date.
_OUTDATED: Final = """
CASE
    WHEN t.channel <> 'email' THEN NULL
    WHEN u.status <> 'active' THEN 'The person is not active any more.'
    WHEN t.event = ANY (u.muted_emails) THEN 'The person wants no such e-mails.'
    WHEN t.payload ? 'account_id' AND NOT EXISTS (
        SELECT FROM accounts a WHERE a.id = (t.payload ->> 'account_id')::bigint AND (a.owner_user_id = u.id
            OR EXISTS (SELECT FROM team_members m WHERE m.account_id = a.id AND m.user_id = u.id)))
        THEN 'The person is not in the account any more.'
    WHEN (t.payload ->> 'window_end')::timestamptz <= now() THEN 'The window of the limit is over.'
    WHEN EXISTS (SELECT FROM alerts l WHERE l.id = t.alert_id AND l.cleared_at IS NOT NULL)
        THEN 'The use is below the threshold again.'
    WHEN t.event = 'team.invited' AND NOT EXISTS (
        SELECT FROM team_invitations i WHERE i.id = (t.payload ->> 'invitation_id')::bigint AND i.expires_at > now())
        THEN 'The invitation is not open any more.'
    WHEN t.event LIKE 'subscription.%' AND EXISTS (
        SELECT FROM subscriptions s WHERE s.id = (t.payload ->> 'subscription_id')::bigint
            AND s.status <> t.payload ->> 'status')
        THEN 'The subscription has another status.'
    WHEN t.event = 'requests.pending' AND u.role <> 'admin' THEN 'The person is not an admin any more.'
    WHEN t.event = 'requests.pending' AND NOT EXISTS (
        SELECT FROM jsonb_array_elements(t.payload -> 'requests') r
        WHERE EXISTS (SELECT FROM subscriptions s
                      WHERE s.id = (r ->> 'subscription_id')::bigint AND s.status = 'pending')
           OR EXISTS (SELECT FROM limit_requests q
                      WHERE q.id = (r ->> 'limit_request_id')::bigint AND q.status = 'pending'))
        THEN 'None of the requests waits any more.'
END"""


def _tries(taken: str) -> str:
    """The statement for the tries of the rows `d` that `taken` writes."""
    return f"""
WITH taken AS ({taken}
    RETURNING d.id, d.message_id, d.channel, d.event, d.payload, d.tries, d.created_at, d.webhook_id, d.user_id,
        d.alert_id
)
SELECT t.id, t.message_id, t.channel, t.event, t.payload::text, t.tries, t.created_at, t.webhook_id, w.url, w.format,
       w.secret, t.user_id, u.email, u.locale, {_OUTDATED} AS outdated
FROM taken t LEFT JOIN webhooks w ON w.id = t.webhook_id LEFT JOIN users u ON u.id = t.user_id
ORDER BY t.id
"""  # noqa: S608  statements from this file


def _take(due: str, lease: int) -> str:
    """The statement that takes those that `due` finds; `lease` is the number of its parameter for the lease."""
    return _tries(f"""
    WITH due AS ({due})
    UPDATE deliveries d SET tries = d.tries + 1, next_try_at = now() + ${lease}::interval FROM due WHERE d.id = due.id
""")  # noqa: S608  statements from this file


TAKE_WEBHOOKS: Final = _take(DUE_WEBHOOKS, lease=5)
TAKE_MAILS: Final = _take(DUE_MAILS, lease=2)


async def take_due_webhooks(
    executor: "Executor", *, under_way: Mapping[int, int], max_in_flight_each: int, limit: int, lease: timedelta
) -> list[Delivery]:
    """Due deliveries, by id: of one webhook no more than `max_in_flight_each` less its tries `under_way`, `limit`
    in all. No two callers get the same row within `lease`."""
    return _deliveries(
        await executor.fetch(TAKE_WEBHOOKS, list(under_way), list(under_way.values()), max_in_flight_each, limit, lease)
    )


async def take_due_mails(executor: "Executor", *, limit: int, lease: timedelta) -> list[Delivery]:
    """The e-mails whose time has come, of `limit` people, by id. No two callers get the same row within `lease`."""
    return _deliveries(await executor.fetch(TAKE_MAILS, limit, lease))


INSERT_TAKEN: Final = _tries("""
    INSERT INTO deliveries AS d (channel, webhook_id, event, payload, tries, next_try_at)
    VALUES ('webhook', $1, $2, $3::jsonb, 1, now() + $4::interval)
""")


async def insert_taken(
    executor: "Executor", webhook_id: int, *, event: str, payload: Mapping[str, Any], lease: timedelta
) -> Delivery:
    """A message to one webhook, also a disabled one, taken for its first try by the caller."""
    text = json.dumps(dict(payload), default=str)
    (delivery,) = _deliveries(await executor.fetch(INSERT_TAKEN, webhook_id, event, text, lease))
    return delivery


def _deliveries(rows: Iterable[Any]) -> list[Delivery]:
    return [Delivery(**(dict(row) | {"payload": json.loads(row["payload"])})) for row in rows]


MARK_DELIVERED: Final = """
UPDATE deliveries SET delivered_at = now(), last_error = NULL, last_status = $2, last_answer = $3 WHERE id = $1
"""


async def mark_delivered(executor: "Executor", delivery_id: int, *, status: int | None, answer: str | None) -> None:
    """The receiver has it, and answered this."""
    await executor.execute(MARK_DELIVERED, delivery_id, status, answer)


MARK_FAILED: Final = """
UPDATE deliveries SET last_error = $2, next_try_at = now() + coalesce($3::interval, '0'),
    gave_up_at = CASE WHEN $3::interval IS NULL THEN now() END, last_status = $4, last_answer = $5
WHERE id = $1
"""


async def mark_failed(
    executor: "Executor",
    delivery_id: int,
    *,
    error: str,
    pause: timedelta | None,
    status: int | None,
    answer: str | None,
) -> None:
    """Tried again after `pause`; None: never."""
    await executor.execute(MARK_FAILED, delivery_id, error, pause, status, answer)


MARK_DROPPED: Final = """
UPDATE deliveries d SET gave_up_at = now(), dropped_at = now(), next_try_at = now(), last_error = o.reason
FROM unnest($1::bigint[], $2::text[]) AS o (id, reason) WHERE d.id = o.id
"""


async def mark_dropped(executor: "Executor", reasons: Mapping[int, str]) -> None:
    """These will not be sent, by id, for what they say is out of date."""
    await executor.execute(MARK_DROPPED, list(reasons), list(reasons.values()))


HOLD_MAILS: Final = """
UPDATE deliveries SET next_try_at = 'infinity', last_error = $1
WHERE channel = 'email' AND delivered_at IS NULL AND gave_up_at IS NULL AND next_try_at <= now()
"""


async def hold_mails(executor: "Executor", error: str) -> None:
    """E-mails whose time has come wait until `release_mails`, for this reason."""
    await executor.execute(HOLD_MAILS, error)


RELEASE_MAILS: Final = """
UPDATE deliveries SET next_try_at = now()
WHERE channel = 'email' AND delivered_at IS NULL AND gave_up_at IS NULL AND next_try_at = 'infinity'
"""


async def release_mails(executor: "Executor") -> None:
    """E-mails that were held are due now."""
    await executor.execute(RELEASE_MAILS)


DELETE_OLD: Final = """
DELETE FROM deliveries WHERE id IN (SELECT id FROM deliveries WHERE created_at < $1 ORDER BY created_at LIMIT 5000)
"""


async def delete_old(executor: "Executor", before: datetime) -> None:
    """Old ones, sent or not, a part at a time."""
    await executor.execute(DELETE_OLD, before)
