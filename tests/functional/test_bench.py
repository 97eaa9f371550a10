"""`make bench` still works: its client, its paced model server and its measurements, with our gateway and without."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from gateways import Backends, wait_until

from deploy.embedded.postgres import Postgres
from deploy.embedded.programs import CommandLine
from gateway.storage.postgres import Pool
from loadtests.bench import stages, waits
from loadtests.bench.client import WrongAnswer
from loadtests.bench.gateway import LIMITS, Gateway, Site, make_key
from loadtests.bench.model_servers import PacedServer
from loadtests.bench.plan import HALF, StreamLoad
from loadtests.bench.requests import json_body
from loadtests.bench.results import Key, Results
from loadtests.bench.targets import DIRECT, Target

LIMITED = 3
CALLS = 20
STREAMS = StreamLoad(5, 50)
WINDOW_S = 0.6


class SiteOfTests(Site):
    """The Postgres and Valkey of the tests."""

    def __init__(self, folder: Path, backends: Backends, postgres: Postgres) -> None:
        super().__init__(folder)
        self.postgres, self.valkey = postgres, backends.valkey
        self._backends = backends

    def environment(self, model_server_url: str, **changes: str) -> dict[str, str]:
        about = {"LITEMAAS_LITELLM_URLS": model_server_url, "LITEMAAS_LOG_LEVEL": "warning"}
        return self._backends.environment(**(about | changes))


@pytest.fixture(scope="module")
def model_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PacedServer]:
    with PacedServer(tmp_path_factory.mktemp("paced")) as running:
        yield running


@pytest.fixture(scope="module")
async def site(
    backends: Backends, postgres: Postgres, model_server: PacedServer, tmp_path_factory: pytest.TempPathFactory
) -> Site:
    found = SiteOfTests(tmp_path_factory.mktemp("site"), backends, postgres)
    commands = CommandLine(found.folder, found.environment(model_server.url))
    found.keys[LIMITED] = await asyncio.to_thread(make_key, commands, LIMITED)
    return found


@pytest.fixture(scope="module")
async def target(site: Site, model_server: PacedServer) -> AsyncIterator[Target]:
    gateway = Gateway(site, [LIMITED])
    gateway.launch(model_server.url)
    try:
        await asyncio.to_thread(gateway.wait)
        (one,) = gateway.targets()
        yield one
    finally:
        await asyncio.to_thread(gateway.stop)


@pytest.fixture
def direct(model_server: PacedServer) -> Target:
    return Target(DIRECT, model_server.url)


@pytest.fixture
def rows(pool: Pool) -> "Rows":
    return Rows(pool)


class Rows:
    """Ledger rows of the bench's key."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def count(self, tokens: int | None = None) -> int:
        """Of completed calls, or of those with so many tokens."""
        statement = "SELECT count(*) FROM usage_logs AS u JOIN users ON users.id = u.user_id WHERE email = $1"
        statement += " AND ending = 'completed' AND ($2::bigint IS NULL OR prompt_tokens + completion_tokens = $2)"
        return int(await self._pool.fetchval(statement, f"bench-{LIMITED}@example.com", tokens))

    async def wait_for(self, number: int) -> None:
        async def are_there() -> bool:
            return await self.count() == number

        await wait_until(are_there, f"{number} rows")


async def test_the_key_has_the_limits_of_the_bench(pool: Pool, site: Site) -> None:
    found = await pool.fetch(
        "SELECT level, limits.kind, window_kind FROM limits JOIN accounts ON accounts.id = limits.account_id "
        "JOIN users ON users.id = accounts.owner_user_id WHERE email = $1",
        f"bench-{LIMITED}@example.com",
    )

    assert sorted(map(tuple, found)) == sorted(LIMITS[LIMITED])


async def test_every_call_of_the_latency_is_made_and_charged(target: Target, direct: Target, rows: Rows) -> None:
    before, results = await rows.count(), Results()

    await stages.measure_latency(results, [direct, target], CALLS)
    await stages.measure_first_event(results, [direct, target], CALLS)

    for stage in ("latency", "first event"):
        through, without = (Key(stage, name, stages.ONE) for name in (target.name, DIRECT))
        assert results.median(through, "added_p99_ms") is not None
        assert results.median(through, "added_p50_ms") is not None
        assert (results.median(without, "added_p50_ms") or 0) > 0
    await rows.wait_for(before + 2 * (stages.WARM_UP_CALLS + CALLS))
    assert await rows.count(tokens=189) == await rows.count()


async def test_streams_are_read_at_the_pace_that_was_asked_for(target: Target, direct: Target) -> None:
    results = Results()
    without = Key("streams", DIRECT, STREAMS.name)

    await stages.measure_streams(results, direct, STREAMS, WINDOW_S, None)
    await stages.measure_streams(results, target, STREAMS, WINDOW_S, without)

    through = without._replace(target=target.name)
    for key in (through, without):
        assert results.values(key, "events_per_s")[0] == pytest.approx(STREAMS.streams * STREAMS.a_second, rel=0.5)
    assert results.values(through, "cpu_us")[0] > 0
    assert results.values(through, "stall_ms")[0] >= results.values(through, "late_p50_ms")[0] > 0


async def test_calls_at_an_even_pace_are_as_many_as_were_due(target: Target, direct: Target) -> None:
    took = await stages.call_at_pace(target, json_body(512), rate=200, seconds=WINDOW_S)
    results = Results()
    await stages.measure_half(results, target, direct, calls_per_s=200, seconds=0.3)

    assert len(took) == 200 * WINDOW_S
    assert results.median(Key("half", target.name, HALF), "rate") == 100


async def test_a_call_waits_once_for_redis_and_never_for_postgres(
    site: Site, model_server: PacedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits, "CALLS", 5)
    results = Results()

    await waits.measure_waits(results, site, model_server.url, LIMITED)

    name = results.targets("waits")[0]
    assert {
        store: round(results.values(Key("waits", name, store), "waits")[0]) for store in results.loads("waits")
    } == {
        "redis": 1,
        "postgres": 0,
    }


async def test_a_refused_call_ends_the_measurement(target: Target) -> None:
    unknown = Target("ours", target.url, {"authorization": "Bearer sk-unknown"})

    with pytest.raises(WrongAnswer, match="ours answered 401"):
        await stages.measure_latency(Results(), [unknown], 1)
    with pytest.raises(WrongAnswer, match="ours answered 401"):
        await stages.measure_streams(Results(), unknown, STREAMS, 0.2, None)
