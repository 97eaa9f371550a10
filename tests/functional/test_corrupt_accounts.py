"""One account is corrupt in Redis, or on a node of a cluster that is away: the leases of the others are still renewed
and reaped, and their counters repaired."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from time import time
from types import SimpleNamespace
from uuid import UUID

import msgspec
import pytest
import redis.asyncio
from structlog.testing import capture_logs

from deploy.embedded.valkey import Valkey
from deploy.embedded.valkey_cluster import ValkeyCluster
from gateway import metrics
from gateway.domain.ids import uuid7
from gateway.storage.counters.layout import pack_entries, pack_numbers
from gateway.storage.counters.scripts import HASH_NAME, LEASE_MS, LEASED_ACCOUNTS, SCRIPTS, Counters, Estimate
from gateway.storage.counters.worker_states import STATES, WORKERS
from gateway.storage.ledger.writer import LedgerWriter
from gateway.storage.postgres import Pool
from gateway.storage.redis.link import RedisUnavailable
from gateway.storage.redis.urls import connect
from gateway.tasks import check_drift
from gateway.tasks.check_drift import DriftCheck
from gateway.tasks.reap_leases import Reaper
from gateway.tasks.renew_leases import LeaseKeeper

NOTE = {"user_id": 1, "api_key_id": 1, "subscription_id": 1, "model_id": 1, "model": "small", "price_id": None}
NOTE |= {"endpoint": "chat_completions", "streamed": False}
_numbers = count(91_000)


@dataclass
class Site:
    """Three accounts; the second one is corrupt."""

    counters: Counters
    client: redis.asyncio.Redis
    ledger: LedgerWriter
    pool: Pool
    accounts: list[int] = field(default_factory=lambda: list(islice(_numbers, 3)))
    request_ids: list[UUID] = field(default_factory=list)

    @property
    def damaged(self) -> int:
        return self.accounts[1]

    async def lease(self, account_id: int, note: object = NOTE) -> UUID:
        """Creates an expired lease; returns its request id."""
        self.counters.clock_ms = int(time() * 1000) - 2 * LEASE_MS
        request_id = uuid7(self.counters.clock_ms, account_id.to_bytes(10))
        taken = await self.counters.reserve(
            account_id, request_id, pack_entries([]),
            Estimate(tokens=(10, 0, 10), cost=(0, 0, 0)),
            start_ms=self.counters.clock_ms, scopes="", note=msgspec.json.encode(note),
        )  # fmt: skip
        assert taken.status == "taken"
        self.counters.clock_ms = None
        await self.counters.announce(account_id)
        return request_id

    async def reaped(self) -> list[int]:
        """The accounts with an estimate in the ledger."""
        await self.ledger.write_all()
        sql = "SELECT account_id FROM usage_logs WHERE account_id = ANY($1) AND estimated_why = 'reaped' ORDER BY 1"
        return [row["account_id"] for row in await self.pool.fetch(sql, self.accounts)]


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    with Valkey(tmp_path / "valkey") as server:
        yield server


@pytest.fixture
async def site(valkey: Valkey, pool: Pool, tmp_path: Path) -> AsyncIterator[Site]:
    async with (
        redis.asyncio.from_url(valkey.url()) as client,
        opened(valkey.url(), client, pool, tmp_path / "journal") as site,
    ):
        yield site


@asynccontextmanager
async def opened(url: str, client: "redis.asyncio.Redis", pool: Pool, journal: Path) -> AsyncIterator[Site]:
    async def on_late(_: object) -> None:
        raise AssertionError("nothing comes late here")

    scripts = connect(url, SCRIPTS, timeout_s=2)
    await scripts.open()
    ledger = LedgerWriter(pool, journal, max_bytes=2**20, on_late=on_late)
    ledger.open()
    yield Site(Counters(scripts), client, ledger, pool)
    await ledger.close(5)
    await scripts.close()


@pytest.fixture(params=["a node of accounts only"])
async def without_a_node(request: pytest.FixtureRequest, pool: Pool, tmp_path: Path) -> AsyncIterator[Site]:
    """Of the three accounts, the first is on a node of a cluster that is away; the node was there when they got
    leases. "the node of the index": the one that names all accounts."""
    with ValkeyCluster(tmp_path / "cluster") as cluster:
        for node in cluster.nodes:
            async with redis.asyncio.from_url(node.url()) as client:
                await client.config_set("cluster-require-full-coverage", "no")
        index = cluster.owner_of(LEASED_ACCOUNTS)
        # Without what workers say of themselves no counter is judged.
        others = {index, *map(cluster.owner_of, (WORKERS, STATES))}
        away = index
        if request.param != "the node of the index":
            away = next(node for node in cluster.nodes if node not in others)
        by_node = {one: cluster.owner_of(HASH_NAME % one) for one in islice(_numbers, 30)}
        first = next(one for one, node in by_node.items() if node is away)
        served = [one for one, node in by_node.items() if node is not away][:2]
        async with (
            redis.asyncio.from_url(index.url()) as client,
            opened(cluster.url, client, pool, tmp_path / "journal") as site,
        ):
            site.accounts = [first, *served]
            site.request_ids = [await site.lease(account_id) for account_id in site.accounts]
            for account_id in served:
                counter = pack_numbers(253_402_300_800_000, 7, 0, 1)
                await site.counters.command("HSET", HASH_NAME % account_id, "R|t|lifetime", counter)
            await asyncio.to_thread(away.stop)
            yield site


@pytest.mark.parametrize("damage", ["another type", "a lease", "an id", "a note"])
async def test_a_corrupt_account_does_not_block_reaping_of_others(site: Site, damage: str) -> None:
    ids = {}
    for account_id in site.accounts:
        ids[account_id] = await site.lease(
            account_id, note={} if (account_id, damage) == (site.damaged, "a note") else NOTE
        )
    key = HASH_NAME % site.damaged
    if damage == "another type":
        await site.client.set(key, "x")
    elif damage == "a lease":
        await site.client.hset(key, "l|" + "00" * 16, b"x" * 70)
    elif damage == "an id":
        lease = await site.client.hget(key, "l|" + ids[site.damaged].hex)
        await site.client.hset(key, "l|nobody", lease)
    reaper = Reaper(site.counters, site.ledger)

    with capture_logs() as logged:
        await reaper.reap_accounts(await site.counters.accounts_with_leases())

    assert await site.reaped() == [site.accounts[0], site.accounts[2]]
    errors = [line for line in logged if line["log_level"] == "error"]
    assert [line["account_id"] for line in errors] == [site.damaged]
    assert site.damaged in await site.counters.accounts_with_leases()


async def test_a_corrupt_account_does_not_block_renewal_of_others(site: Site) -> None:
    """Otherwise calls in flight would be reaped as calls of a dead gateway."""
    keeper = keeper_of(site, [await site.lease(account_id) for account_id in site.accounts])
    await site.client.set(HASH_NAME % site.damaged, "x")

    assert await keeper.renew(older_than_s=0)

    await Reaper(site.counters, site.ledger).reap_accounts(site.accounts)
    assert await site.reaped() == []


def keeper_of(site: Site, request_ids: list[UUID]) -> LeaseKeeper:
    """Of a call in flight of each account."""

    async def take_again(*_: object) -> None:
        raise AssertionError("nothing was lost")

    keeper = LeaseKeeper(site.counters, take_again)
    for account_id, request_id in zip(site.accounts, request_ids, strict=True):
        record = SimpleNamespace(account_id=account_id)
        keeper.add(SimpleNamespace(record=record, request_id=request_id, is_leased=True))  # type: ignore[arg-type]
    return keeper


@pytest.mark.parametrize("without_a_node", ["a node of accounts only", "the node of the index"], indirect=True)
async def test_a_node_that_is_away_does_not_block_renewal_of_accounts_on_others(without_a_node: Site) -> None:
    site = without_a_node
    assert not await keeper_of(site, site.request_ids).renew(older_than_s=0)

    for account_id in site.accounts[1:]:
        assert await site.counters.sweep(account_id) == (1, [])


async def test_a_node_that_is_away_does_not_block_reaping_and_repair_of_accounts_on_others(
    without_a_node: Site,
) -> None:
    site = without_a_node
    sql = "INSERT INTO accounts (id, kind, name) OVERRIDING SYSTEM VALUE VALUES ($1, 'team', $2)"
    await site.pool.executemany(sql, [(account_id, f"away {account_id}") for account_id in site.accounts])
    try:
        found = await DriftCheck(site.counters, site.pool).check(site.accounts, settling_s=0.1)
        with pytest.raises(RedisUnavailable):
            await Reaper(site.counters, site.ledger).reap_accounts(site.accounts)
        assert await site.reaped() == site.accounts[1:]
    finally:
        await site.pool.execute("DELETE FROM accounts WHERE id = ANY($1)", site.accounts)

    assert [(drift.account_id, drift.counted, drift.ledger) for drift in found] == [
        (account_id, 7, 0) for account_id in site.accounts[1:]
    ]


@pytest.mark.parametrize("damage", ["another type", "a counter"])
async def test_a_corrupt_account_does_not_block_repair_of_others(site: Site, damage: str) -> None:
    sql = "INSERT INTO accounts (id, kind, name) OVERRIDING SYSTEM VALUE VALUES ($1, 'team', $2)"
    await site.pool.executemany(sql, [(account_id, f"damaged {account_id}") for account_id in site.accounts])
    for account_id in site.accounts:
        counter = pack_numbers(253_402_300_800_000, 7, 0, 1)
        await site.client.hset(HASH_NAME % account_id, "R|t|lifetime", counter)
    if damage == "another type":
        await site.client.set(HASH_NAME % site.damaged, "x")
    else:
        await site.client.hset(HASH_NAME % site.damaged, "R|k1|lifetime", b"x")

    try:
        found = await DriftCheck(site.counters, site.pool).check(site.accounts, settling_s=0.1)
    finally:
        await site.pool.execute("DELETE FROM accounts WHERE id = ANY($1)", site.accounts)

    assert [(drift.account_id, drift.counted, drift.ledger) for drift in found] == [
        (site.accounts[0], 7, 0),
        (site.accounts[2], 7, 0),
    ]


async def test_a_worker_reports_no_drift_once_another_one_checks(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The metric is the maximum of all workers: an outdated value would hide the repair."""
    monkeypatch.setattr(check_drift, "CHECK_S", 0.2)
    metrics.DRIFT.labels("tokens").set(0.5)
    assert await site.counters.claim_round("drift", 60_000)

    checking = asyncio.create_task(DriftCheck(site.counters, site.pool).run())
    async with asyncio.timeout(10):
        while metrics.REGISTRY.get_sample_value("litemaas_counter_drift", {"kind": "tokens"}) != 0:
            await asyncio.sleep(0.02)
    checking.cancel()
