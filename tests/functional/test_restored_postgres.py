"""Postgres is set back to an earlier moment while a gateway serves calls. `make operations` does the same, and the
other procedures of docs/operations.md, with two gateways under load."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import asyncpg
import pytest
import redis.asyncio
from callers import make_caller
from factories import make_model
from gateways import Ledger, RedisState, StartGateway, wait_until
from operations.servers import ArchivingPostgres

from admin_api.storage.migrate import migrate
from deploy.embedded.postgres import APP, OWNER
from deploy.embedded.valkey import Valkey
from gateway.domain.windows import window_ms
from gateway.storage.counters.epochs import raise_epochs
from gateway.storage.postgres import new_pool


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    with Valkey(tmp_path / "valkey") as server:
        yield server


@pytest.fixture
def archiving(tmp_path: Path) -> Iterator[ArchivingPostgres]:
    with ArchivingPostgres(tmp_path / "postgres") as server:
        yield server


async def test_no_call_fails_no_row_is_lost_and_counters_are_those_of_the_ledger(
    archiving: ArchivingPostgres,
    valkey: Valkey,
    start_gateway: StartGateway,
    http: aiohttp.ClientSession,
    tmp_path: Path,
) -> None:
    owner = await asyncpg.connect(archiving.url(OWNER))
    await migrate(owner, app_role=APP)
    await owner.close()
    pool = await new_pool(archiving.url(APP), size=2)
    await make_model(pool, "demo-chat")
    gateway = start_gateway(database_url=archiving.url(APP), redis_url=valkey.url(), state_dir=tmp_path / "state")
    caller = await make_caller(pool, gateway.url, http, ["demo-chat"])
    await caller.limit("requests", 1000, window="month")
    answers = [await caller.chat("Hello [tokens=1]")]
    await Ledger(pool).rows(caller.account_id, 1)

    archiving.back_up()
    moment = archiving.ask("SELECT now()")
    # Epochs that were raised go with the rows: counters in Redis must not pass for newer than they are.
    for _ in range(2):
        await raise_epochs(pool, [caller.account_id])
        await gateway.wait_for_changes(pool)
        answers.append(await caller.chat("Hello [tokens=1]"))
    await Ledger(pool).rows(caller.account_id, 3)
    archived = archiving.archive / archiving.ask("SELECT pg_walfile_name(pg_switch_wal())")

    async def is_archived() -> bool:
        return await asyncio.to_thread(archived.exists)

    await wait_until(is_archived, "the log in the archive", timeout_s=30)
    await pool.close()
    archiving.stop()
    answers += [await caller.chat("Hello [tokens=1]") for _ in range(2)]
    archiving.restore_to(moment)
    async with new_pool(archiving.url(APP), size=2) as pool:
        answers.append(await caller.chat("Hello [tokens=1]"))
        rows = await Ledger(pool).rows(caller.account_id, len(answers))

        async def is_seeded() -> bool:
            return bool(await pool.fetchval("SELECT max(epochs) > 0 FROM redis_runs"))

        await wait_until(is_seeded, "epochs to be raised", timeout_s=30)
        await gateway.wait_for_changes(pool)
        answers.append(await caller.chat("Hello [tokens=1]"))
        async with redis.asyncio.from_url(valkey.url()) as client:
            counters = RedisState(client)
            await counters.wait_until_settled(caller.account_id)
            counter = await counters.counter(caller.account_id, f"R|k{caller.key_id}|month")

    _, end = window_ms("month", "UTC", int(datetime.now(UTC).timestamp() * 1000))
    assert {answer.status for answer in answers} == {200}
    assert {str(row["request_id"]) for row in rows} == {answer.request_id for answer in answers[:-1]}
    assert counter[:3] == [end, len(answers), 0]
    # Of the moment in which the rows were there again.
    assert counter[3] > 10**12
    gateway.stop()
