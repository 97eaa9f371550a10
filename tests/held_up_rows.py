"""A Postgres that is up and can be read, but takes no usage rows: they stay in the journals."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg


@asynccontextmanager
async def rows_held_up(owner_url: str) -> AsyncIterator[None]:
    """Until the block ends, also by a failure. Reads of the ledger go on: calls may need them for their limits."""
    lock = await asyncpg.connect(owner_url)
    try:
        await lock.execute("BEGIN; LOCK TABLE usage_logs IN SHARE MODE")
        yield
    finally:
        await lock.close()
