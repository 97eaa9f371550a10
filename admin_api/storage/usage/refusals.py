"""Refused calls: their numbers by hour, and those that are kept to be looked up."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

if TYPE_CHECKING:
    from admin_api.storage.usage.rollup_tables import Selection
    from gateway.storage.postgres import Executor

# The order of the list, after the hour: newest first.
KEY: Final = ("account_id", "user_id", "api_key_id", "model_id", "limit_id", "code")


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalCount:
    """How many calls were refused in one hour for one reason; ids are 0 where there is none."""

    hour: datetime
    account_id: int
    account_name: str | None
    user_id: int
    user_email: str | None
    api_key_id: int
    model_id: int
    model: str | None
    limit_id: int
    code: str
    count: int


LIST_REFUSALS: Final = """
SELECT r.hour, r.account_id, a.name AS account_name, r.user_id, u.email AS user_email, r.api_key_id, r.model_id,
       m.name AS model, r.limit_id, r.code, r.count
FROM refusals r LEFT JOIN accounts a ON a.id = r.account_id LEFT JOIN users u ON u.id = r.user_id
    LEFT JOIN models m ON m.id = r.model_id
WHERE r.hour >= $1 AND r.hour < $2 AND ($3::bigint[] IS NULL OR r.account_id = ANY($3))
  AND ($4::bigint[] IS NULL OR r.user_id = ANY($4)) AND ($5::bigint[] IS NULL OR r.api_key_id = ANY($5))
  AND ($6::bigint[] IS NULL OR r.model_id = ANY($6)) AND ($7::text IS NULL OR r.code = $7)
  AND ($8::timestamptz IS NULL OR (r.hour <= $8 AND (r.hour < $8
      OR (r.account_id, r.user_id, r.api_key_id, r.model_id, r.limit_id, r.code) > ($9, $10, $11, $12, $13, $14))))
ORDER BY r.hour DESC, r.account_id, r.user_id, r.api_key_id, r.model_id, r.limit_id, r.code LIMIT $15
"""


async def list_refusals(
    executor: "Executor", selection: "Selection", *, code: str | None, after: tuple[Any, ...] | None, limit: int
) -> list[RefusalCount]:
    """Newest first, those after (hour, the fields of KEY)."""
    s = selection
    rows = await executor.fetch(
        LIST_REFUSALS,
        s.start,
        s.end,
        s.account_ids,
        s.user_ids,
        s.key_ids,
        s.model_ids,
        code,
        *(after or (None, 0, 0, 0, 0, 0, "")),
        limit,
    )
    return [RefusalCount(**row) for row in rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedCall:
    """One refused call, as its caller was answered."""

    request_id: UUID
    at: datetime
    account_id: int
    account_name: str | None
    user_id: int | None
    user_email: str | None
    api_key_id: int
    model_asked: str | None
    endpoint: str | None
    status: int
    code: str
    message: str
    param: str | None
    details: dict[str, Any]
    client_request_id: str | None


FIND_REFUSED_CALL: Final = """
SELECT r.request_id, r.at, r.account_id, a.name AS account_name, r.user_id, u.email AS user_email, r.api_key_id,
       r.model_asked, r.endpoint, r.status, r.code, r.message, r.param, r.details::text AS details, r.client_request_id
FROM refused_calls r LEFT JOIN accounts a ON a.id = r.account_id LEFT JOIN users u ON u.id = r.user_id
WHERE r.request_id = $1
"""


async def find_refused_call(executor: "Executor", request_id: UUID) -> RefusedCall | None:
    """None: it was not refused, not kept, or is too old."""
    row = await executor.fetchrow(FIND_REFUSED_CALL, request_id)
    return None if row is None else RefusedCall(**{**row, "details": json.loads(row["details"])})


@dataclass(frozen=True, slots=True)
class AdmittedCall:
    """A call that was not refused, and how it ended."""

    api_key_id: int
    ending: str
    status: int


FIND_ADMITTED_CALL: Final = """
SELECT api_key_id, ending, status FROM usage_logs WHERE request_id = $1
"""


async def find_admitted_call(executor: "Executor", request_id: UUID) -> AdmittedCall | None:
    """By the row of the ledger."""
    row = await executor.fetchrow(FIND_ADMITTED_CALL, request_id)
    return AdmittedCall(**row) if row else None


DELETE_OLD_REFUSED_CALLS: Final = """
DELETE FROM refused_calls WHERE at < $1
"""


async def delete_old_refused_calls(executor: "Executor", before: datetime) -> None:
    """Their numbers by hour stay."""
    await executor.execute(DELETE_OLD_REFUSED_CALLS, before)
