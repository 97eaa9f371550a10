"""Fixtures for a gateway with LiteLLM, the model server, Postgres and Valkey, each started once."""

import importlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import aiohttp
import pytest
import redis.asyncio
from callers import Caller, MakeCaller, make_caller
from conftest import USAGE_LOG, Database, create_database, drop_database
from factories import ADMIN
from gateways import Backends, GatewayThread, Ledger, RedisState, StartGateway, UnhandledErrors, UpstreamLog
from pydantic import SecretStr

from admin_api.operations import runtime_settings
from admin_api.operations.models import sync
from admin_api.operations.models.sync import SyncReport
from deploy.embedded.litellm import LiteLLM
from deploy.embedded.model_server.launch import ModelServer
from deploy.embedded.postgres import APP, OWNER, Postgres
from deploy.embedded.valkey import Valkey
from gateway.storage.counters.drift import Drift, measure_drift
from gateway.storage.counters.scripts import SCRIPTS, Counters
from gateway.storage.postgres import Pool, new_pool
from gateway.storage.redis.urls import connect

MeasureDrift = Callable[[Caller], Awaitable[list[Drift]]]


@pytest.fixture(scope="package")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("end_to_end")


@pytest.fixture(scope="package")
def usage_log(litellm: LiteLLM, backends: Backends) -> Path:
    """LiteLLM's log of calls."""
    return litellm.folder / USAGE_LOG


@pytest.fixture(scope="package")
async def backends(
    postgres: Postgres, template: str, folder: Path, model_server: ModelServer, litellm: LiteLLM
) -> AsyncIterator[Backends]:
    await create_database(postgres, "end_to_end", template=template)
    database = Database("end_to_end", postgres.url(APP, "end_to_end"), postgres.url(OWNER, "end_to_end"))
    # Importing the clients takes seconds, during which LiteLLM starts.
    for name in ("openai", "anthropic"):
        importlib.import_module(name)
    with Valkey(folder / "valkey") as valkey:
        litellm.wait()
        yield Backends(database, valkey, litellm.url, litellm.api_key, model_server, folder)
    await drop_database(postgres, "end_to_end")


@pytest.fixture(autouse=True)
def litellm_lives(request: pytest.FixtureRequest) -> Iterator[None]:
    """If LiteLLM has exited, a test fails with that reason instead of a timeout."""
    if "backends" not in request.fixturenames:
        yield
        return
    request.getfixturevalue("backends")
    litellm: LiteLLM = request.getfixturevalue("litellm")
    litellm.check()
    yield
    litellm.check()


@pytest.fixture(scope="package")
async def pool(backends: Backends) -> AsyncIterator[Pool]:
    async with new_pool(backends.database.app_url, size=10) as opened:
        yield opened


@pytest.fixture(scope="package")
async def synced(backends: Backends, pool: Pool) -> SyncReport:
    """Syncs models and prices from LiteLLM. All models are open, for tests subscribe to them."""
    await runtime_settings.update_settings(pool, ADMIN, {"new_models": "open"})
    there = sync.LiteLLM(urls=[backends.litellm_url], api_key=SecretStr(backends.litellm_key))
    report = await sync.sync_models(pool, ADMIN, there)
    assert report is not None
    return report


@pytest.fixture(scope="package")
def gateway(backends: Backends, synced: SyncReport) -> Iterator[GatewayThread]:
    with GatewayThread(backends.settings()) as running:
        yield running


@pytest.fixture
def start_gateway(backends: Backends, synced: SyncReport) -> Iterator[StartGateway]:
    """Starts another gateway on the same backends, with other settings."""
    with ExitStack() as stack:

        def start(**changes: object) -> GatewayThread:
            return stack.enter_context(GatewayThread(backends.settings(**changes)))

        yield start


@pytest.fixture(autouse=True)
def unhandled_errors() -> Iterator[UnhandledErrors]:
    errors = UnhandledErrors()
    logger = logging.getLogger("uvicorn.error")
    logger.addHandler(errors)
    yield errors
    logger.removeHandler(errors)
    assert errors.seen == []


@pytest.fixture(scope="package")
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60)) as session:
        yield session


@pytest.fixture
def make(pool: Pool, gateway: GatewayThread, http: aiohttp.ClientSession) -> MakeCaller:
    """Creates callers of the gateway, each with its own account and a large limit of every kind."""

    async def make_one(*models: str, **fields: object) -> Caller:
        caller = await make_caller(pool, gateway.url, http, models or ("demo-chat",), **fields)
        for kind in ("requests", "tokens", "cost"):
            if kind != "cost" or "demo-unpriced" not in models:
                await caller.limit(kind, 10**12, window="lifetime")
        return caller

    return make_one


@pytest.fixture
async def caller(make: MakeCaller) -> Caller:
    return await make()


@pytest.fixture(scope="package")
def upstream_log(backends: Backends, http: aiohttp.ClientSession) -> UpstreamLog:
    return UpstreamLog(backends.model_server.url, http)


@pytest.fixture(scope="package")
def ledger(pool: Pool) -> Ledger:
    return Ledger(pool)


@pytest.fixture(scope="package")
async def redis_state(backends: Backends) -> AsyncIterator[RedisState]:
    async with redis.asyncio.from_url(backends.valkey.url()) as client:
        yield RedisState(client)


@pytest.fixture(scope="package")
async def counters(backends: Backends) -> AsyncIterator[Counters]:
    scripts = connect(backends.valkey.url(), SCRIPTS, timeout_s=2)
    await scripts.open()
    yield Counters(scripts)
    await scripts.close()


@pytest.fixture(scope="package")
def drift(counters: Counters, pool: Pool, redis_state: RedisState) -> MeasureDrift:
    """Counters that differ from the ledger, once no lease of the caller is open."""

    async def measure(caller: Caller) -> list[Drift]:
        await redis_state.wait_until_settled(caller.account_id)
        measured = await measure_drift(counters, pool, caller.account_id, await counters.now_ms())
        assert {one.kind for one in measured} >= {"requests", "tokens"}
        return [one for one in measured if one.difference]

    return measure
