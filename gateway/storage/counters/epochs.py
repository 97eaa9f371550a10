"""Epochs and runs of Redis: they show that a counter is older than what it should count. So do the moments at which it
was found that Postgres had lost commits, because epochs that were raised are lost with them."""

import asyncio
from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor, Pool

# Gateways hold epochs in their cached records: all must drop them. A run not known before may hold an old snapshot.
INSERT_RUN = """
WITH met AS (INSERT INTO redis_runs (run_id) VALUES ($1) ON CONFLICT DO NOTHING RETURNING run_id)
SELECT pg_notify('litemaas_changes', '*') FROM met
"""

# Of now, in milliseconds, which is more than a database that lost its last commits can have had. Not one for each
# gateway: all counters are seeded again each time.
INSERT_LOSS = """
WITH lost AS (
    INSERT INTO redis_runs (run_id, epochs)
    SELECT 'postgres-' || n.ms, n.ms FROM (SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS ms) AS n
    WHERE NOT EXISTS (SELECT FROM redis_runs r WHERE r.epochs > n.ms - 2000)
    ON CONFLICT DO NOTHING RETURNING run_id)
SELECT pg_notify('litemaas_changes', '*') FROM lost
"""
LAST_LOSS = "SELECT coalesce(max(epochs), 0) FROM redis_runs"
NOW_MS = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint"

# What all epochs have in common: the Redis runs that were met, and when the database last lost commits.
SHARED_EPOCH = "SELECT count(*) + coalesce(max(epochs), 0) AS met FROM redis_runs"

LIST_ACCOUNT_IDS = "SELECT id FROM accounts ORDER BY id"

RAISE_EPOCHS = "UPDATE accounts SET epoch = epoch + 1 WHERE id = ANY($1::bigint[])"


async def record_redis_run(pool: "Pool", run_id: str) -> bool:
    """Whether this run of a Redis server was not known before; raises what Postgres raises."""
    return await pool.fetchrow(INSERT_RUN, run_id) is not None


async def record_lost_commits(executor: "Executor | Pool") -> None:
    """The database lost commits, and raised epochs among them: all counters are seeded again by the next calls that
    need them; nothing if another program recorded it within two seconds. Raises what Postgres raises."""
    await executor.execute(INSERT_LOSS)


async def record_restored_rows(pool: "Pool") -> None:
    """As record_lost_commits, and counters that another program had seeded before are seeded once more. Rows that were
    lost are written when this is called."""
    since = await pool.fetchval(NOW_MS)
    while True:
        await record_lost_commits(pool)
        if await pool.fetchval(LAST_LOSS) >= since:
            return
        await asyncio.sleep(0.5)


# Counters that are wrong and pass for newer than their account: raising its epoch by one would not have them seeded.
ANY_AHEAD = f"""
WITH counters AS (SELECT c.account_id, c.epoch FROM unnest($1::bigint[], $2::bigint[]) AS c (account_id, epoch))
SELECT EXISTS (SELECT FROM counters c JOIN accounts a ON a.id = c.account_id CROSS JOIN ({SHARED_EPOCH}) AS runs
    WHERE c.epoch >= a.epoch + runs.met)
"""  # noqa: S608  a constant of this file


async def raise_epochs(executor: "Executor | Pool", account_ids: Collection[int]) -> None:
    """All counters of these accounts are seeded again by the next call that needs them."""
    await executor.execute(RAISE_EPOCHS, list(account_ids))


async def raise_epochs_above(executor: "Executor | Pool", epochs: dict[int, int]) -> bool:
    """As raise_epochs, of accounts with the largest epoch that was read of their counters. True: a counter had one that
    its account has not been given yet, so the database has lost some: those of all accounts were raised beyond them."""
    await raise_epochs(executor, epochs)
    has_lost = bool(await executor.fetchval(ANY_AHEAD, list(epochs), list(epochs.values())))
    if has_lost:
        await record_lost_commits(executor)
    return has_lost


async def list_account_ids(pool: "Pool") -> list[int]:
    """All of them, in order."""
    return [row["id"] for row in await pool.fetch(LIST_ACCOUNT_IDS)]
