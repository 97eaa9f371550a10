"""Whether Postgres answers, and knows our tables."""

import asyncio
from typing import TYPE_CHECKING, Final

from gateway.storage.failures import UNAVAILABLE

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

HAS_TABLES: Final = """
SELECT to_regclass('users') IS NOT NULL
"""


async def does_answer(pool: "Pool", *, timeout_s: float = 2.0) -> bool:
    """Within the time, and the schema is there; never raises."""
    try:
        # Around the wait for a connection too: they may all be busy.
        async with asyncio.timeout(timeout_s):
            return bool(await pool.fetchval(HAS_TABLES))
    except UNAVAILABLE:
        return False
