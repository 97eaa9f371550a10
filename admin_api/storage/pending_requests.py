"""Subscriptions that wait for an admin's approval."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor

# What one transaction at a time may do: write the e-mail about them. "lmreqs"
LOCK: Final = 0x6C6D_7265_7173

TRY_LOCK_REQUESTS: Final = """
SELECT pg_try_advisory_xact_lock($1)
"""


async def try_lock(executor: "Executor") -> bool:
    """False at once if another transaction has the lock, which is held until the end of the transaction."""
    return bool(await executor.fetchval(TRY_LOCK_REQUESTS, LOCK))


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingCount:
    """How many wait, and when the first and the last came of those that are new."""

    count: int
    first_new: datetime | None
    last_new: datetime | None


COUNT_PENDING: Final = """
SELECT count(*) AS count, min(updated_at) FILTER (WHERE is_new) AS first_new,
       max(updated_at) FILTER (WHERE is_new) AS last_new
FROM (
    SELECT updated_at, $1::timestamptz IS NULL OR updated_at > $1 AS is_new FROM subscriptions WHERE status = 'pending'
) AS pending
"""


async def count_pending(executor: "Executor", *, since: datetime | None) -> PendingCount:
    """New are those that came after `since`; None: all."""
    row = await executor.fetchrow(COUNT_PENDING, since)
    if row is None:
        raise RuntimeError("an aggregate always has a row")
    return PendingCount(**row)


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingRequest:
    """One of them, with the names people know."""

    subscription_id: int
    account: str
    model: str
    since: datetime


LIST_PENDING: Final = """
SELECT s.id AS subscription_id, a.name AS account, m.name AS model, s.updated_at AS since
FROM subscriptions s JOIN accounts a ON a.id = s.account_id JOIN models m ON m.id = s.model_id
WHERE s.status = 'pending' ORDER BY s.updated_at DESC, s.id DESC LIMIT $1
"""


async def list_pending(executor: "Executor", *, limit: int) -> list[PendingRequest]:
    """The newest ones, oldest of them first."""
    rows = await executor.fetch(LIST_PENDING, limit)
    return [PendingRequest(**row) for row in reversed(rows)]
