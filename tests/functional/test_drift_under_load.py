"""Counters are exact to the request while calls go on and their rows are on their way to the ledger."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import aiohttp
import asyncpg
import pytest
import redis.asyncio
from callers import Caller, make_caller
from conftest import Database
from factories import ADMIN
from gateways import Backends, GatewayThread, RedisState, StartGateway, wait_until
from load_at_gateways import Load, drifts, ledger_has

from admin_api.operations.limits import explain as explanations
from deploy.embedded.valkey import Valkey
from gateway.domain.errors import GatewayError
from gateway.storage.counters import settling
from gateway.storage.counters.epochs import raise_epochs
from gateway.storage.counters.layout import pack_numbers, read_counter
from gateway.storage.counters.scripts import HASH_NAME, SCRIPTS, Counters
from gateway.storage.postgres import Pool
from gateway.storage.redis.urls import connect
from gateway.tasks.check_drift import DriftCheck
from gateway.tasks.note_redis_runs import SEED_AGAIN


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    with Valkey(tmp_path / "valkey") as server:
        yield server


@pytest.fixture
def gateways(start_gateway: StartGateway, valkey: Valkey, tmp_path: Path) -> list[GatewayThread]:
    return [start_gateway(redis_url=valkey.url(), state_dir=tmp_path / str(n)) for n in range(2)]


@pytest.fixture
async def caller(pool: Pool, gateways: list[GatewayThread], http: aiohttp.ClientSession) -> Caller:
    await wait_until(partial(have_seeded, gateways), "what follows a new Redis")
    made = await make_caller(pool, gateways[0].url, http, ("demo-chat",))
    await made.limit("concurrency", 100)
    await made.limit("requests", 10**6, window="month")
    await made.limit("cost", 10**12, window="day")
    for gateway in gateways:
        # A limit that is new to a gateway counts its calls from then on.
        await gateway.wait_for_changes(pool)
    return made


async def have_seeded(gateways: list[GatewayThread]) -> bool:
    """Whether no gateway is about to seed all accounts once more because it has met a new Redis: that puts drift
    right."""
    return not any(task.get_name() == SEED_AGAIN for one in gateways for task in asyncio.all_tasks(one.loop))


@pytest.fixture
async def counters(valkey: Valkey) -> AsyncIterator[Counters]:
    scripts = connect(valkey.url(), SCRIPTS, timeout_s=2)
    await scripts.open()
    yield Counters(scripts)
    await scripts.close()


@asynccontextmanager
async def rows_wait(database: Database) -> AsyncIterator[None]:
    """Nobody writes a row of the ledger meanwhile; all may read."""
    owner = await asyncpg.connect(database.owner_url)
    async with owner.transaction():
        await owner.execute("LOCK TABLE usage_logs IN SHARE MODE")
        yield
    await owner.close()


def calls(caller: Caller, gateways: list[GatewayThread]) -> Load:
    """As many as leave a busy machine time to write their rows: what is exact does not depend on how many there are."""
    return Load(caller, gateways, callers=4, pause_s=0.05)


async def go_on(load: Load, more: int = 20) -> None:
    """Until so many more calls were answered."""
    before = load.answers.total()

    async def are_answered() -> bool:
        return load.answers.total() - before >= more

    await wait_until(are_answered, f"{more} more calls")


async def add_to(counters: Counters, client: "redis.asyncio.Redis", caller: Caller, field: str, more: int) -> None:
    """While nobody else writes there."""
    ends, used, reserved, epoch = read_counter(field, (await counters.read_account(caller.account_id))[field])  # type: ignore[misc]
    await client.hset(HASH_NAME % caller.account_id, field, pack_numbers(ends, used + more, reserved, epoch))


async def called_and_put_off(
    counters: Counters, valkey: Valkey, caller: Caller, gateways: list[GatewayThread], amounts: dict[str, int]
) -> Load:
    """Some calls that ended, whose rows are in the ledger, and after which counters were put off by these amounts."""
    load = calls(caller, gateways)
    await go_on(load)
    await load.stop()
    async with redis.asyncio.from_url(valkey.url()) as client:
        await RedisState(client).wait_until_settled(caller.account_id)
        for field, more in amounts.items():
            await add_to(counters, client, caller, field, more)
    return load


async def nothing_is_kept(counters: Counters, caller: Caller) -> None:
    """Calls that end are kept for some seconds after a seed, and so are exact though their rows wait."""

    async def is_over() -> bool:
        till = (await counters.read_account(caller.account_id)).get("keep", b"0")
        return int(till) <= await counters.now_ms()

    await wait_until(is_over, "nothing is kept")


async def say_states(gateways: list[GatewayThread]) -> None:
    """Now, not within two seconds."""
    for gateway in gateways:
        work = gateway.apps[0].worker.worker_count.beat()
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, gateway.loop))


async def restart(valkey: Valkey) -> None:
    await asyncio.to_thread(valkey.stop)
    await asyncio.to_thread(valkey.start)


async def flush(valkey: Valkey) -> None:
    """No connection is lost."""
    async with redis.asyncio.from_url(valkey.url()) as client:
        await client.flushall()


async def count_rows(pool: Pool, caller: Caller) -> int:
    sql = "SELECT count(*) FROM usage_logs WHERE account_id = $1"
    return int(await pool.fetchval(sql, caller.account_id))


async def assert_exact(pool: Pool, valkey: Valkey, caller: Caller, *loads: Load) -> None:
    """Once all has arrived; every call is counted."""
    answers = [await load.stop() for load in loads]
    assert {ending for some in answers for ending in some} == {(200, "")}
    await ledger_has(pool, caller, sum(some.total() for some in answers))
    found = await drifts(pool, valkey, caller)
    assert {drift.kind for drift in found} == {"requests", "tokens", "cost"}
    assert [drift for drift in found if drift.difference] == []


async def test_a_seed_counts_calls_whose_rows_are_on_their_way(
    caller: Caller, gateways: list[GatewayThread], valkey: Valkey, counters: Counters, pool: Pool, backends: Backends
) -> None:
    load = calls(caller, gateways)
    await go_on(load)
    await counters.keep_ended(caller.account_id, 20_000)
    await asyncio.sleep(0.5)
    async with rows_wait(backends.database):
        await go_on(load)
        assert await count_rows(pool, caller) < load.answers.total()
        # What is kept is no drift.
        assert [drift for drift in await drifts(pool, valkey, caller) if drift.difference] == []
        await raise_epochs(pool, [caller.account_id])
        await go_on(load)
        assert [drift for drift in await drifts(pool, valkey, caller) if drift.difference] == []
    await go_on(load)

    await assert_exact(pool, valkey, caller, load)


async def test_a_drift_is_put_right_while_calls_go_on(
    caller: Caller, gateways: list[GatewayThread], valkey: Valkey, counters: Counters, pool: Pool
) -> None:
    requests, cost = f"R|k{caller.key_id}|month", f"C|k{caller.key_id}|day"
    before = await called_and_put_off(counters, valkey, caller, gateways, {requests: -5, cost: 7})
    load = calls(caller, gateways)
    await go_on(load)

    check = DriftCheck(counters, pool)
    # On a busy machine rows are on their way for longer than the looks of one check.
    async with asyncio.timeout(60):
        while not (found := await check.check([caller.account_id], settling_s=1)):
            pass
    await go_on(load, 50)

    assert {drift.field: drift.difference for drift in found} == {requests: -5, cost: 7}
    await assert_exact(pool, valkey, caller, before, load)


@pytest.mark.parametrize("lose_data", [restart, flush])
async def test_a_redis_that_lost_its_data_is_exact_again_within_seconds_though_its_first_seeds_missed_rows(
    lose_data: Callable[[Valkey], Awaitable[None]], caller: Caller, gateways: list[GatewayThread], valkey: Valkey,
    pool: Pool, backends: Backends,
) -> None:  # fmt: skip
    load = calls(caller, gateways)
    async with rows_wait(backends.database):
        await go_on(load)
        await lose_data(valkey)
        before = load.answers[200, ""]

        async def pass_again() -> bool:
            return load.answers[200, ""] > before

        await wait_until(pass_again, "calls to pass again")
    await go_on(load)
    answers = await load.stop()
    answered = answers[200, ""]

    async def are_exact() -> bool:
        nonlocal answered
        answered += (await caller.chat("Hello [tokens=3]")).status == 200
        await ledger_has(pool, caller, answered)
        return all(drift.difference == 0 for drift in await drifts(pool, valkey, caller))

    await wait_until(are_exact, "counters that are exact", timeout_s=20, pause_s=0.5)


async def test_rows_that_wait_for_postgres_are_no_drift(
    caller: Caller, gateways: list[GatewayThread], valkey: Valkey, counters: Counters, pool: Pool, backends: Backends
) -> None:
    """Counters that were set to the ledger's sums would admit calls beyond their limits."""
    load = calls(caller, gateways)
    await go_on(load)
    await nothing_is_kept(counters, caller)
    async with rows_wait(backends.database):
        await go_on(load)
        checking = asyncio.create_task(DriftCheck(counters, pool).check([caller.account_id], settling_s=0.7))
        await asyncio.sleep(1)
        await say_states(gateways)
        assert await checking == []

    await assert_exact(pool, valkey, caller, load)


async def test_limits_repair_is_exact_while_calls_go_on(
    caller: Caller, gateways: list[GatewayThread], valkey: Valkey, counters: Counters, pool: Pool
) -> None:
    load = calls(caller, gateways)
    await go_on(load)

    found = await explanations.repair_limits(pool, counters, ADMIN)
    await go_on(load, 50)

    assert found == []
    await assert_exact(pool, valkey, caller, load)


async def test_limits_repair_waits_for_rows_and_refuses_while_they_wait(
    caller: Caller,
    gateways: list[GatewayThread],
    valkey: Valkey,
    counters: Counters,
    pool: Pool,
    backends: Backends,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(settling, "MAX_SETTLING_S", 2.5)
    load = calls(caller, gateways)
    await go_on(load)
    async with rows_wait(backends.database):
        await go_on(load)
        repairing = asyncio.create_task(explanations.repair_limits(pool, counters, ADMIN))
        while not repairing.done():
            await say_states(gateways)
            await asyncio.sleep(0.2)
        with pytest.raises(GatewayError, match="Rows of calls wait for Postgres"):
            await repairing

    await assert_exact(pool, valkey, caller, load)


async def test_no_counter_of_an_account_is_set_back_while_rows_wait_though_another_one_is_short(
    caller: Caller, gateways: list[GatewayThread], valkey: Valkey, counters: Counters, pool: Pool, backends: Backends
) -> None:
    """Counters of an account are seeded together."""
    requests = f"R|k{caller.key_id}|month"
    before = await called_and_put_off(counters, valkey, caller, gateways, {requests: -1000})
    load = calls(caller, gateways)
    await nothing_is_kept(counters, caller)
    async with rows_wait(backends.database):
        await go_on(load)
        checking = asyncio.create_task(DriftCheck(counters, pool).check([caller.account_id], settling_s=0.5))
        while not checking.done():
            await say_states(gateways)
            await asyncio.sleep(0.2)
        assert await checking == []
        await go_on(load)

    answers = [await one.stop() for one in (before, load)]
    await ledger_has(pool, caller, sum(some.total() for some in answers))
    found = {drift.field: drift.difference for drift in await drifts(pool, valkey, caller) if drift.difference}
    assert found == {requests: -1000}
