"""Connections to Redis and to a cluster: retries, commands that are never repeated, and reconnects."""

import asyncio
import os
import re
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis
from bench import RedisSetup, connected, limit_of
from pydantic import SecretStr
from redis.crc import key_slot
from redis_rights import DOCUMENTED, IN_A_CLUSTER, denied, known_to

from admin_api.operations.doctor.findings import Findings
from admin_api.operations.doctor.redis import Redis as RedisSettings
from admin_api.operations.doctor.redis import check_redis
from deploy.embedded.valkey import Valkey
from deploy.embedded.valkey_cluster import ValkeyCluster
from gateway.storage.counters.scripts import HASH_NAME, SCRIPTS, Counters
from gateway.storage.redis.cluster import ClusterScripts
from gateway.storage.redis.link import RedisUnavailable, Scripts
from gateway.storage.redis.urls import connect

T = TypeVar("T")
TEN = (10, 0, 10)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Valkey]:
    with Valkey(tmp_path) as server:
        yield server


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyCluster]:
    with ValkeyCluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
async def in_cluster(cluster: ValkeyCluster) -> AsyncIterator[RedisSetup]:
    async with connected(cluster.nodes, cluster.url) as redis_setup:
        yield redis_setup


def to(server: Valkey) -> redis.Redis:
    return redis.Redis.from_url(server.url())


def say(client: redis.Redis, *words: str | int) -> Any:
    return client.execute_command(*words)


def owner_of(cluster: ValkeyCluster, account: int) -> Valkey:
    slot = key_slot((HASH_NAME % account).encode())
    for first, last, (_, port, *_), *_ in say(to(cluster.nodes[0]), "CLUSTER", "SLOTS"):
        if first <= slot <= last:
            return next(node for node in cluster.nodes if node.port == port)
    raise AssertionError("nobody has that slot")


def script_runs(*servers: Valkey) -> int:
    """Script runs that were not redirected."""
    runs = 0
    for server in servers:
        stats: dict[str, Any] = to(server).info("commandstats").get("cmdstat_evalsha", {})
        runs += stats.get("calls", 0) - stats.get("failed_calls", 0)
    return runs


@contextmanager
def hanging(server: Valkey) -> Iterator[None]:
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


async def until_connected(scripts: Scripts) -> None:
    async with asyncio.timeout(10):
        while not scripts.is_connected:
            await asyncio.sleep(0.01)


async def until_answered(ask: Callable[[], Awaitable[T]], *, wait_s: float = 10) -> T:
    async with asyncio.timeout(wait_s):
        while True:
            with suppress(RedisUnavailable):
                return await ask()
            await asyncio.sleep(0.05)


# --- One server. ---


async def test_calls_are_refused_without_a_server_and_admitted_when_it_is_back(tmp_path: Path) -> None:
    server = Valkey(tmp_path)
    scripts = connect(server.url(), SCRIPTS, timeout_s=1)
    await scripts.open()

    assert not scripts.is_connected
    with pytest.raises(RedisUnavailable):
        await Counters(scripts).now_ms()
    with server:
        await until_connected(scripts)
        assert await Counters(scripts).now_ms() > 0
    await scripts.close()


async def test_a_script_that_timed_out_is_not_sent_again(server: Valkey) -> None:
    async with connected([server], server.url(), gateways=1, timeout_s=0.3) as redis_setup:
        bench = redis_setup.new_account()
        limit = limit_of("requests", 10)
        await bench.take(limit)
        before = script_runs(server)
        with hanging(server), pytest.raises(RedisUnavailable):
            await bench.reserve_once(limit)
        await until_connected(redis_setup.gateways[0])

        # The reply was lost, not the call.
        assert await bench.left(limit) == 8
        assert script_runs(server) == before + 2


async def test_a_hanging_server_does_not_block_the_start_of_a_gateway(server: Valkey) -> None:
    scripts = connect(server.url(), SCRIPTS, timeout_s=0.3)
    with hanging(server):
        async with asyncio.timeout(5):
            await scripts.open()
        assert not scripts.is_connected
    await until_connected(scripts)
    await scripts.close()


async def test_a_connection_closes_even_if_the_server_replies_again(server: Valkey) -> None:
    closed = 0
    for tenths_ms in range(0, 40, 2):
        scripts = connect(server.url(), SCRIPTS, timeout_s=1)
        with hanging(server):
            opening = asyncio.create_task(scripts.open())
            # It authenticates, and has no reply yet.
            await asyncio.sleep(0.03)
        await asyncio.sleep(tenths_ms / 10_000)
        with suppress(TimeoutError):
            async with asyncio.timeout(5):
                await scripts.close()
                closed += 1
        opening.cancel()

    assert closed == 20


async def test_flushed_scripts_are_loaded_again(server: Valkey) -> None:
    async with connected([server], server.url(), gateways=1) as redis_setup:
        bench = redis_setup.new_account()
        limit = limit_of("requests", 10)
        await bench.take(limit)
        to(server).script_flush()
        await bench.take(limit)

        assert await bench.left(limit) == 8


async def test_each_restart_of_a_server_is_reported(server: Valkey) -> None:
    runs: list[str] = []

    async def reported(run_id: str, _: object) -> None:
        runs.append(run_id)

    scripts = connect(server.url(), SCRIPTS, timeout_s=1, on_connect=reported)
    await scripts.open()
    server.stop()
    server.start()
    async with asyncio.timeout(10):
        while len(runs) < 2:
            await asyncio.sleep(0.01)
    await scripts.close()

    assert len(set(runs)) == 2


async def test_a_wrong_password_is_no_connection(server: Valkey) -> None:
    scripts = connect(server.url().replace(server.password, "wrong"), SCRIPTS, timeout_s=1)
    await scripts.open()

    assert not scripts.is_connected
    with pytest.raises(RedisUnavailable):
        await Counters(scripts).now_ms()
    await scripts.close()


# --- A cluster. ---


def test_a_cluster_starts_beside_outgoing_connections_on_high_ports(tmp_path: Path) -> None:
    cluster = ValkeyCluster(tmp_path)
    with ExitStack() as stack:
        for node in cluster.nodes:
            # The default port of a node's bus: one from the range of outgoing connections.
            with suppress(OSError):
                stack.enter_context(socket.create_server(("127.0.0.1", node.port + 10_000)))
        with cluster:
            assert all(node.is_ready() for node in cluster.nodes)


async def test_each_restart_of_a_cluster_primary_is_reported(cluster: ValkeyCluster) -> None:
    runs: list[str] = []

    async def reported(run_id: str, _: object) -> None:
        runs.append(run_id)

    scripts = connect(cluster.url, SCRIPTS, timeout_s=1, on_connect=reported)
    await scripts.open()
    await scripts.close()

    assert len(set(runs)) == len(runs) == 3


async def test_a_client_of_a_cluster_closes_while_it_looks_for_primaries(
    cluster: ValkeyCluster,
) -> None:
    """As where a gateway stops because a node has gone."""
    scripts = connect(cluster.url, SCRIPTS, timeout_s=1)
    assert isinstance(scripts, ClusterScripts)
    await scripts.open()
    await asyncio.sleep(0.01)

    scripts._is_outdated.set()
    async with asyncio.timeout(5):
        await scripts.close()


async def test_accounts_are_spread_over_the_primaries(cluster: ValkeyCluster, in_cluster: RedisSetup) -> None:
    benches = [in_cluster.new_account() for _ in range(30)]
    limit = limit_of("requests", 10)
    await asyncio.gather(*(bench.take(limit) for bench in benches))

    sizes = [to(node).dbsize() for node in cluster.nodes]

    assert all(sizes)
    assert [await bench.left(limit) for bench in benches] == [9] * 30


async def test_each_primary_of_a_cluster_has_a_key_that_stays_its_own(cluster: ValkeyCluster) -> None:
    scripts = connect(cluster.url, SCRIPTS, timeout_s=1)
    assert isinstance(scripts, ClusterScripts)
    assert scripts.keys_of_primaries("lm2-mark") == []
    await scripts.open()

    keys = scripts.keys_of_primaries("lm2-mark")
    await scripts._learn()

    assert {cluster.owner_of(key) for key in keys} == set(cluster.nodes)
    assert len(keys) == len(cluster.nodes)
    assert scripts.keys_of_primaries("lm2-mark") == keys
    await scripts.close()


async def test_the_doctor_finds_the_primaries_of_a_cluster_and_those_without_a_replica(cluster: ValkeyCluster) -> None:
    found = Findings("redis")
    await check_redis(found, RedisSettings(url=SecretStr(cluster.url)))

    said = {status: [one.text for one in found.all if one.status == status] for status in ("ok", "warning", "problem")}
    assert "The cluster has 3 primaries." in said["ok"]
    assert all(any(f"answers at 127.0.0.1:{node.port}." in text for text in said["ok"]) for node in cluster.nodes)
    assert any(text.startswith("Primaries without a replica: ") for text in said["warning"])
    assert said["problem"] == []


async def test_one_reachable_node_is_enough_to_connect_to_a_cluster(cluster: ValkeyCluster) -> None:
    password = cluster.nodes[0].password
    url = f"redis+cluster://:{password}@127.0.0.1:1,127.0.0.1:{cluster.nodes[1].port}"
    async with connected(cluster.nodes, url, gateways=1) as redis_setup:
        assert redis_setup.gateways[0].is_connected
        for _ in range(10):
            await redis_setup.new_account().take(limit_of("requests", 10))


async def test_a_wrong_password_is_no_connection_to_a_cluster(cluster: ValkeyCluster) -> None:
    scripts = connect(cluster.url.replace(cluster.nodes[0].password, "wrong"), SCRIPTS, timeout_s=1)
    await scripts.open()

    assert not scripts.is_connected
    with pytest.raises(RedisUnavailable):
        await Counters(scripts).now_ms()
    await scripts.close()


async def move_slot(cluster: ValkeyCluster, account: int, target: Valkey, *, pause_s: float) -> None:
    """Migrates a slot like `valkey-cli --cluster reshard`, with time between the steps."""
    source, key = owner_of(cluster, account), HASH_NAME % account
    slot, loop = key_slot(key.encode()), asyncio.get_running_loop()
    ids = {node.port: say(to(node), "CLUSTER", "MYID").decode() for node in cluster.nodes}

    async def step(server: Valkey, *words: str | int) -> None:
        await loop.run_in_executor(None, lambda: say(to(server), *words))
        await asyncio.sleep(pause_s)

    await step(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source.port])
    await step(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target.port])
    migrate = ("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "AUTH", target.password, "KEYS", key)
    await step(source, *migrate)
    for server in (target, source, *cluster.nodes):
        await step(server, "CLUSTER", "SETSLOT", slot, "NODE", ids[target.port])


async def test_while_an_accounts_slot_migrates_every_call_is_taken_once(
    cluster: ValkeyCluster, in_cluster: RedisSetup
) -> None:
    bench = in_cluster.new_account()
    limits = [limit_of("requests", 10**6), limit_of("tokens", 10**9), limit_of("concurrency", 10**6)]
    await bench.take(*limits, tokens=TEN)
    source = owner_of(cluster, bench.account)
    target = next(node for node in cluster.nodes if node is not source)
    before = script_runs(*cluster.nodes)
    calls, is_moving = 0, True

    async def caller(gateway: int) -> None:
        nonlocal calls
        while is_moving:
            reply = await bench.reserve_once(*limits, tokens=TEN, gateway=gateway)
            assert reply.status == "taken"
            calls += 1

    callers = [asyncio.ensure_future(caller(n % 4)) for n in range(8)]
    await move_slot(cluster, bench.account, target, pause_s=0.15)
    is_moving = False
    await asyncio.gather(*callers)

    assert owner_of(cluster, bench.account) is target
    assert calls > 100
    assert script_runs(*cluster.nodes) == before + calls
    assert [await bench.left(limit) for limit in limits] == [
        10**6 - 1 - calls,
        10**9 - 10 - 10 * calls,
        10**6 - 1 - calls,
    ]


async def test_a_limit_holds_while_its_accounts_slot_migrates(cluster: ValkeyCluster, in_cluster: RedisSetup) -> None:
    bench = in_cluster.new_account()
    limit = limit_of("concurrency", 5)
    await bench.seed(limit)
    source = owner_of(cluster, bench.account)
    target = next(node for node in cluster.nodes if node is not source)
    open_calls, maximum, is_moving = 0, 0, True

    async def caller(gateway: int) -> None:
        nonlocal open_calls, maximum
        while is_moving:
            request_id = bench.new_id()
            if (await bench.reserve_once(limit, request_id=request_id, gateway=gateway)).status == "taken":
                open_calls += 1
                maximum = max(maximum, open_calls)
                await asyncio.sleep(0.001)
                open_calls -= 1
                assert await bench.settle(request_id, gateway=gateway)

    callers = [asyncio.ensure_future(caller(n % 4)) for n in range(20)]
    await move_slot(cluster, bench.account, target, pause_s=0.1)
    is_moving = False
    await asyncio.gather(*callers)

    assert maximum == 5
    assert await bench.left(limit) == 5


async def test_a_gateway_that_knows_only_the_old_slot_owner_learns_the_new_one(
    cluster: ValkeyCluster, in_cluster: RedisSetup
) -> None:
    bench = in_cluster.new_account()
    limit = limit_of("requests", 100)
    await asyncio.gather(*(bench.take(limit, gateway=n) for n in range(4)))
    target = next(node for node in cluster.nodes if node is not owner_of(cluster, bench.account))
    await move_slot(cluster, bench.account, target, pause_s=0)
    before = {node.port: script_runs(node) for node in cluster.nodes}

    for n in range(4):
        await bench.take(limit, gateway=n)
        await bench.take(limit, gateway=n)

    assert await bench.left(limit) == 88
    assert {
        port for port, runs in before.items() if script_runs(next(n for n in cluster.nodes if n.port == port)) > runs
    } == {target.port}


async def test_a_hanging_primary_stops_only_its_own_accounts_and_no_script_runs_twice(cluster: ValkeyCluster) -> None:
    async with connected(cluster.nodes, cluster.url, gateways=1, timeout_s=0.3) as redis_setup:
        limit = limit_of("requests", 100)
        benches = [redis_setup.new_account() for _ in range(20)]
        for bench in benches:
            await bench.take(limit)
        stopped = owner_of(cluster, benches[0].account)
        theirs = [bench for bench in benches if owner_of(cluster, bench.account) is stopped]
        before = script_runs(stopped)
        with hanging(stopped):
            results = await asyncio.gather(*(bench.reserve_once(limit) for bench in benches), return_exceptions=True)
            assert redis_setup.gateways[0].is_connected
        await until_answered(lambda: benches[0].left(limit))

        failed = [bench for bench, result in zip(benches, results, strict=True) if isinstance(result, RedisUnavailable)]
        assert failed == theirs
        assert script_runs(stopped) == before + len(theirs) + 1
        assert [await bench.left(limit) for bench in benches] == [98] * 20


async def test_a_primary_that_restarts_empty_is_used_again_and_reported_as_a_new_run(tmp_path: Path) -> None:
    runs: list[str] = []

    async def reported(run_id: str, _: object) -> None:
        runs.append(run_id)

    with ValkeyCluster(tmp_path) as cluster:
        scripts = connect(cluster.url, SCRIPTS, timeout_s=0.5, on_connect=reported)
        await scripts.open()
        bench = RedisSetup(cluster.nodes, [scripts]).new_account()
        limit = limit_of("requests", 100)
        await bench.take(limit)
        lost = owner_of(cluster, bench.account)
        lost.stop()
        with pytest.raises(RedisUnavailable):
            await bench.reserve_once(limit)
        lost.start()
        reply = await until_answered(lambda: bench.reserve_once(limit))
        await scripts.close()

    # It is empty now, so the reply asks for a seed.
    assert reply.status == "seed"
    assert len(set(runs)) == 4


async def test_a_promoted_replica_is_found_and_reported_as_a_new_run(tmp_path: Path) -> None:
    runs: list[str] = []

    async def reported(run_id: str, _: object) -> None:
        runs.append(run_id)

    with ValkeyCluster(tmp_path) as cluster:
        scripts = connect(cluster.url, SCRIPTS, timeout_s=0.5, on_connect=reported)
        await scripts.open()
        bench = RedisSetup(cluster.nodes, [scripts]).new_account()
        limit = limit_of("requests", 100)
        await bench.take(limit)
        primary = owner_of(cluster, bench.account)
        with cluster.replica_of(primary):
            primary.stop()
            left = await until_answered(lambda: bench.left(limit), wait_s=30)
            taken = await until_answered(lambda: bench.reserve_once(limit))
        await scripts.close()

    # It has only what was replicated before; therefore a new run requires new seeds.
    assert (left, taken.status) == (99, "taken")
    assert len(set(runs)) == 4


async def test_a_user_with_the_documented_rights_is_enough_in_a_cluster(cluster: ValkeyCluster) -> None:
    for node in cluster.nodes:
        rights = known_to(to(node).info("server")["redis_version"], DOCUMENTED)
        say(to(node), "ACL", "SETUSER", "litemaas", "on", ">secret", *rights, *IN_A_CLUSTER)
    url = re.sub("//.*@", "//litemaas:secret@", cluster.url)
    async with connected(cluster.nodes, url, gateways=1) as redis_setup:
        for _ in range(10):
            bench = redis_setup.new_account()
            assert (await bench.reserve(limit_of("requests", 5), tokens=TEN)).status == "taken"
    found = Findings("redis")
    await check_redis(found, RedisSettings(url=SecretStr(url)))

    assert not [one for one in found.all if one.status == "problem"]
    # CONFIG GET of the check, at each node.
    assert [denied(to(node)) for node in cluster.nodes] == [1] * len(cluster.nodes)
