"""Writes batches of usage rows into Postgres: every row once, rollups in the same transaction."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import msgspec

from gateway.domain.usage_rows import SUMMED, UsageRow

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor, Pool

_COLUMNS: Final = tuple(UsageRow.__dataclass_fields__)
_NAMES: Final = ", ".join(_COLUMNS)
_TYPES: Final = (
    "request_id uuid, started_at timestamptz, account_id bigint, user_id bigint, api_key_id bigint, "
    "subscription_id bigint, model_id bigint, model_asked text, model_served text, endpoint text, streamed boolean, "
    "status smallint, ending text, prompt_tokens bigint, completion_tokens bigint, cached_tokens bigint, "
    "cache_write_tokens bigint, reasoning_tokens bigint, cost_nano_usd bigint, price_id bigint, "
    "litellm_cost_nano_usd bigint, counted_requests smallint, counted_tokens bigint, counted_nano_usd bigint, "
    "first_byte_ms integer, total_ms integer, estimated boolean, estimated_why text, error_code text"
)

INSERT_ROWS = f"""
INSERT INTO usage_logs ({_NAMES})
SELECT {_NAMES} FROM jsonb_to_recordset($1::jsonb) AS r ({_TYPES})
ON CONFLICT DO NOTHING RETURNING request_id
"""

LOCK_ESTIMATED = f"""
SELECT {_NAMES} FROM usage_logs WHERE request_id = ANY($1::uuid[]) AND estimated_why = 'reaped'
ORDER BY request_id FOR UPDATE
"""

REPLACE_ROWS = f"""
UPDATE usage_logs u SET ({_NAMES}) = ROW (r.{", r.".join(_COLUMNS)})
FROM jsonb_to_recordset($1::jsonb) AS r ({_TYPES}) WHERE u.request_id = r.request_id
"""

_SUMS: Final = ("calls", "estimated_calls", "cost_nano_usd", *SUMMED)
_SUM_NAMES: Final = ", ".join(_SUMS)
_SUM_TYPES: Final = ", ".join(f"{name} bigint" for name in _SUMS)


def _add_up(table: str) -> str:
    return ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in _SUMS)


ADD_TO_QUARTER_HOURS = f"""
INSERT INTO usage_quarter_hours (account_id, started_at, user_id, api_key_id, model_id, ending, {_SUM_NAMES})
SELECT account_id, started_at, user_id, api_key_id, model_id, ending, {_SUM_NAMES}
FROM jsonb_to_recordset($1::jsonb) AS r (account_id bigint, started_at timestamptz, user_id bigint,
    api_key_id bigint, model_id bigint, ending text, {_SUM_TYPES})
ORDER BY account_id, started_at, user_id, api_key_id, model_id, ending
ON CONFLICT (account_id, started_at, user_id, api_key_id, model_id, ending) 
DO UPDATE SET {_add_up("usage_quarter_hours")}
"""

ADD_TO_DAYS = f"""
INSERT INTO usage_days (account_id, day, model_id, {_SUM_NAMES})
SELECT account_id, day, model_id, {_SUM_NAMES}
FROM jsonb_to_recordset($1::jsonb) AS r (account_id bigint, day date, model_id bigint, {_SUM_TYPES})
ORDER BY account_id, day, model_id
ON CONFLICT (account_id, day, model_id) DO UPDATE SET {_add_up("usage_days")}
"""

FIND_ROWS = f"SELECT {_NAMES} FROM usage_logs WHERE request_id = ANY($1::uuid[])"

ENSURE_PARTITIONS = "SELECT ensure_usage_partitions($1)"

_QUARTER_KEY: Final = ("account_id", "started_at", "user_id", "api_key_id", "model_id", "ending")
_DAY_KEY: Final = ("account_id", "day", "model_id")
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a batch did. `kept` are ids that a real row had already: nothing changed."""

    inserted: int
    replaced: int
    kept: tuple[UUID, ...]


async def write_rows(pool: "Pool", rows: Sequence[UsageRow]) -> Written:
    """One transaction. Of an id twice in the batch, a real row goes before an estimated one."""
    batch: dict[UUID, UsageRow] = {}
    for row in rows:
        known = batch.get(row.request_id)
        if known is None or (known.estimated_why == "reaped" and row.estimated_why != "reaped"):
            batch[row.request_id] = row
    async with pool.acquire() as connection, connection.transaction():
        inserted = {
            record["request_id"]
            for record in await connection.fetch(INSERT_ROWS, _encode(list(batch.values())).decode())
        }
        added = [batch[request_id] for request_id in inserted]
        known_ids = [request_id for request_id in batch if request_id not in inserted]
        late = [i for i in known_ids if batch[i].estimated_why != "reaped"]
        removed: list[UsageRow] = []
        if late:
            removed = [UsageRow(**dict(r)) for r in await connection.fetch(LOCK_ESTIMATED, late)]
            replacing = [batch[row.request_id] for row in removed]
            if replacing:
                await connection.execute(REPLACE_ROWS, _encode(replacing).decode())
                added += replacing
        await add_to_rollups(connection, added, removed)
    replaced = {row.request_id for row in removed}
    kept = tuple(i for i in known_ids if i not in replaced)
    return Written(inserted=len(inserted), replaced=len(removed), kept=kept)


async def add_to_rollups(connection: "Executor", added: Iterable[UsageRow], removed: Iterable[UsageRow]) -> None:
    """Sums by quarter of an hour and by day; written in the order of their keys, so that writers never deadlock."""
    quarters: dict[tuple[Any, ...], dict[str, Any]] = defaultdict(lambda: dict.fromkeys(_SUMS, 0))
    days: dict[tuple[Any, ...], dict[str, Any]] = defaultdict(lambda: dict.fromkeys(_SUMS, 0))
    for rows, sign in ((added, 1), (removed, -1)):
        for row in rows:
            at = row.started_at
            quarter = at - timedelta(minutes=at.minute % 15, seconds=at.second, microseconds=at.microsecond)
            key = (row.account_id, quarter, row.user_id or 0, row.api_key_id, row.model_id, row.ending)
            for sums in (quarters[key], days[row.account_id, at.date(), row.model_id]):
                sums["calls"] += sign
                sums["estimated_calls"] += sign * row.estimated
                sums["cost_nano_usd"] += sign * (row.cost_nano_usd or 0)
                for name in SUMMED:
                    sums[name] += sign * getattr(row, name)
    if not quarters:
        return
    await connection.execute(ADD_TO_QUARTER_HOURS, _lines(_QUARTER_KEY, quarters))
    await connection.execute(ADD_TO_DAYS, _lines(_DAY_KEY, days))


def _lines(names: tuple[str, ...], sums: dict[tuple[Any, ...], dict[str, Any]]) -> str:
    return _encode([dict(zip(names, key, strict=True)) | values for key, values in sums.items()]).decode()


async def ensure_partitions(pool: "Pool", ahead: int = 3) -> int:
    """Makes missing partitions for `ahead` months; how many it made."""
    made: int = await pool.fetchval(ENSURE_PARTITIONS, ahead)
    return made


async def find_rows(executor: "Executor | Pool", request_ids: Sequence[UUID]) -> list[UsageRow]:
    """The rows with these ids."""
    return [UsageRow(**dict(record)) for record in await executor.fetch(FIND_ROWS, list(request_ids))]
