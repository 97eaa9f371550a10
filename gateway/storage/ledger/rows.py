"""Writes batches of usage rows into Postgres: every row once, rollups in the same transaction."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

import asyncpg
import msgspec

from gateway.domain.usage_rows import LEDGER_COLUMNS, STORED_RESPONSE, UsageRow
from gateway.storage.ledger.journal_lines import read_row
from gateway.storage.ledger.rollups import ROLLUPS, SUMS, add_to_rollups, parts_of

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor, Pool

_NAMES: Final = ", ".join(LEDGER_COLUMNS)
_TYPES: Final = ", ".join(f"{name} {facts.sql_type}" for name, facts in LEDGER_COLUMNS.items())
_STORED: Final = ", ".join(STORED_RESPONSE)
_STORED_TYPES: Final = ", ".join(f"{name} {sql_type}" for name, sql_type in STORED_RESPONSE.items())

# What a row adds to the rollups: the columns of the view usage_as_sums, for rows that are not to be read again.
_AS_SUMS: Final = f"""
account_id, coalesce(user_id, 0) AS user_id, api_key_id, model_id, ending,
error_class(ending, status, error_code, estimated_why) AS error_class,
date_bin('15 minutes', started_at, '2000-01-01Z') AS started_at,
{", ".join(f"({added.sql})::bigint AS {name}" for name, added in SUMS.items())},
CASE WHEN estimated_why IS DISTINCT FROM 'reaped'
    THEN ARRAY[(latency_bucket(total_ms)::bigint << 40) + 1] ELSE '{{}}' END
|| CASE WHEN first_byte_ms IS NOT NULL
    THEN ARRAY[((256 + latency_bucket(first_byte_ms))::bigint << 40) + 1] ELSE '{{}}' END AS latencies
"""

# A whole batch as it is in the journal, not decoded: new rows and what they add to the rollups, in one
# statement. Returned: how many were new, and the ids that were there. Of an id twice in the batch, a real row goes
# before an estimated one. Locks of rollups are taken in the order in which add_to_rollups takes them. The commit is
# waited for also where the database's default is not to: the journal's part is removed because of it. And whether the
# row $2 is missing that was committed before, or is an estimate again although $3: chain.py says why.
WRITE_NEW_ROWS = f"""
WITH given AS MATERIALIZED (
    SELECT DISTINCT ON (request_id) {_NAMES}, {_STORED}
    FROM jsonb_to_recordset(convert_from($1, 'UTF8')::jsonb) AS r ({_TYPES}, {_STORED_TYPES})
    ORDER BY request_id, estimated_why IS NOT DISTINCT FROM 'reaped'),
owners AS (
    INSERT INTO response_owners (id_hash, account_id, model_id, total_tokens, day)
    SELECT stored_as, account_id, model_id, stored_tokens, (now() AT TIME ZONE 'UTC')::date FROM given
    WHERE stored_as IS NOT NULL
    UNION ALL
    SELECT unnest(stored_items), account_id, model_id, least(completion_tokens, stored_tokens),
        (now() AT TIME ZONE 'UTC')::date FROM given
    WHERE stored_tokens IS NOT NULL
    ON CONFLICT DO NOTHING),
inserted AS (
    INSERT INTO usage_logs ({_NAMES}) SELECT {_NAMES} FROM given ORDER BY request_id
    ON CONFLICT DO NOTHING RETURNING {_NAMES}),
finest AS MATERIALIZED (SELECT {_AS_SUMS} FROM inserted),
durable AS MATERIALIZED (
    SELECT set_config('synchronous_commit', 'on', true) FROM (VALUES (current_setting('synchronous_commit'))) AS s (set)
    WHERE s.set = 'off'),
{parts_of(ROLLUPS)}
SELECT (SELECT count(*) FROM inserted) AS inserted, (SELECT count(*) FROM durable) AS made_durable,
    ARRAY(SELECT request_id FROM given EXCEPT SELECT request_id FROM inserted) AS known,
    $2::uuid IS NOT NULL
        AND NOT EXISTS (SELECT FROM usage_logs WHERE request_id = $2
            AND (NOT $3 OR estimated_why IS DISTINCT FROM 'reaped'))
        AND NOT EXISTS (SELECT FROM ledger_corrections WHERE request_id = $2 AND sign = 1
            AND (NOT $3 OR estimated_why IS DISTINCT FROM 'reaped')) AS is_lost
"""

# Of these rows those that the ledger does not have, or has as an estimate although it had the real one.
FIND_MISSING = """
SELECT m.id FROM unnest($1::uuid[], $2::boolean[]) AS m (id, is_real)
WHERE NOT EXISTS (SELECT FROM usage_logs AS u WHERE u.request_id = m.id
        AND (NOT m.is_real OR u.estimated_why IS DISTINCT FROM 'reaped'))
    AND NOT EXISTS (SELECT FROM ledger_corrections AS c WHERE c.request_id = m.id AND c.sign = 1
        AND (NOT m.is_real OR c.estimated_why IS DISTINCT FROM 'reaped'))
"""

# As in WRITE_NEW_ROWS, which has it in itself.
WAIT_FOR_COMMIT = """
SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'
"""

# The app's role may change no row: a function of the database's owner replaces reaped estimates, and returns them.
REPLACE_ESTIMATES = f"SELECT {_NAMES} FROM replace_reaped_usage($1::jsonb)"

FIND_ROWS = f"SELECT {_NAMES} FROM usage_logs WHERE request_id = ANY($1::uuid[])"


class InLedger(NamedTuple):
    """What the ledger has of one call, for its limits."""

    request_id: UUID
    counted_requests: int
    counted_tokens: int
    counted_nano_usd: int


FIND_COUNTED = f"SELECT {', '.join(InLedger._fields)} FROM usage_logs WHERE request_id = ANY($1::uuid[])"

_encode = msgspec.json.Encoder().encode


class Mark(NamedTuple):
    """A row that is in the ledger; `is_real`: not as an estimate."""

    request_id: UUID
    is_real: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a batch did. `kept` are ids that a real row had already: nothing changed. `is_lost`: the row that was named
    is in the ledger no more."""

    inserted: int
    replaced: int
    kept: tuple[UUID, ...]
    is_lost: bool = False


async def write_lines(pool: "Pool", lines: Sequence[bytes], after: Mark | None = None) -> Written:
    """Rows as the journal has them, each as JSON: new ones in one transaction, replaced estimates in another. It is
    looked whether `after`, a row of the batch before, is still there.

    Of an id twice in the batch, a real row goes before an estimated one. A row is read only where its id is there
    already."""
    # As bytes, which are sent as they are.
    batch = b"[%b]" % b",".join(lines)
    mark = after or (None, False)
    async with pool.acquire() as connection:
        try:
            record = await connection.fetchrow(WRITE_NEW_ROWS, batch, *mark)
        except asyncpg.SerializationError:
            # The database has a stricter default, under which batches that meet fail.
            async with connection.transaction(isolation="read_committed"):
                record = await connection.fetchrow(WRITE_NEW_ROWS, batch, *mark)
        inserted, known = record["inserted"], set(record["known"])  # type: ignore[index]  # always one record
        is_lost: bool = record["is_lost"]  # type: ignore[index]
        replaced: set[UUID] = set()
        if known:
            async with connection.transaction(isolation="read_committed"):
                replaced = await _replace_estimates(connection, known, lines)
    return Written(inserted=inserted, replaced=len(replaced), kept=tuple(known - replaced), is_lost=is_lost)


async def _replace_estimates(connection: "Executor", known: set[UUID], lines: Sequence[bytes]) -> set[UUID]:
    """Of the ids that were there, those whose reaped estimate a real row replaces: in the ledger and the rollups."""
    # One that this version does not understand replaces nothing, and holds up no other row.
    rows = [row for row in map(read_row, lines) if row is not None]
    late = {row.request_id: row for row in rows if row.request_id in known and row.estimated_why != "reaped"}
    if not late:
        return set()
    replaced = await connection.fetch(REPLACE_ESTIMATES, _encode(list(late.values())).decode())
    removed = [UsageRow(**dict(record)) for record in replaced]
    if removed:
        await connection.execute(WAIT_FOR_COMMIT)
        await add_to_rollups(connection, [late[row.request_id] for row in removed], removed)
    return {row.request_id for row in removed}


async def find_missing(executor: "Executor | Pool", marks: Sequence[Mark]) -> set[UUID]:
    """Which of these rows are not in the ledger."""
    ids, are_real = [mark.request_id for mark in marks], [mark.is_real for mark in marks]
    return {record["id"] for record in await executor.fetch(FIND_MISSING, ids, are_real)}


async def find_counted(executor: "Executor | Pool", request_ids: Collection[UUID]) -> list[InLedger]:
    """What the rows with these ids count."""
    if not request_ids:
        return []
    return [InLedger(*record) for record in await executor.fetch(FIND_COUNTED, list(request_ids))]


async def find_rows(executor: "Executor | Pool", request_ids: Sequence[UUID]) -> list[UsageRow]:
    """The rows with these ids."""
    return [UsageRow(**dict(record)) for record in await executor.fetch(FIND_ROWS, list(request_ids))]
