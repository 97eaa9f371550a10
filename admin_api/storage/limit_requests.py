"""Requests for more than a limit allows. They go with the limit when it is removed."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal, get_args

import asyncpg

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor

RequestStatus = Literal["pending", "approved", "denied", "withdrawn"]
REQUEST_STATUSES: Final = get_args(RequestStatus)


class IsPending(Exception):
    """A request about that limit waits already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRequest:
    """A person asks for `amount` of a limit, a count or nano-USD. `granted` is what an admin gave, with their `answer`;
    None unless they approved it."""

    id: int
    limit_id: int
    account_id: int
    user_id: int
    user_email: str
    amount: int
    reason: str
    status: RequestStatus
    granted: int | None
    answer: str | None
    decided_by: str | None
    decided_at: datetime | None
    created_at: datetime


_REQUEST: Final = """
SELECT r.id, r.limit_id, l.account_id, r.user_id, u.email AS user_email, r.amount, r.reason, r.status, r.granted,
       r.answer, r.decided_by, r.decided_at, r.created_at
FROM limit_requests r JOIN limits l ON l.id = r.limit_id JOIN users u ON u.id = r.user_id
"""

INSERT: Final = """
INSERT INTO limit_requests (limit_id, user_id, amount, reason) VALUES ($1, $2, $3, $4) RETURNING id
"""


async def insert_request(executor: "Executor", *, limit_id: int, user_id: int, amount: int, reason: str) -> int:
    """Its id. Raises IsPending, after which the transaction can only be rolled back."""
    try:
        request_id: int = await executor.fetchval(INSERT, limit_id, user_id, amount, reason)
    except asyncpg.UniqueViolationError:
        raise IsPending(limit_id) from None
    return request_id


FIND: Final = f"""
{_REQUEST} WHERE r.id = $1
"""


async def find_request(executor: "Executor", request_id: int) -> LimitRequest | None:
    """In whatever state."""
    row = await executor.fetchrow(FIND, request_id)
    return LimitRequest(**row) if row else None


LIST: Final = f"""
{_REQUEST} WHERE r.id > $1 AND ($2::text IS NULL OR r.status = $2) AND ($3::bigint IS NULL OR r.user_id = $3)
ORDER BY r.id LIMIT $4
"""


async def list_requests(
    executor: "Executor", *, after_id: int, limit: int, status: RequestStatus | None, user_id: int | None
) -> list[LimitRequest]:
    """By id, those after `after_id`; of one person, or of all."""
    return [LimitRequest(**row) for row in await executor.fetch(LIST, after_id, status, user_id, limit)]


UPDATE: Final = """
UPDATE limit_requests SET status = $2, granted = $3, answer = $4, decided_by = $5, decided_at = now()
WHERE id = $1 AND status = 'pending' RETURNING id
"""


async def update_decided(
    executor: "Executor",
    request_id: int,
    *,
    status: RequestStatus,
    granted: int | None,
    answer: str | None,
    decided_by: str,
) -> bool:
    """Whether it was still open: of two decisions the first holds."""
    return await executor.fetchval(UPDATE, request_id, status, granted, answer, decided_by) is not None
