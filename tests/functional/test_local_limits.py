"""LITEMAAS_WHEN_LIMITS_UNAVAILABLE=local on clusters and Sentinels: while the node of an account is away, workers
go on with their shares, however often other nodes answer; the node that takes its place counts all of it."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from callers import Caller
from gateways import GatewayThread, Ledger, StartGateway, wait_until
from pydantic import SecretStr
from redis.backoff import NoBackoff
from redis.retry import Retry

from admin_api.operations.doctor.findings import Findings
from admin_api.operations.doctor.redis import Redis, check_redis
from deploy.embedded.valkey import Valkey
from deploy.embedded.valkey_cluster import ValkeyCluster
from deploy.embedded.valkey_sentinel import ValkeySentinels
from gateway.storage.counters.scripts import HASH_NAME
from gateway.storage.redis.link import RedisUnavailable
from gateway.worker import Worker

LIMIT = 40


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ValkeyCluster]:
    with ValkeyCluster(tmp_path / "cluster") as found:
        yield found


@pytest.fixture
def sentinels(tmp_path: Path) -> Iterator[ValkeySentinels]:
    """The first of them hangs; the other two agree."""
    with ValkeySentinels(tmp_path / "sentinels") as found:
        os.kill(found.sentinels[0].pid, signal.SIGSTOP)
        try:
            yield found
        finally:
            os.kill(found.sentinels[0].pid, signal.SIGCONT)


async def start_two(start_gateway: StartGateway, url: str, folder: Path) -> list[GatewayThread]:
    """That know of each other."""
    gateways = [
        start_gateway(
            redis_url=url, when_limits_unavailable="local", redis_timeout_s=0.3, state_dir=folder / f"state{n}"
        )
        for n in range(2)
    ]
    counts = [gateway.apps[0].worker.worker_count for gateway in gateways]

    async def know_each_other() -> bool:
        for gateway, one in zip(gateways, counts, strict=True):
            # A machine under load may not answer within so short a time.
            with suppress(RedisUnavailable):
                await in_loop(gateway, one.beat())
        return all(one.number == len(gateways) for one in counts)

    await wait_until(know_each_other, "the gateways to know of each other")
    return gateways


async def in_loop(gateway: GatewayThread, work: Any) -> Any:
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, gateway.loop))


async def use_shares(callers: list[Caller], gateways: list[GatewayThread]) -> int:
    """Until each refuses; how many were admitted. After its first call, whose row is written, each looks whether
    Redis is back."""
    admitted = 0
    for there, gateway in zip(callers, gateways, strict=True):
        worker = gateway.apps[0].worker

        async def is_written(worker: Worker = worker) -> bool:
            return not worker.ledger.rows_waiting

        has_looked = False
        while (answer := await there.chat()).status == 200:
            admitted += 1
            assert admitted <= LIMIT
            if not has_looked:
                await wait_until(is_written, "the row of the first call")
                await in_loop(gateway, worker.unmetered.raise_written())
                has_looked = True
        assert answer.code == "limits_unavailable"
        assert "share of the limit" in answer.json["error"]["message"]
    return admitted


async def counts_all(there: Caller) -> bool:
    """Whether Redis refuses what is used up, as it does once it counts what was used without it."""
    answer = await there.chat()
    assert answer.status in (429, 503), answer.body
    return answer.status == 429


async def test_while_a_node_of_a_cluster_is_away_its_accounts_are_served_from_shares(
    caller: Caller, cluster: ValkeyCluster, start_gateway: StartGateway, ledger: Ledger, tmp_path: Path
) -> None:
    await caller.limit("requests", LIMIT, window="day", reserve="maximum")
    gateways = await start_two(start_gateway, cluster.url, tmp_path)
    callers = [caller.at(gateway.url) for gateway in gateways]
    assert [(await there.chat()).status for there in callers * 2] == [200] * 4
    node = cluster.owner_of(HASH_NAME % caller.account_id)

    await asyncio.to_thread(node.stop)
    admitted = await use_shares(callers, gateways)

    # The gateways saw 3 and 4 calls; both are cut off.
    shares = [(LIMIT - seen) // 2 for seen in (3, 4)]
    assert admitted == sum(shares)
    await ledger.rows(caller.account_id, 4 + admitted)
    await asyncio.to_thread(node.start)
    for there in callers:
        await wait_until(lambda there=there: counts_all(there), "the node to count it", timeout_s=20)  # type: ignore[misc]
    await ledger.rows(caller.account_id, 4 + admitted)


async def test_behind_sentinels_shares_last_until_the_replica_has_taken_over_and_counts_them(
    caller: Caller, sentinels: ValkeySentinels, start_gateway: StartGateway, ledger: Ledger, tmp_path: Path
) -> None:
    await caller.limit("requests", LIMIT, window="day", reserve="maximum")
    gateways = await start_two(start_gateway, sentinels.url, tmp_path)
    callers = [caller.at(gateway.url) for gateway in gateways]
    assert [(await there.chat()).status for there in callers * 2] == [200] * 4

    # Stopped, it would hand over to the replica in order; so it cannot.
    await asyncio.to_thread(kill, sentinels.primary)
    admitted = await use_shares(callers, gateways)

    assert admitted == sum((LIMIT - seen) // 2 for seen in (3, 4))
    for there in callers:
        await wait_until(lambda there=there: counts_all(there), "the replica to count it", timeout_s=30)  # type: ignore[misc]
    with redis.Redis.from_url(sentinels.replica.url(), retry=Retry(NoBackoff(), 0)) as client:
        assert client.info("replication")["role"] == "master"
    found = Findings("redis")
    await check_redis(found, Redis(url=SecretStr(sentinels.url)))
    assert f"Sentinels name 127.0.0.1:{sentinels.replica.port} as the primary." in [one.text for one in found.all]
    problems = [one.text for one in found.all if one.status == "problem"]
    assert len(problems) == 1
    assert problems[0].startswith(f"The Sentinel at 127.0.0.1:{sentinels.sentinels[0].port} does not answer")
    await ledger.rows(caller.account_id, 4 + admitted)


def kill(node: Valkey) -> None:
    assert node.child is not None
    node.child._process.kill()
    node.child.stop()
