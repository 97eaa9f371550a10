"""Epochs and runs of Redis: they show that a counter is older than what it should count."""

from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor, Pool

# Gateways hold epochs in their cached records: all must drop them. A run not known before may hold an old snapshot.
INSERT_RUN = """
WITH met AS (INSERT INTO redis_runs (run_id) VALUES ($1) ON CONFLICT DO NOTHING RETURNING run_id)
SELECT pg_notify('litemaas_changes', '*') FROM met
"""

LIST_ACCOUNT_IDS = "SELECT id FROM accounts ORDER BY id"

RAISE_EPOCHS = "UPDATE accounts SET epoch = epoch + 1 WHERE id = ANY($1::bigint[])"


async def record_redis_run(pool: "Pool", run_id: str) -> bool:
    """Whether this run of a Redis server was not known before; raises what Postgres raises."""
    return await pool.fetchrow(INSERT_RUN, run_id) is not None


async def raise_epochs(executor: "Executor | Pool", account_ids: Collection[int]) -> None:
    """All counters of these accounts are seeded again by the next call that needs them."""
    await executor.execute(RAISE_EPOCHS, list(account_ids))


async def list_account_ids(pool: "Pool") -> list[int]:
    """All of them, in order."""
    return [row["id"] for row in await pool.fetch(LIST_ACCOUNT_IDS)]
