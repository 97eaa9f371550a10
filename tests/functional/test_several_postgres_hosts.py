"""LITEMAAS_DATABASE_URL with several hosts: writes go to the one that takes them, a host that hangs keeps nobody from
the others, and when a replica is promoted all goes on there."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import asyncpg
import pytest
from callers import make_caller
from factories import make_model
from gateways import Ledger, StartGateway, wait_until

from admin_api.storage.migrate import migrate
from deploy.embedded.postgres import APP, OWNER, Postgres
from deploy.embedded.postgres_standby import Standby
from gateway.storage.postgres import new_pool
from gateway.storage.urls import postgres_url


@pytest.fixture
async def hanging_port() -> AsyncIterator[int]:
    """Where connections are accepted, and nothing is ever answered."""
    is_over = asyncio.Event()

    async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await is_over.wait()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    is_over.set()
    server.close()


async def test_a_gateway_goes_on_with_the_replica_that_was_promoted(
    memory_folder: Path, hanging_port: int, redis_url: str, start_gateway: StartGateway, http: aiohttp.ClientSession,
    tmp_path: Path,
) -> None:  # fmt: skip
    with Postgres(memory_folder / "primary", durable=False) as primary:
        owner = await asyncpg.connect(primary.url(OWNER))
        await migrate(owner, app_role=APP)
        await owner.close()
        with Standby(memory_folder / "standby", primary) as standby:
            hosts = ",".join(f"127.0.0.1:{port}" for port in (hanging_port, standby.port, primary.port))
            url = postgres_url(primary.url().replace(f"127.0.0.1:{primary.port}", hosts))
            async with new_pool(url, size=2) as pool:
                await make_model(pool, "demo-chat")
                gateway = start_gateway(database_url=url, redis_url=redis_url, state_dir=tmp_path / "state")
                caller = await make_caller(pool, gateway.url, http, ["demo-chat"])
                await gateway.wait_for_changes(pool)
                assert (await caller.chat()).status == 200

                async def has_row() -> bool:
                    count = await replica.fetchval("SELECT count(*) FROM usage_logs")
                    return bool(count)

                replica = await asyncpg.connect(standby.url())
                await wait_until(has_row, "the row on the replica")
                await replica.close()

                assert primary.child is not None
                primary.child._process.kill()
                answers = [await caller.chat() for _ in range(5)]
                await asyncio.to_thread(standby.promote)

                assert [answer.status for answer in answers] == [200] * 5
                # Written where the replica was, and what changes there is heard.
                await Ledger(pool).rows(caller.account_id, 6)
                await pool.execute("UPDATE api_keys SET revoked_at = now() WHERE id = $1", caller.key_id)

                async def is_refused() -> bool:
                    return (await caller.chat()).status == 401

                await wait_until(is_refused, "the key to be refused")
                # While Postgres is there.
                await gateway.stop_async()
