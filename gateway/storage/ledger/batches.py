"""A batch that Postgres may refuse a part of: the rows at fault are found, and never keep the others back."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import asyncpg

from gateway.storage.ledger.corrections import OtherCall, find_closed_estimates, write_late
from gateway.storage.ledger.journal_lines import encode_row, read_row
from gateway.storage.ledger.partitions import MonthIsGone, ensure_partition
from gateway.storage.ledger.rows import Mark, Written, find_missing, write_lines

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

# A row as JSON, and why it is not in the ledger.
Refused = tuple[bytes, str]

# What Postgres says of a row it will never take; everything else may go away by itself.
REFUSALS: Final = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.exceptions.ProgramLimitExceededError,
    MonthIsGone,
    OtherCall,
)
NOTHING: Final = Written(inserted=0, replaced=0, kept=())


async def write_batch(pool: "Pool", rows: Sequence[bytes], after: Mark | None = None) -> tuple[Written, list[Refused]]:
    """What was written, and the rows Postgres will never take with its reason. Raises what else Postgres raises:
    nothing of the part that failed is written then, and all of it may be tried again. For `after` see write_lines: the
    answer is false where every row was refused."""
    try:
        return await _replace_closed(pool, rows, await write_lines(pool, rows, after)), []
    except REFUSALS as exc:
        if len(rows) == 1:
            return await _write_again(pool, rows[0], exc, after)
    # By halves: one bad row in a thousand costs twenty transactions more, not a thousand.
    middle = len(rows) // 2
    first, refused_first = await write_batch(pool, rows[:middle], after)
    second, refused_second = await write_batch(pool, rows[middle:], after)
    return _sum(first, second), refused_first + refused_second


async def _write_again(
    pool: "Pool", data: bytes, cause: Exception, after: Mark | None
) -> tuple[Written, list[Refused]]:
    """One row that was refused: its month may not be there yet, or an older version may have written it."""
    row = read_row(data)
    if row is None:
        return NOTHING, [(data, f"not understood by this version; {cause}")]
    if isinstance(cause, OtherCall):
        return NOTHING, [(data, str(cause))]
    try:
        if isinstance(cause, asyncpg.exceptions.RestrictViolationError):
            # Its day is closed.
            is_lost = after is not None and bool(await find_missing(pool, [after]))
            return replace(await write_late(pool, row), is_lost=is_lost), []
        if isinstance(cause, asyncpg.CheckViolationError) and cause.constraint_name is None:
            # "no partition of relation … found for row": the only check that has no name.
            await ensure_partition(pool, row.request_id)
        return await write_lines(pool, [encode_row(row)], after), []
    except REFUSALS as exc:
        return NOTHING, [(data, str(exc))]


async def _replace_closed(pool: "Pool", rows: Sequence[bytes], written: Written) -> Written:
    """Real rows whose reaped estimates stand in a closed day: corrections replace those."""
    if not written.kept or not (closed := await find_closed_estimates(pool, written.kept)):
        return written
    for row in map(read_row, rows):
        if row is not None and row.request_id in closed and row.estimated_why != "reaped":
            closed.discard(row.request_id)
            if (await write_late(pool, row)).replaced:
                kept = tuple(known for known in written.kept if known != row.request_id)
                written = replace(written, replaced=written.replaced + 1, kept=kept)
    return written


def _sum(one: Written, other: Written) -> Written:
    return Written(
        inserted=one.inserted + other.inserted,
        replaced=one.replaced + other.replaced,
        kept=one.kept + other.kept,
        is_lost=one.is_lost or other.is_lost,
    )
