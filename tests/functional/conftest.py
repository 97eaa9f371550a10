"""Fixtures for a gateway in front of the model server, without LiteLLM, with its own Postgres database and Valkey."""

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from typing import Any

import aiohttp
import pytest
import redis.asyncio
from callers import Caller, MakeCaller, make_caller
from conftest import Database, create_database, drop_database
from factories import ADMIN, apply, make_model, seen_model
from gateways import Backends, GatewayThread, Ledger, RedisState, StartGateway, UnhandledErrors, UpstreamLog

from admin_api.operations.runtime_settings import update_settings
from deploy.embedded.model_server.launch import ModelServer
from deploy.embedded.model_server.names import CHAT, FAULTS, MEDIA, REALTIME
from deploy.embedded.postgres import APP, OWNER, Postgres
from deploy.embedded.valkey import Valkey
from gateway.storage.postgres import Pool, new_pool

UNPRICED = "demo-unpriced"
MODELS = (*CHAT, *MEDIA, *FAULTS)


@pytest.fixture(scope="package")
async def backends(
    postgres: Postgres, template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Backends]:
    folder = tmp_path_factory.mktemp("functional")
    await create_database(postgres, "functional", template=template)
    database = Database("functional", postgres.url(APP, "functional"), postgres.url(OWNER, "functional"))
    with Valkey(folder / "valkey") as valkey, ModelServer(folder, delay_s=0, tokens_per_s=0) as model_server:
        async with new_pool(database.app_url, size=2) as pool:
            await update_settings(pool, ADMIN, {"new_models": "open"})
            await apply(pool, seen_model(UNPRICED))
            # What a sync adds is restricted.
            await pool.execute("UPDATE models SET restricted = false")
            for name in MODELS:
                if name != UNPRICED:
                    await make_model(pool, name)
            for name in REALTIME:
                await make_model(pool, name, mode="realtime")
        yield Backends(database, valkey, model_server.url, "sk-the-key-of-litellm", model_server, folder)
    await drop_database(postgres, "functional")


@pytest.fixture(scope="package")
async def pool(backends: Backends) -> AsyncIterator[Pool]:
    async with new_pool(backends.database.app_url, size=10) as opened:
        yield opened


@pytest.fixture(scope="package")
def gateway(backends: Backends) -> Iterator[GatewayThread]:
    with GatewayThread(backends.settings(max_body_bytes=256 * 1024)) as running:
        yield running


@pytest.fixture
def start_gateway(backends: Backends) -> Iterator[StartGateway]:
    """Starts another gateway on the same backends, with another `grace_s` and other settings."""
    with ExitStack() as stack:

        def start(*, grace_s: int = 5, **changes: Any) -> GatewayThread:
            return stack.enter_context(GatewayThread(backends.settings(**changes), grace_s=grace_s))

        yield start


@pytest.fixture(autouse=True)
def unhandled_errors() -> Iterator[UnhandledErrors]:
    """Fails a test after an unhandled error; a test that expects one clears `seen`."""
    errors = UnhandledErrors()
    logger = logging.getLogger("uvicorn.error")
    logger.addHandler(errors)
    yield errors
    logger.removeHandler(errors)
    assert errors.seen == []


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=30)) as session:
        yield session


@pytest.fixture
def make(pool: Pool, gateway: GatewayThread, http: aiohttp.ClientSession) -> MakeCaller:
    """Creates callers of the gateway, each with its own account."""

    async def make_one(*models: str, **fields: Any) -> Caller:
        return await make_caller(pool, gateway.url, http, models or ("demo-chat",), **fields)

    return make_one


@pytest.fixture
async def caller(make: MakeCaller) -> Caller:
    return await make()


@pytest.fixture
def upstream_log(backends: Backends, http: aiohttp.ClientSession) -> UpstreamLog:
    return UpstreamLog(backends.model_server.url, http)


@pytest.fixture
def ledger(pool: Pool) -> Ledger:
    return Ledger(pool)


@pytest.fixture
async def redis_state(backends: Backends) -> AsyncIterator[RedisState]:
    async with redis.asyncio.from_url(backends.valkey.url()) as client:
        yield RedisState(client)
