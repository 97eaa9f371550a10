"""Which runs of a Redis server were met: a new one may hold an old snapshot, so every counter is older than it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

# Gateways hold epochs in their cached records: all must forget them.
INSERT_RUN = """
WITH met AS (INSERT INTO redis_runs (run_id) VALUES ($1) ON CONFLICT DO NOTHING RETURNING run_id)
SELECT pg_notify('litemaas_changes', '*') FROM met
"""


async def meet_run(pool: "Pool", run_id: str) -> bool:
    """Whether this run was not known before; raises what Postgres raises."""
    return await pool.fetchrow(INSERT_RUN, run_id) is not None
