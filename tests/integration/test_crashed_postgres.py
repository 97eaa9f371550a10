"""Postgres crashes right after a batch that asynchronous commit might lose: the committed rows survive."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from msgspec.structs import replace
from usage_rows import TODAY, make_usage_row, write_rows

from admin_api.storage.migrate import migrate
from deploy.embedded.postgres import APP, OWNER, Postgres
from gateway.storage.postgres import new_pool

# An asynchronous commit stays in memory for seconds.
LAZY = {"synchronous_commit": "off", "wal_writer_delay": "10s", "wal_writer_flush_after": "0", "bgwriter_delay": "10s"}


@pytest.fixture
async def lazy(tmp_path: Path) -> AsyncIterator[Postgres]:
    with Postgres(tmp_path / "lazy", settings=LAZY) as server:
        owner = await asyncpg.connect(server.url(OWNER))
        await migrate(owner, app_role=APP)
        await owner.close()
        yield server
        server.discard()


async def crash(server: Postgres) -> None:
    """Kills a backend, which makes the server recover from disk; returns after the recovery."""
    victim, witness = [await asyncpg.connect(server.url(OWNER)) for _ in range(2)]
    os.kill(await victim.fetchval("SELECT pg_backend_pid()"), signal.SIGKILL)
    async with asyncio.timeout(60):
        while not witness.is_closed():
            await asyncio.sleep(0.02)
        while True:
            try:
                await (await asyncpg.connect(server.url(OWNER))).close()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await asyncio.sleep(0.1)
            else:
                return


async def test_new_rows_and_replaced_estimates_survive_a_crash(lazy: Postgres) -> None:
    estimate = make_usage_row(TODAY, estimated=True, estimated_why="reaped", ending="upstream_error", total_ms=0)
    real = replace(estimate, estimated=False, estimated_why=None, ending="completed", total_ms=9)
    async with new_pool(lazy.url(APP), size=1) as pool:
        await write_rows(pool, [estimate, other := make_usage_row(TODAY)])
    await crash(lazy)
    async with new_pool(lazy.url(APP), size=1) as pool:
        first = {row["request_id"] for row in await pool.fetch("SELECT request_id FROM usage_logs")}
        written = await write_rows(pool, [real])
    await crash(lazy)
    async with new_pool(lazy.url(APP), size=1) as pool:
        rows = dict(await pool.fetch("SELECT request_id, estimated_why FROM usage_logs"))

    assert first == {estimate.request_id, other.request_id}
    assert written.replaced == 1
    assert rows == {real.request_id: None, other.request_id: None}
