"""A batch that Postgres may refuse a part of: the rows at fault are found, and never keep the others back."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import asyncpg

from gateway.storage.ledger.journal_lines import encode_row, read_row
from gateway.storage.ledger.partitions import MonthIsGone, ensure_partition
from gateway.storage.ledger.rows import Written, write_lines

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
)
NOTHING: Final = Written(inserted=0, replaced=0, kept=())


async def write_batch(pool: "Pool", rows: Sequence[bytes]) -> tuple[Written, list[Refused]]:
    """What was written, and the rows Postgres will never take with its reason. Raises what else Postgres raises:
    nothing of the part that failed is written then, and all of it may be tried again."""
    try:
        return await write_lines(pool, rows), []
    except REFUSALS as exc:
        if len(rows) == 1:
            return await _write_again(pool, rows[0], exc)
    # By halves: one bad row in a thousand costs twenty transactions more, not a thousand.
    middle = len(rows) // 2
    first, refused_first = await write_batch(pool, rows[:middle])
    second, refused_second = await write_batch(pool, rows[middle:])
    return _sum(first, second), refused_first + refused_second


async def _write_again(pool: "Pool", data: bytes, cause: Exception) -> tuple[Written, list[Refused]]:
    """One row that was refused: its month may not be there yet, or an older version may have written it."""
    row = read_row(data)
    if row is None:
        return NOTHING, [(data, f"not understood by this version; {cause}")]
    try:
        if isinstance(cause, asyncpg.CheckViolationError) and cause.constraint_name is None:
            # "no partition of relation … found for row": the only check that has no name.
            await ensure_partition(pool, row.request_id)
        return await write_lines(pool, [encode_row(row)]), []
    except REFUSALS as exc:
        return NOTHING, [(data, str(exc))]


def _sum(one: Written, other: Written) -> Written:
    return Written(
        inserted=one.inserted + other.inserted,
        replaced=one.replaced + other.replaced,
        kept=one.kept + other.kept,
    )
