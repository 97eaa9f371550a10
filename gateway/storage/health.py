"""Whether Postgres answers, and knows our tables."""

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
        return bool(await pool.fetchval(HAS_TABLES, timeout=timeout_s))
    except UNAVAILABLE:
        return False
