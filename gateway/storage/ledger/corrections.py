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

# Two who correct one call come one after another.
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
