"""Redis loses its data under load: the ledger stays complete, counters are restored, no call is refused."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import time
from typing import Any

import aiohttp
import asyncpg
import msgspec
import pytest
import redis.asyncio
from callers import Caller, make_caller
from gateways import GatewayThread, Ledger, RedisState, wait_until
from load_at_gateways import CALLERS, Load, drifts, ledger_has
from msgspec.structs import replace
from usage_rows import write_rows

from deploy.embedded.valkey import Valkey
from deploy.embedded.valkey_cluster import ValkeyCluster
from gateway.domain.grants import KeyRecord
from gateway.domain.ids import milliseconds_of, uuid7
from gateway.domain.reservation_plan import ReservationPlan, make_reservation_plan
from gateway.domain.windows import window_ms
from gateway.storage.counters.epochs import raise_epochs
from gateway.storage.counters.layout import Lease, pack_entries, pack_numbers
from gateway.storage.counters.scripts import HASH_NAME, LEASED_ACCOUNTS, SCRIPTS, Counters, Estimate, Settlement
from gateway.storage.counters.seeding import Seeder
from gateway.storage.counters.worker_states import WORKERS
from gateway.storage.key_records import find_key_record_by_id
from gateway.storage.ledger.reaped_rows import estimated_row
from gateway.storage.postgres import Pool
from gateway.storage.redis.urls import connect
from gateway.tasks import note_redis_runs


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    with Valkey(tmp_path / "valkey") as server:
        yield server


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ValkeyCluster]:
    with ValkeyCluster(tmp_path / "cluster") as found:
        yield found


@pytest.fixture
def gateways(start_gateway: Callable[..., GatewayThread], valkey: Valkey, tmp_path: Path) -> list[GatewayThread]:
    """Two gateways that share their own Redis."""
    return [start_gateway(redis_url=valkey.url(), state_dir=tmp_path / str(n)) for n in range(2)]


@pytest.fixture
async def caller(pool: Pool, gateways: list[GatewayThread], http: aiohttp.ClientSession) -> Caller:
    made = await make_caller(pool, gateways[0].url, http, ("demo-chat",))
    await made.limit("rpm", 1_000_000)
    await made.limit("concurrency", 100)
    await made.limit("cost", 10**12, window="day")
    return made


async def is_open(caller: Caller) -> bool:
    return (await caller.chat("Hello [tokens=1]")).status == 200


async def test_a_flush_under_load_refuses_no_call_and_loses_no_row(
    caller: Caller, gateways: list[GatewayThread], valkey: Valkey, pool: Pool
) -> None:
    load = Load(caller, gateways)
    async with redis.asyncio.from_url(valkey.url()) as client:
        for _ in range(3):
            await asyncio.sleep(0.7)
            await client.flushall()
        await asyncio.sleep(0.7)
    answers = await load.stop()

    assert set(answers) == {(200, "")}
    await ledger_has(pool, caller, answers[200, ""])
    # Behind by at most the calls in flight and the rows in transit at the last flush.
    found = await drifts(pool, valkey, caller)
    assert {drift.kind for drift in found} == {"requests", "tokens", "cost"}
    requests = next(drift for drift in found if drift.kind == "requests")
    assert -(CALLERS + answers[200, ""] / 3) <= requests.difference <= CALLERS


async def test_a_restart_under_load_causes_503_only_while_it_lasts(
    caller: Caller, gateways: list[GatewayThread], valkey: Valkey, pool: Pool
) -> None:
    load = Load(caller, gateways)
    await asyncio.sleep(0.7)
    await asyncio.to_thread(valkey.stop)
    await asyncio.sleep(0.5)
    await asyncio.to_thread(valkey.start)
    for gateway in gateways:
        await wait_until(partial(is_open, caller.at(gateway.url)), "calls to pass again")
    await asyncio.sleep(0.7)
    before = Counter(load.answers)
    await asyncio.sleep(0.3)
    answers = await load.stop()

    assert set(answers) == {(200, ""), (503, "limits_unavailable")}
    assert (answers - before)[503, "limits_unavailable"] == 0
    rows = await pool.fetchval("SELECT count(*) FROM usage_logs WHERE account_id = $1", caller.account_id)
    assert rows <= answers[200, ""] + 100
    assert all(drift.ledger > 0 for drift in await drifts(pool, valkey, caller))


@pytest.mark.parametrize("restarts", [True, False])
async def test_open_calls_hold_their_slots_again_soon_after_redis_lost_them(
    restarts: bool, caller: Caller, gateways: list[GatewayThread], valkey: Valkey
) -> None:
    """Not only when their leases are due to be renewed, after 20 s."""
    await caller.limit("concurrency", 1)
    async with caller.open_chat("[tokens=4000] [rate=20]", stream=True) as answer:
        assert answer.status == 200
        if restarts:
            await asyncio.to_thread(valkey.stop)
            await asyncio.to_thread(valkey.start)
        async with redis.asyncio.from_url(valkey.url()) as client:
            if not restarts:
                await client.flushall()
            own = RedisState(client)

            async def is_held() -> bool:
                return len(await own.open_leases(caller.account_id)) == 1

            await wait_until(is_held, "the lease to be taken again", timeout_s=10)
        other = caller.at(gateways[1].url)
        await wait_until(partial(_is_reachable, other), "Redis to be met again")
        assert (await other.chat()).status == 429


async def test_open_calls_hold_their_slots_again_soon_after_one_node_of_a_cluster_lost_them(
    cluster: ValkeyCluster, start_gateway: Callable[..., GatewayThread], tmp_path: Path, pool: Pool,
    http: aiohttp.ClientSession,
) -> None:  # fmt: skip
    gateways = [start_gateway(redis_url=cluster.url, state_dir=tmp_path / str(n)) for n in range(2)]
    callers = [await make_caller(pool, gateways[0].url, http, ("demo-chat",)) for _ in range(12)]
    by_node = {cluster.owner_of(HASH_NAME % caller.account_id): caller for caller in callers}
    assert set(by_node) == set(cluster.nodes)
    for node, caller in by_node.items():
        await caller.limit("concurrency", 1)
        async with (
            caller.open_chat("[tokens=4000] [rate=20]", stream=True) as answer,
            redis.asyncio.from_url(node.url()) as client,
        ):
            assert answer.status == 200
            await client.flushall()
            own = RedisState(client)

            async def is_held(own: RedisState = own, account_id: int = caller.account_id) -> bool:
                return len(await own.open_leases(account_id)) == 1

            await wait_until(is_held, "the lease to be taken again", timeout_s=10)
            assert (await caller.at(gateways[1].url).chat()).status == 429


async def test_counters_are_seeded_after_a_flush_though_postgres_does_not_take_it_at_first(
    caller: Caller, gateways: list[GatewayThread], valkey: Valkey, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await is_open(caller)

    async def have_seeded() -> bool:
        """After the start, which met a new Redis."""
        tasks = [task for gateway in gateways for task in gateway.apps[0].worker.background._tasks]
        return all(task.get_name() != note_redis_runs.SEED_AGAIN for task in tasks)

    await wait_until(have_seeded, "the gateways to have seeded", timeout_s=30)
    monkeypatch.setattr(note_redis_runs, "PAUSE_S", 0.5)
    failures = iter([ConnectionError("away"), asyncpg.CannotConnectNowError("it is starting")])

    async def fail_twice(*args: Any) -> None:
        for failure in failures:
            raise failure
        await raise_epochs(*args)

    async def epoch() -> int:
        return int(await pool.fetchval("SELECT epoch FROM accounts WHERE id = $1", caller.account_id))

    before = await epoch()
    monkeypatch.setattr(note_redis_runs, "raise_epochs", fail_twice)
    async with redis.asyncio.from_url(valkey.url()) as client:
        await client.flushall()
        assert await is_open(caller)

        async def is_raised() -> bool:
            return await epoch() > before

        await wait_until(is_raised, "counters to be seeded again", timeout_s=40)


async def test_a_call_that_ends_while_its_counters_are_seeded_takes_no_lease_and_holds_up_no_other(
    caller: Caller, gateways: list[GatewayThread], valkey: Valkey, pool: Pool, http: aiohttp.ClientSession
) -> None:
    other = await make_caller(pool, gateways[0].url, http, ("demo-chat",))
    await other.limit("concurrency", 1)
    worker = gateways[0].apps[0].worker
    seed, is_seeding, may_seed = worker.admission._seed, threading.Event(), threading.Event()

    async def seed_late(record: KeyRecord, plan: ReservationPlan, indexes: tuple[int, ...]) -> None:
        while record.account_id == caller.account_id and not may_seed.is_set():
            is_seeding.set()
            await asyncio.sleep(0.01)
        await seed(record, plan, indexes)

    async with redis.asyncio.from_url(valkey.url()) as client:
        own = RedisState(client)
        async with (
            caller.open_chat("[tokens=40] [rate=20]", stream=True) as answer,
            other.open_chat("[tokens=4000] [rate=20]", stream=True),
        ):
            worker.admission._seed = seed_late
            await client.flushall()
            renewing = asyncio.run_coroutine_threadsafe(worker.leases.renew(0), gateways[0].loop)
            assert await asyncio.to_thread(is_seeding.wait, 10)

            async def is_held() -> bool:
                return len(await own.open_leases(other.account_id)) == 1

            await wait_until(is_held, "the lease of the other call")
            await answer.read()
            await ledger_has(pool, caller, 1)
            may_seed.set()
            assert await asyncio.wrap_future(renewing)

        assert await own.open_leases(caller.account_id) == []


async def test_a_redis_that_lost_the_names_of_accounts_learns_them_by_the_next_call(
    gateways: list[GatewayThread], valkey: Valkey, pool: Pool, http: aiohttp.ClientSession
) -> None:
    """Reapers, and what compares counters with the ledger, go by these names."""
    without, limited = [await make_caller(pool, gateways[0].url, http, ("demo-chat",)) for _ in range(2)]
    await without.remove_subscription_limits()
    await limited.limit("requests", 1_000_000, window="month")
    ids = {without.account_id, limited.account_id}
    assert await is_open(without)
    assert await is_open(limited)
    assert await named(valkey) >= ids

    await asyncio.to_thread(valkey.stop)
    await asyncio.to_thread(valkey.start)
    async with redis.asyncio.from_url(valkey.url()) as client:

        async def are_connected() -> bool:
            return await client.zcard(WORKERS) == len(gateways)

        # No call has failed meanwhile.
        await wait_until(are_connected, "the gateways to be connected again")
        assert await is_open(without)
        assert await is_open(limited)
        assert await named(valkey) >= ids

        await client.flushall()
    assert await is_open(limited)
    assert limited.account_id in await named(valkey)


async def named(valkey: Valkey) -> set[int]:
    async with redis.asyncio.from_url(valkey.url()) as client:
        return {int(account_id) for account_id in await client.zrange(LEASED_ACCOUNTS, 0, -1)}


async def test_an_old_snapshot_does_not_restore_spent_budget(
    caller: Caller, gateways: list[GatewayThread], valkey: Valkey, pool: Pool, ledger: Ledger
) -> None:
    await caller.limit("requests", 40, window="month")
    assert {(await caller.chat("Hello [tokens=1]")).status for _ in range(10)} == {200}
    async with redis.asyncio.from_url(valkey.url()) as client:
        await client.save()
    assert {(await caller.chat("Hello [tokens=1]")).status for _ in range(20)} == {200}
    await ledger_has(pool, caller, 30)

    await asyncio.to_thread(valkey.stop)
    await asyncio.to_thread(valkey.start)
    for gateway in gateways:
        await wait_until(partial(_is_reachable, caller.at(gateway.url)), "Redis to be met again")
    after = [response.status for response in await caller.chats(30, "Hello [tokens=1]")]

    assert after.count(200) == 10
    assert after.count(429) == 20


async def _is_reachable(caller: Caller) -> bool:
    return (await caller.get("/v1/limits")).status == 200


async def test_a_seed_settles_calls_already_in_the_ledger_first(caller: Caller, valkey: Valkey, pool: Pool) -> None:
    """The rows of a gateway reach Postgres before its settlements reach Redis; another gateway seeds in between."""
    await caller.limit("concurrency", 100)
    await caller.limit("requests", 1000, window="month")
    record = await find_key_record_by_id(pool, caller.key_id)
    assert record is not None
    grant = record.grants["demo-chat"]
    request_ids = [uuid7(int(time() * 1000), n.to_bytes(10)) for n in range(2)]
    plan = make_reservation_plan(grant, record.time_zone, record.epoch, milliseconds_of(request_ids[0]))
    every = tuple(n for n, entry in enumerate(plan.entries) if entry.field[0] not in "rt")
    note = msgspec.json.encode(
        {"user_id": record.user_id, "api_key_id": record.key_id, "subscription_id": grant.subscription_id}
        | {"model_id": grant.model_id, "model": grant.model_name, "price_id": None, "endpoint": "x", "streamed": True}
    )
    scripts = connect(valkey.url(), SCRIPTS, timeout_s=2)
    await scripts.open()
    counters = Counters(scripts)
    seeder = Seeder(counters, pool)
    await seeder.seed(record, plan, every)
    for request_id in request_ids:
        start_ms = milliseconds_of(request_id)
        taken = await counters.reserve(
            record.account_id, request_id, pack_entries(plan.entries), Estimate(tokens=(10, 0, 10), cost=(0, 0, 0)),
            start_ms=start_ms, scopes=grant.scopes, note=note,
        )  # fmt: skip
        assert taken.status == "taken"
    lease = Lease(
        request_id=request_ids[0], start_ms=start_ms, prompt_tokens=7, completion_tokens=0, nano_usd=0, note=note
    )
    await write_rows(pool, [replace(estimated_row(record.account_id, lease), estimated=False, estimated_why=None)])

    await raise_epochs(pool, [record.account_id])
    again = await find_key_record_by_id(pool, caller.key_id)
    assert again is not None
    plan = make_reservation_plan(again.grants["demo-chat"], again.time_zone, again.epoch, start_ms)
    await seeder.seed(again, plan, every)

    async with redis.asyncio.from_url(valkey.url()) as client:
        own = RedisState(client)
        assert (await own.counter(record.account_id, f"R|k{caller.key_id}|month"))[1:3] == [1, 1]
        assert (await own.counter(record.account_id, f"c|k{caller.key_id}"))[0] == 1
    # The late settlement changes nothing.
    assert not await counters.settle(Settlement.of(estimated_row(record.account_id, lease)))
    await scripts.close()


@pytest.mark.parametrize("lost_epochs", [0, 7])
async def test_drift_is_detected_reported_and_repaired(
    caller: Caller, gateways: list[GatewayThread], valkey: Valkey, pool: Pool, lost_epochs: int
) -> None:
    """Also where the database was restored, and epochs that had been raised are lost."""
    await caller.limit("requests", 1000, window="month")
    for _ in range(5):
        await caller.chat("Hello [tokens=1]")
    await ledger_has(pool, caller, 5)
    _, end = window_ms("month", "UTC", int(datetime.now(UTC).timestamp() * 1000))
    async with redis.asyncio.from_url(valkey.url()) as client:
        own = RedisState(client)
        await own.wait_until_settled(caller.account_id)
        field = f"R|k{caller.key_id}|month"
        ends, used, reserved, epoch = await own.counter(caller.account_id, field)
        assert (ends, used, reserved) == (end, 5, 0)
        await client.hset(HASH_NAME % caller.account_id, field, pack_numbers(ends, 3, 0, epoch + lost_epochs))

        check = gateways[0].apps[0].worker.drift
        found = await asyncio.wrap_future(
            asyncio.run_coroutine_threadsafe(check.check([caller.account_id], settling_s=0.2), _loop_of(gateways[0]))
        )
        await asyncio.sleep(0.3)
        await caller.chat("Hello [tokens=1]")
        await own.wait_until_settled(caller.account_id)

        assert [(d.field, d.counted, d.ledger) for d in found] == [(field, 3, 5)]
        assert (await own.counter(caller.account_id, field))[1] == 6


async def test_rows_in_transit_are_no_drift(caller: Caller, gateways: list[GatewayThread]) -> None:
    """Repairing a counter under load needs real drift: test_drift_under_load.py has some."""
    await caller.limit("requests", 1_000_000, window="month")
    check = gateways[0].apps[0].worker.drift
    load = Load(caller, gateways)
    await asyncio.sleep(0.5)

    for _ in range(3):
        work = asyncio.run_coroutine_threadsafe(check.check([caller.account_id], settling_s=0.5), _loop_of(gateways[0]))
        assert await asyncio.wrap_future(work) == []

    assert set(await load.stop()) == {(200, "")}


def _loop_of(gateway: GatewayThread) -> Any:
    return gateway.loop
