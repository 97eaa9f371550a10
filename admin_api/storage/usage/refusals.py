"""Refused calls: their numbers by hour, and those that are kept to be looked up."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from admin_api.storage.usage.rollup_tables import Selection, Table, conditions_of
from gateway.domain.missing_models import Cause, say

if TYPE_CHECKING:
    import asyncpg

    from gateway.storage.postgres import Executor

_KEPT: Final = Table("refused_calls", "at")
HOUR: Final = timedelta(hours=1)
# The order of the list, after the hour, all of them from the last one down.
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
    key_name: str | None
    key_last_four: str | None
    model_id: int
    model: str | None
    limit_id: int
    code: str
    count: int


_FIELDS: Final = ", ".join(f"r.{name}" for name in ("hour", *KEY, "count"))
_ORDER: Final = ", ".join(f"r.{name} DESC" for name in ("hour", *KEY))
_FILTERS: Final = {
    "account_id": "($3::bigint[] IS NULL OR r.account_id = ANY($3))",
    "user_id": "($4::bigint[] IS NULL OR r.user_id = ANY($4))",
    "api_key_id": "($5::bigint[] IS NULL OR r.api_key_id = ANY($5))",
    "model_id": "($6::bigint[] IS NULL OR r.model_id = ANY($6))",
    "code": "($7::text[] IS NULL OR r.code = ANY($7))",
}


def _page(filters: Mapping[str, str], order: str) -> str:
    """The first page of those that pass the filters."""
    return f"""
SELECT {_FIELDS} FROM refusals r
WHERE r.hour >= $1 AND r.hour < $2 AND {" AND ".join(filters.values())}
  AND ($8::timestamptz IS NULL
       OR (r.hour, r.account_id, r.user_id, r.api_key_id, r.model_id, r.limit_id, r.code)
          < ($8, $9, $10, $11, $12, $13, $14))
ORDER BY {order} LIMIT $15
"""


def _pages(column: str, values: str) -> str:
    """The first page of each of these values of a column, which is read in the order of an index that begins with it.

    Each value is BETWEEN itself and itself, and first in the order: were it known to be one, the planner might read all
    refusals by the hour until it has enough. Nor is an account looked for by an index where its user is given.
    """
    wider = {"user_id": ("account_id",), "api_key_id": ("account_id", "user_id")}.get(column, ())
    filters = {
        name: text.replace(f"r.{name}", f"r.{name} + 0") if name in wider else text for name, text in _FILTERS.items()
    }
    filters[column] = f"r.{column} BETWEEN one.value AND one.value"
    each = f"(SELECT DISTINCT value FROM unnest({values}) AS given (value)) AS one"
    return f"SELECT {_FIELDS} FROM {each} CROSS JOIN LATERAL ({_page(filters, f'r.{column} DESC, {_ORDER}')}) AS r"


def _named(pages: str) -> str:
    """The first page of all, with names."""
    return f"""
SELECT {_FIELDS}, a.name AS account_name, u.email AS user_email, m.name AS model, k.name AS key_name,
    k.last_four AS key_last_four
FROM ({pages}) AS r LEFT JOIN accounts a ON a.id = r.account_id LEFT JOIN users u ON u.id = r.user_id
    LEFT JOIN models m ON m.id = r.model_id LEFT JOIN api_keys k ON k.id = r.api_key_id
ORDER BY {_ORDER} LIMIT $15
"""


LIST_REFUSALS: Final = _named(_page(_FILTERS, _ORDER))
LIST_REFUSALS_OF_KEYS: Final = _named(_pages("api_key_id", "$5::bigint[]"))
LIST_REFUSALS_OF_USERS: Final = _named(_pages("user_id", "$4::bigint[]"))
LIST_REFUSALS_OF_ACCOUNTS: Final = _named(_pages("account_id", "$3::bigint[]"))
LIST_REFUSALS_OF_MODELS: Final = _named(_pages("model_id", "$6::bigint[]"))
LIST_REFUSALS_OF_CODES: Final = _named(_pages("code", "$7::text[]"))


async def list_refusals(
    executor: "Executor", selection: Selection, *, code: str | None, after: tuple[Any, ...] | None, limit: int
) -> list[RefusalCount]:
    """Newest first, those after (hour, the fields of KEY)."""
    s, codes = selection, None if code is None else [code]
    # By the filter that leaves the fewest.
    by = (
        (LIST_REFUSALS_OF_KEYS, s.key_ids),
        (LIST_REFUSALS_OF_USERS, s.user_ids),
        (LIST_REFUSALS_OF_ACCOUNTS, s.account_ids),
        (LIST_REFUSALS_OF_MODELS, s.model_ids),
        (LIST_REFUSALS_OF_CODES, codes),
    )
    rows = await executor.fetch(
        next((statement for statement, values in by if values is not None), LIST_REFUSALS),
        s.start,
        # What is read begins here; in the hour of `after` its other fields decide.
        min(s.end, after[0] + HOUR) if after and after[0] < s.end else s.end,
        s.account_ids,
        s.user_ids,
        s.key_ids,
        s.model_ids,
        codes,
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
    key_name: str | None
    key_last_four: str | None
    model_asked: str | None
    endpoint: str | None
    status: int
    code: str
    message: str
    param: str | None
    details: dict[str, Any]
    client_request_id: str | None
    # For admins, of code model_not_found: which it was, and the name of today of a model that was renamed.
    missing_cause: Cause | None
    renamed_to: str | None

    @property
    def missing_cause_text(self) -> str | None:
        """For people."""
        return None if self.missing_cause is None else say(self.missing_cause, renamed_to=self.renamed_to)


_CALLS: Final = """
SELECT r.request_id, r.at, r.account_id, a.name AS account_name, r.user_id, u.email AS user_email, r.api_key_id,
       k.name AS key_name, k.last_four AS key_last_four, r.model_asked, r.endpoint, r.status, r.code, r.message,
       r.param, r.details::text AS details, r.client_request_id, r.missing_cause,
       (SELECT m.name FROM models m WHERE r.missing_cause = 'renamed' AND r.model_asked = ANY(m.former_names)
        ORDER BY m.id DESC LIMIT 1) AS renamed_to
FROM refused_calls r LEFT JOIN accounts a ON a.id = r.account_id LEFT JOIN users u ON u.id = r.user_id
    LEFT JOIN api_keys k ON k.id = r.api_key_id
"""
FIND_REFUSED_CALL: Final = f"{_CALLS} WHERE r.request_id = $1"


async def find_refused_call(executor: "Executor", request_id: UUID) -> RefusedCall | None:
    """None: it was not refused, not kept, or is too old."""
    row = await executor.fetchrow(FIND_REFUSED_CALL, request_id)
    return None if row is None else _call_of(row)


def ask_refused_calls(
    selection: Selection, *, models: Sequence[str], code: str | None, before: tuple[datetime, UUID] | None, limit: int
) -> tuple[str, list[Any]]:
    """The statement and its arguments: those that are kept, newest first, those before (time, request id)."""
    arguments: list[Any] = [selection.start, selection.end]
    conditions = conditions_of(replace(selection, model_ids=None), _KEPT, None, arguments)
    for column, value in (("model_asked", list(models) or None), ("code", None if code is None else [code])):
        if value is not None:
            arguments.append(value)
            conditions += f" AND r.{column} = ANY(${len(arguments)}::text[])"
    if before is not None:
        n = len(arguments)
        arguments += before
        conditions += f" AND (r.at, r.request_id) < (${n + 1}::timestamptz, ${n + 2}::uuid)"
    arguments.append(limit)
    where = f"WHERE r.at >= $1 AND r.at < $2{conditions}"
    return f"{_CALLS} {where} ORDER BY r.at DESC, r.request_id DESC LIMIT ${len(arguments)}", arguments


async def list_refused_calls(
    executor: "Executor",
    selection: Selection,
    *,
    models: Sequence[str],
    code: str | None,
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> list[RefusedCall]:
    """As `ask_refused_calls` asks; models by the names that were asked for."""
    sql, arguments = ask_refused_calls(selection, models=models, code=code, before=before, limit=limit)
    return [_call_of(row) for row in await executor.fetch(sql, *arguments)]


def _call_of(row: "asyncpg.Record") -> RefusedCall:
    return RefusedCall(**{**row, "details": json.loads(row["details"])})


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
