"""Subscriptions (one row an account and model, for ever) and the history of their states."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from gateway.domain.model_status import ModelStatus, model_status
from gateway.domain.subscriptions import Status

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """One account's right to one model, with the names people know both by."""

    id: int
    account_id: int
    account_name: str
    model_id: int
    model_name: str
    status: Status
    reason: str | None
    expires_at: datetime | None
    cancelled_active: bool
    is_restricted: bool
    is_enabled: bool
    is_listed: bool
    created_at: datetime
    updated_at: datetime

    @property
    def model_status(self) -> ModelStatus:
        """Of its model: the one word for whether it can be called."""
        return model_status(enabled=self.is_enabled, listed=self.is_listed)


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRow:
    """One change of state; `from_status` is None for the first."""

    id: int
    from_status: Status | None
    to_status: Status
    actor: str
    reason: str | None
    at: datetime


INSERT_SUBSCRIPTION: Final = """
INSERT INTO subscriptions (account_id, model_id, status, expires_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (account_id, model_id) DO NOTHING RETURNING id
"""


async def insert_subscription(
    executor: "Executor", *, account_id: int, model_id: int, status: Status, expires_at: datetime | None
) -> int | None:
    """Its id; None if the account has one for this model, in whatever state."""
    subscription_id: int | None = await executor.fetchval(INSERT_SUBSCRIPTION, account_id, model_id, status, expires_at)
    return subscription_id


FIND_SUBSCRIPTION: Final = """
SELECT s.id, s.account_id, a.name AS account_name, s.model_id, m.name AS model_name, s.status, s.reason, s.expires_at,
       s.cancelled_active, m.restricted AS is_restricted, m.enabled AS is_enabled, m.listed AS is_listed, s.created_at,
       s.updated_at
FROM subscriptions s JOIN accounts a ON a.id = s.account_id JOIN models m ON m.id = s.model_id
WHERE s.id = $1
"""


async def find_subscription(executor: "Executor", subscription_id: int) -> Subscription | None:
    """As it is now, not locked."""
    row = await executor.fetchrow(FIND_SUBSCRIPTION, subscription_id)
    return Subscription(**row) if row else None


LOCK_SUBSCRIPTION: Final = """
SELECT s.id, s.account_id, a.name AS account_name, s.model_id, m.name AS model_name, s.status, s.reason, s.expires_at,
       s.cancelled_active, m.restricted AS is_restricted, m.enabled AS is_enabled, m.listed AS is_listed, s.created_at,
       s.updated_at
FROM subscriptions s JOIN accounts a ON a.id = s.account_id JOIN models m ON m.id = s.model_id
WHERE s.id = $1 OR (s.account_id = $2 AND s.model_id = $3)
FOR UPDATE OF s
"""


async def lock_subscription(
    executor: "Executor",
    *,
    subscription_id: int | None = None,
    account_id: int | None = None,
    model_id: int | None = None,
) -> Subscription | None:
    """By id, or by account and model; locked until the transaction ends, so that of two changes one comes second."""
    row = await executor.fetchrow(LOCK_SUBSCRIPTION, subscription_id, account_id, model_id)
    return Subscription(**row) if row else None


UPDATE_STATUS: Final = """
UPDATE subscriptions SET status = $2, reason = $3, cancelled_active = $4, expires_at = $5, updated_at = now()
WHERE id = $1
"""


async def update_status(
    executor: "Executor",
    subscription_id: int,
    *,
    status: Status,
    reason: str | None,
    cancelled_active: bool,
    expires_at: datetime | None,
) -> None:
    """Moves a locked row; whether the move is allowed was judged before."""
    await executor.execute(UPDATE_STATUS, subscription_id, status, reason, cancelled_active, expires_at)


INSERT_HISTORY: Final = """
INSERT INTO subscription_history (subscription_id, from_status, to_status, actor, reason) VALUES ($1, $2, $3, $4, $5)
"""


async def insert_history(
    executor: "Executor",
    subscription_id: int,
    *,
    from_status: Status | None,
    to_status: Status,
    actor: str,
    reason: str | None,
) -> None:
    """One row a change, in its transaction."""
    await executor.execute(INSERT_HISTORY, subscription_id, from_status, to_status, actor, reason)


LIST_HISTORY: Final = """
SELECT id, from_status, to_status, actor, reason, at FROM subscription_history WHERE subscription_id = $1 ORDER BY id
"""


async def list_history(executor: "Executor", subscription_id: int) -> list[HistoryRow]:
    """Oldest first."""
    return [HistoryRow(**row) for row in await executor.fetch(LIST_HISTORY, subscription_id)]


# A viewer's are a page of each account that they may see, and of them the first page.
LIST_SUBSCRIPTIONS: Final = """
SELECT s.id, s.account_id, a.name AS account_name, s.model_id, m.name AS model_name, s.status, s.reason, s.expires_at,
       s.cancelled_active, m.restricted AS is_restricted, m.enabled AS is_enabled, m.listed AS is_listed, s.created_at,
       s.updated_at
FROM subscriptions s JOIN accounts a ON a.id = s.account_id JOIN models m ON m.id = s.model_id
WHERE s.id > $1 AND ($2::bigint IS NULL OR s.account_id = $2) AND ($3::text IS NULL OR s.status = $3)
  AND ($4::bigint IS NULL OR s.model_id = $4)
  AND ($5::bigint IS NULL OR s.id = ANY(ARRAY(
      SELECT theirs.id FROM (SELECT id FROM accounts WHERE owner_user_id = $5
                             UNION ALL SELECT account_id FROM team_members WHERE user_id = $5) AS mine
      CROSS JOIN LATERAL (
          SELECT o.id FROM subscriptions o
          WHERE o.account_id = mine.id AND o.id > $1 AND ($2::bigint IS NULL OR o.account_id = $2)
            AND ($3::text IS NULL OR o.status = $3) AND ($4::bigint IS NULL OR o.model_id = $4)
          ORDER BY o.id LIMIT $6) AS theirs)))
ORDER BY s.id LIMIT $6
"""


async def list_subscriptions(
    executor: "Executor",
    *,
    after_id: int,
    limit: int,
    account_id: int | None = None,
    status: Status | None = None,
    model_id: int | None = None,
    viewer_id: int | None = None,
) -> list[Subscription]:
    """By id, those after `after_id`; for a viewer, of their personal account and their teams only."""
    rows = await executor.fetch(LIST_SUBSCRIPTIONS, after_id, account_id, status, model_id, viewer_id, limit)
    return [Subscription(**row) for row in rows]


LIST_DUE: Final = """
SELECT id FROM subscriptions WHERE status IN ('active', 'suspended') AND expires_at <= $1 ORDER BY id LIMIT $2
"""


async def list_due(executor: "Executor", *, now: datetime, limit: int) -> list[int]:
    """Ids of those whose time is over, not locked."""
    return [row["id"] for row in await executor.fetch(LIST_DUE, now, limit)]


LIST_STATUSES: Final = """
SELECT model_id, status FROM subscriptions WHERE account_id = $1 AND model_id = ANY($2::bigint[])
"""


async def list_statuses(executor: "Executor", account_id: int, model_ids: list[int]) -> dict[int, Status]:
    """Model id -> status, as it is now; models without a subscription are left out."""
    return {row["model_id"]: row["status"] for row in await executor.fetch(LIST_STATUSES, account_id, model_ids)}


LIST_CALLABLE: Final = """
SELECT m.name FROM subscriptions s JOIN models m ON m.id = s.model_id
WHERE s.account_id = $1 AND s.status = 'active' AND (s.expires_at IS NULL OR s.expires_at > now())
    AND m.enabled AND m.listed AND (m.mode IS NULL OR m.mode = ANY($2::text[]))
    AND ($3::text[] IS NULL OR m.name = ANY($3))
ORDER BY m.name
"""


async def list_callable(
    executor: "Executor", *, account_id: int, modes: Sequence[str], names: Sequence[str] | None = None
) -> list[str]:
    """Names of the models that the account may call now and that are for one of these modes, or of
    which LiteLLM says none; of `names` only, if they are given."""
    rows = await executor.fetch(LIST_CALLABLE, account_id, list(modes), None if names is None else list(names))
    return [row["name"] for row in rows]
