"""Rebuilds rollups from the ledger's rows, a day a transaction."""

from datetime import date
from typing import TYPE_CHECKING, Final

import asyncpg

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

REBUILD_DAY: Final = "SELECT rebuild_usage_day($1)"
# A writer that replaces an estimate takes its locks in another order: one of the two fails and begins again.
MEETS: Final = (asyncpg.DeadlockDetectedError, asyncpg.LockNotAvailableError)
TRIES: Final = 5
TIMEOUT_S: Final = 1800


async def rebuild_day(pool: "Pool", day: date) -> None:
    """One UTC day of every rollup, and its month where a rollup has no days. Writers wait, and add to it afterwards."""
    for tried in range(1, TRIES + 1):
        try:
            # Also where the database's default is stricter: what a writer commits while this waits for it must be seen.
            async with pool.acquire() as connection, connection.transaction(isolation="read_committed"):
                await connection.execute(REBUILD_DAY, day, timeout=TIMEOUT_S)
        except MEETS:
            if tried == TRIES:
                raise
        else:
            return
