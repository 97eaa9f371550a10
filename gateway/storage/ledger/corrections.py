"""Corrections: rows that change calls of closed days. Each takes a call as it was away, or adds it as it is now, and
counts on the day it is made."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal

import msgspec
from msgspec.structs import replace

from gateway.domain.ids import milliseconds_of
from gateway.domain.usage_rows import LEDGER_COLUMNS, UsageRow
from gateway.storage.ledger.rollups import add_to_rollups
from gateway.storage.ledger.rows import FIND_ROWS, WAIT_FOR_COMMIT, Written

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from gateway.storage.postgres import Executor, Pool

Reason = Literal["late", "replaced", "repriced"]
WRITER: Final = "gateway:ledger"
# No younger day is closed.
CLOSED_AFTER: Final = timedelta(days=8)

_NAMES: Final = ", ".join(LEDGER_COLUMNS)
_TYPES: Final = ", ".join(f"{name} {facts.sql_type}" for name, facts in LEDGER_COLUMNS.items())

INSERT_CORRECTION: Final = f"""
INSERT INTO ledger_corrections (reason, sign, made_by, note, {_NAMES})
SELECT $1::text, $2::smallint, $3::text, $4::text, {_NAMES} FROM jsonb_to_record($5::jsonb) AS r ({_TYPES})
RETURNING made_at
"""

# The rows of one transaction have one time.
INSERT_CORRECTIONS: Final = f"""
WITH made AS (
    INSERT INTO ledger_corrections (reason, sign, made_by, note, {_NAMES})
    SELECT $1::text, given.sign, $2::text, $3::text, {", ".join(f"r.{name}" for name in LEDGER_COLUMNS)}
    FROM unnest($4::smallint[], $5::text[]) AS given (sign, line),
        LATERAL jsonb_to_record(given.line::jsonb) AS r ({_TYPES})
    RETURNING made_at)
SELECT max(made_at) AS made_at FROM made
"""

# By the time of the call, and by price where it had one: another model of the catalogue may have answered.
LIST_PRICED_CALLS: Final = f"""
WITH corrected AS MATERIALIZED (
    SELECT DISTINCT ON (request_id) {_NAMES} FROM ledger_corrections
    WHERE sign = 1 AND request_id > $5::uuid AND request_id >= uuid7_floor($3::timestamptz)
        AND request_id < uuid7_floor($4::timestamptz) ORDER BY request_id, number DESC)
SELECT {_NAMES} FROM (
    SELECT {_NAMES} FROM usage_logs AS u
    WHERE request_id > $5 AND request_id >= uuid7_floor($3) AND request_id < uuid7_floor($4)
        AND NOT EXISTS (SELECT FROM corrected AS c WHERE c.request_id = u.request_id)
    UNION ALL SELECT {_NAMES} FROM corrected) AS calls
WHERE price_id = ANY ($2::bigint[]) OR (price_id IS NULL AND model_id = $1)
ORDER BY request_id LIMIT $6
"""

FIND_ALL_CORRECTED: Final = f"""
SELECT DISTINCT ON (request_id) {_NAMES} FROM ledger_corrections
WHERE request_id = ANY ($1::uuid[]) AND sign = 1 ORDER BY request_id, number DESC
"""

# Two who correct one call come one after another.
LOCK_CALLS: Final = """
SELECT pg_advisory_xact_lock(hashtextextended(id::text, 0)) FROM (SELECT unnest($1::uuid[]) AS id ORDER BY 1) AS calls
"""
LOCK_CALL: Final = "SELECT pg_advisory_xact_lock(hashtextextended($1::uuid::text, 0))"

FIND_CORRECTED: Final = f"""
SELECT {_NAMES} FROM ledger_corrections WHERE request_id = $1 AND sign = 1 ORDER BY number DESC LIMIT 1
"""

FIND_REAPED: Final = """
SELECT request_id FROM usage_logs WHERE request_id = ANY($1::uuid[]) AND estimated_why = 'reaped'
"""

_encode: Final = msgspec.json.Encoder().encode


class OtherCall(Exception):
    """A row that is to replace an estimate is of another caller."""


async def current_row(executor: "Executor", request_id: "UUID") -> UsageRow | None:
    """The call as it is after all corrections."""
    record = await executor.fetchrow(FIND_CORRECTED, request_id)
    if record is None:
        record = await executor.fetchrow(FIND_ROWS, [request_id])
    return None if record is None else UsageRow(**dict(record))


async def book(
    executor: "Executor", reason: Reason, *, was: UsageRow | None, now: UsageRow, made_by: str, note: str | None = None
) -> None:
    """Corrects one call, in the ledger and the rollups; in a transaction that holds LOCK_CALL."""
    booked: dict[int, list[UsageRow]] = {-1: [], 1: []}
    for sign, row in ((-1, was), (1, now)):
        if row is not None:
            values = (reason, sign, made_by, note, _encode(row).decode())
            made_at: datetime = await executor.fetchval(INSERT_CORRECTION, *values)
            booked[sign].append(replace(row, started_at=made_at))
    await add_to_rollups(executor, booked[1], booked[-1])


async def book_new_prices(
    executor: "Executor", repriced: "Sequence[tuple[UsageRow, UsageRow]]", *, made_by: str, note: str
) -> None:
    """Prices many calls again, each as it was and as it is now; in a transaction that holds LOCK_CALLS."""
    lines = [(sign, _encode(row).decode()) for pair in repriced for sign, row in zip((-1, 1), pair, strict=True)]
    signs, rows = [sign for sign, _ in lines], [row for _, row in lines]
    made_at: datetime = await executor.fetchval(INSERT_CORRECTIONS, "repriced", made_by, note, signs, rows)
    was = [replace(before, started_at=made_at) for before, _ in repriced]
    await add_to_rollups(executor, [replace(after, started_at=made_at) for _, after in repriced], was)


async def list_priced_calls(
    executor: "Executor", model_id: int, price_ids: "Sequence[int]", *, since: datetime, until: datetime,
    after: "UUID", limit: int,
) -> list[UsageRow]:  # fmt: skip
    """Calls that began in [since, until), as they are after all corrections: those that these prices were used for, and
    those of the model that had no price. By id, those after `after`."""
    records = await executor.fetch(LIST_PRICED_CALLS, model_id, list(price_ids), since, until, after, limit)
    return [UsageRow(**dict(record)) for record in records]


async def lock_calls(executor: "Executor", rows: "Sequence[UsageRow]") -> list[UsageRow]:
    """The same calls as they are now, which nobody else corrects until the transaction ends."""
    ids = [row.request_id for row in rows]
    await executor.execute(LOCK_CALLS, ids)
    found = [UsageRow(**dict(record)) for record in await executor.fetch(FIND_ROWS, ids)]
    current = {row.request_id: row for row in found}
    for record in await executor.fetch(FIND_ALL_CORRECTED, ids):
        current[record["request_id"]] = UsageRow(**dict(record))
    return [current[one] for one in ids if one in current]


async def write_late(pool: "Pool", row: UsageRow) -> Written:
    """A row of the journal whose day is closed. Raises OtherCall."""
    async with pool.acquire() as connection, connection.transaction(isolation="read_committed"):
        await connection.execute(LOCK_CALL, row.request_id)
        await connection.execute(WAIT_FOR_COMMIT)
        current = await current_row(connection, row.request_id)
        if current is None:
            await book(connection, "late", was=None, now=row, made_by=WRITER)
            return Written(inserted=1, replaced=0, kept=())
        if current.estimated_why != "reaped" or row.estimated_why == "reaped":
            return Written(inserted=0, replaced=0, kept=(row.request_id,))
        if (current.account_id, current.user_id, current.api_key_id) != (row.account_id, row.user_id, row.api_key_id):
            raise OtherCall("a row cannot replace the estimate of another's call")
        await book(connection, "replaced", was=current, now=row, made_by=WRITER)
        return Written(inserted=0, replaced=1, kept=())


async def find_closed_estimates(pool: "Pool", request_ids: "Sequence[UUID]") -> set["UUID"]:
    """Of these calls those of closed days whose estimate may have to be replaced by a correction."""
    last_ms = (datetime.now(UTC) - CLOSED_AFTER).timestamp() * 1000
    old = [request_id for request_id in request_ids if milliseconds_of(request_id) < last_ms]
    return {record["request_id"] for record in await pool.fetch(FIND_REAPED, old)} if old else set()
