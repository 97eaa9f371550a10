"""Writes batches of usage rows into Postgres: every row once, rollups in the same transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

import msgspec

from gateway.domain.usage_rows import UsageRow
from gateway.storage.rollups import add_to_rollups

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

FIND_ROWS = f"SELECT {_NAMES} FROM usage_logs WHERE request_id = ANY($1::uuid[])"

ENSURE_PARTITIONS = "SELECT ensure_usage_partitions($1)"

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


async def ensure_partitions(pool: "Pool", ahead: int = 3) -> int:
    """Makes missing partitions for `ahead` months; how many it made."""
    made: int = await pool.fetchval(ENSURE_PARTITIONS, ahead)
    return made


async def find_rows(executor: "Executor | Pool", request_ids: Sequence[UUID]) -> list[UsageRow]:
    """The rows with these ids."""
    return [UsageRow(**dict(record)) for record in await executor.fetch(FIND_ROWS, list(request_ids))]
