"""Reads the ledger: its rows, and its sums from the rollups that are written with them."""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final
from uuid import UUID

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


_TOTALS: Final = ", ".join(f"coalesce(sum({f.name}), 0)::bigint AS {f.name}" for f in fields(UsageTotals))

SUM_USAGE: Final = f"SELECT {_TOTALS} FROM usage_all_days"


async def sum_usage(executor: "Executor") -> UsageTotals:
    """Of all accounts, since the beginning."""
    return _totals(await executor.fetchrow(SUM_USAGE))


SUM_USAGE_OF_KEY: Final = f"SELECT {_TOTALS} FROM usage_days WHERE account_id = $1 AND api_key_id = $2"


async def sum_usage_of_key(executor: "Executor", *, account_id: int, key_id: int) -> UsageTotals:
    """Of one key of this account, since the beginning."""
    return _totals(await executor.fetchrow(SUM_USAGE_OF_KEY, account_id, key_id))


def _totals(row: object) -> UsageTotals:
    if row is None:
        raise RuntimeError("an aggregate always has a row")
    return UsageTotals(**row)  # type: ignore[arg-type]  # a Record is a mapping that its stubs do not call one
