"""Reads the ledger: its rows, and its sums from the rollups that are written with them."""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from admin_api.storage.usage.rollup_tables import OF_CALL, Selection, Table, conditions_of
from gateway.domain.usage_rows import LEDGER_COLUMNS, UsageRow

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageTotals:
    """Sums over all pages of a list."""

    calls: int
    estimated_calls: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    cost_nano_usd: int


_COLUMNS: Final = ", ".join(LEDGER_COLUMNS)

LIST_USAGE: Final = f"""
SELECT {_COLUMNS} FROM usage_logs
WHERE ($1::uuid IS NULL OR request_id < $1)
ORDER BY request_id DESC LIMIT $2
"""


async def list_usage(executor: "Executor", *, before: UUID | None, limit: int) -> list[UsageRow]:
    """Of all accounts, newest first, those before `before`."""
    return [UsageRow(**row) for row in await executor.fetch(LIST_USAGE, before, limit)]


LIST_USAGE_OF_KEY: Final = f"""
SELECT {_COLUMNS} FROM usage_logs
WHERE api_key_id = $1 AND ($2::uuid IS NULL OR request_id < $2)
ORDER BY request_id DESC LIMIT $3
"""


async def list_usage_of_key(executor: "Executor", key_id: int, *, before: UUID | None, limit: int) -> list[UsageRow]:
    """Of one key, newest first, those before `before`."""
    return [UsageRow(**row) for row in await executor.fetch(LIST_USAGE_OF_KEY, key_id, before, limit)]


_BY_CLIENT_ID: Final = "client_request_id = $1 AND ($2::bigint IS NULL OR api_key_id = $2)"

LIST_USAGE_BY_CLIENT_ID: Final = f"""
SELECT {_COLUMNS} FROM usage_logs
WHERE {_BY_CLIENT_ID} AND ($3::uuid IS NULL OR request_id < $3)
ORDER BY request_id DESC LIMIT $4
"""


async def list_usage_by_client_id(
    executor: "Executor", client_request_id: str, *, key_id: int | None, before: UUID | None, limit: int
) -> list[UsageRow]:
    """Of calls that carried this id of the caller's own, newest first, those before `before`."""
    rows = await executor.fetch(LIST_USAGE_BY_CLIENT_ID, client_request_id, key_id, before, limit)
    return [UsageRow(**row) for row in rows]


_LEDGER: Final = Table("usage_logs", "request_id", error_class=OF_CALL)


def ask_selected(selection: Selection, *, before: UUID | None, limit: int) -> tuple[str, list[Any]]:
    """The statement and its arguments: rows of these calls, newest first, those before `before`."""
    arguments: list[Any] = [selection.start, selection.end]
    conditions = conditions_of(selection, _LEDGER, None, arguments)
    if before is not None:
        arguments.append(before)
        conditions += f" AND r.request_id < ${len(arguments)}"
    arguments.append(limit)
    sql = (
        f"SELECT {_COLUMNS} FROM usage_logs AS r WHERE r.request_id >= uuid7_floor($1) "
        f"AND r.request_id < uuid7_floor($2){conditions} ORDER BY r.request_id DESC LIMIT ${len(arguments)}"
    )
    return sql, arguments


async def list_selected(
    executor: "Executor", selection: Selection, *, before: UUID | None, limit: int
) -> list[UsageRow]:
    """As `ask_selected` asks."""
    sql, arguments = ask_selected(selection, before=before, limit=limit)
    return [UsageRow(**row) for row in await executor.fetch(sql, *arguments)]


FIND_USAGE_ROW: Final = f"SELECT {_COLUMNS} FROM usage_logs WHERE request_id = $1"


async def find_usage_row(executor: "Executor", request_id: UUID) -> UsageRow | None:
    """None: no such call was forwarded."""
    row = await executor.fetchrow(FIND_USAGE_ROW, request_id)
    return None if row is None else UsageRow(**row)


SUM_CORRECTIONS: Final = """
SELECT coalesce(sum(cost_nano_usd), 0)::bigint FROM usage_entries WHERE request_id = $1 AND correction IS NOT NULL
"""


async def sum_corrections(executor: "Executor", request_id: UUID) -> int:
    """What corrections of one call's price add to its cost, in nano-USD."""
    added: int = await executor.fetchval(SUM_CORRECTIONS, request_id)
    return added


_TOTALS: Final = ", ".join(f"coalesce(sum({f.name}), 0)::bigint AS {f.name}" for f in fields(UsageTotals))
_SUMMED: Final = [f.name for f in fields(UsageTotals) if f.name in LEDGER_COLUMNS]

SUM_USAGE: Final = f"SELECT {_TOTALS} FROM usage_all_days"


async def sum_usage(executor: "Executor") -> UsageTotals:
    """Of all accounts, since the beginning."""
    return _totals(await executor.fetchrow(SUM_USAGE))


SUM_USAGE_OF_KEY: Final = f"SELECT {_TOTALS} FROM usage_days WHERE account_id = $1 AND api_key_id = $2"


async def sum_usage_of_key(executor: "Executor", *, account_id: int, key_id: int) -> UsageTotals:
    """Of one key of this account, since the beginning."""
    return _totals(await executor.fetchrow(SUM_USAGE_OF_KEY, account_id, key_id))


SUM_USAGE_BY_CLIENT_ID: Final = f"""
SELECT count(*) AS calls, count(*) FILTER (WHERE estimated) AS estimated_calls,
    {", ".join(f"coalesce(sum({name}), 0)::bigint AS {name}" for name in _SUMMED)}
FROM usage_logs WHERE {_BY_CLIENT_ID}
"""


async def sum_usage_by_client_id(executor: "Executor", client_request_id: str, *, key_id: int | None) -> UsageTotals:
    """Of all calls that carried this id. Rollups have no ids, and few calls share one."""
    return _totals(await executor.fetchrow(SUM_USAGE_BY_CLIENT_ID, client_request_id, key_id))


def _totals(row: object) -> UsageTotals:
    if row is None:
        raise RuntimeError("an aggregate always has a row")
    return UsageTotals(**row)  # type: ignore[arg-type]  # a Record is a mapping that its stubs do not call one
