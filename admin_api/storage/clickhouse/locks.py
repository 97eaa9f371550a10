"""Locks in Postgres, until the end of a transaction: one program feeds ClickHouse, and nothing is written to it while
a question is being answered, so that all sums of a report are of one moment."""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor

FEEDER: Final = 4_600_761_921
ENTRIES: Final = 4_600_761_922
# The first run of a large ledger takes long.
WAIT_S: Final = 600.0
TRY_LOCK: Final = "SELECT pg_try_advisory_xact_lock($1)"
LOCK: Final = "SELECT pg_advisory_xact_lock($1)"
SHARE: Final = "SELECT pg_advisory_xact_lock_shared($1)"
TRY_SHARE: Final = "SELECT pg_try_advisory_xact_lock_shared($1)"


async def become_feeder(executor: "Executor") -> bool:
    """False: another program is feeding."""
    is_feeder: bool = await executor.fetchval(TRY_LOCK, FEEDER)
    return is_feeder


async def wait_to_feed(executor: "Executor") -> None:
    """Waits for another program that feeds."""
    await executor.fetchval(LOCK, FEEDER, timeout=WAIT_S)


async def lock_entries(executor: "Executor") -> None:
    """Waits for those who read."""
    await executor.fetchval(LOCK, ENTRIES)


async def share_entries(executor: "Executor") -> None:
    """Waits for who writes."""
    await executor.fetchval(SHARE, ENTRIES)


async def try_to_share_entries(executor: "Executor") -> bool:
    """False: somebody writes, or waits to."""
    shares: bool = await executor.fetchval(TRY_SHARE, ENTRIES)
    return shares
