"""Subscriptions, and requests for more of a limit, that wait for an admin's approval."""

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
    UNION ALL
    SELECT created_at, $1::timestamptz IS NULL OR created_at > $1 FROM limit_requests WHERE status = 'pending'
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
    """One of them, with the names people know: of a subscription or of a request for more of a limit."""

    subscription_id: int | None
    limit_request_id: int | None
    limit_id: int | None
    account: str
    model: str | None
    since: datetime


LIST_PENDING: Final = """
SELECT subscription_id, limit_request_id, limit_id, account, model, since FROM (
    SELECT s.id AS subscription_id, NULL::bigint AS limit_request_id, NULL::bigint AS limit_id, a.name AS account,
           m.name AS model, s.updated_at AS since
    FROM subscriptions s JOIN accounts a ON a.id = s.account_id JOIN models m ON m.id = s.model_id
    WHERE s.status = 'pending'
    UNION ALL
    SELECT NULL, r.id, l.id, a.name, NULL, r.created_at
    FROM limit_requests r JOIN limits l ON l.id = r.limit_id JOIN accounts a ON a.id = l.account_id
    WHERE r.status = 'pending'
) AS pending ORDER BY since DESC, subscription_id DESC, limit_request_id DESC LIMIT $1
"""


async def list_pending(executor: "Executor", *, limit: int) -> list[PendingRequest]:
    """The newest ones, oldest of them first."""
    rows = await executor.fetch(LIST_PENDING, limit)
    return [PendingRequest(**row) for row in reversed(rows)]
