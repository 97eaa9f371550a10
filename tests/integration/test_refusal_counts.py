"""Refused calls are counted by the hour, even if a worker stops during the write."""

import asyncio

from gateway.storage.postgres import Pool
from gateway.storage.refusal_counts import RefusalCounts


async def test_a_stop_during_a_write_loses_no_refusal_count(pool: Pool) -> None:
    counts = RefusalCounts(pool)
    for _ in range(7):
        counts.count(account_id=1, user_id=None, api_key_id=1, model_id=1, limit_id=1, code="rate_limit_exceeded")
    async with pool.acquire() as other:
        holding = other.transaction()
        await holding.start()
        await other.execute("LOCK TABLE refusals IN EXCLUSIVE MODE")
        writing = asyncio.create_task(counts.write())
        async with asyncio.timeout(10):
            while not await other.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                await asyncio.sleep(0.02)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        await holding.rollback()

    await counts.write()

    assert await pool.fetchval("SELECT sum(count) FROM refusals") == 7
