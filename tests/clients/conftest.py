"""Real clients, each behind a wire that counts, in front of a gateway, the real LiteLLM and the model server."""

from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest
import redis.asyncio
from callers import Caller, make_caller
from conftest import Database, create_database, drop_database
from factories import ADMIN
from gateways import Backends, GatewayThread, Ledger, RedisState, UpstreamLog
from pydantic import SecretStr

from admin_api.operations.models.sync import LiteLLM as Source
from admin_api.operations.models.sync import sync_models
from admin_api.operations.runtime_settings import update_settings
from clients.catalogue import CLIENTS
from clients.programs import Programs
from clients.refusals import Scene
from clients.wire import Wire
from deploy.embedded.litellm import LiteLLM
from deploy.embedded.model_server.launch import ModelServer
from deploy.embedded.postgres import APP, OWNER, Postgres
from deploy.embedded.valkey import Valkey
from gateway.storage.postgres import Pool, new_pool

# A reserved port, so that nobody ever listens there.
NOBODY = "redis://127.0.0.1:1"


@pytest.fixture(scope="package")
async def programs(litellm: LiteLLM, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Programs]:
    async with Programs(tmp_path_factory.mktemp("clients")) as programs:
        # Loading takes seconds, in which LiteLLM comes up.
        await programs.start(client.name for client in CLIENTS if client.is_short or client.is_tried)
        yield programs


@pytest.fixture(scope="package")
async def backends(
    programs: Programs,
    litellm: LiteLLM,
    model_server: ModelServer,
    postgres: Postgres,
    template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Backends]:
    folder = tmp_path_factory.mktemp("behind_clients")
    await create_database(postgres, "clients", template=template)
    database = Database("clients", postgres.url(APP, "clients"), postgres.url(OWNER, "clients"))
    with Valkey(folder / "valkey") as valkey:
        litellm.wait()
        async with new_pool(database.app_url, size=2) as pool:
            await update_settings(pool, ADMIN, {"new_models": "open"})
            await sync_models(pool, ADMIN, Source(urls=[litellm.url], api_key=SecretStr(litellm.api_key)))
        yield Backends(database, valkey, litellm.url, litellm.api_key, model_server, folder)
    await drop_database(postgres, "clients")


@pytest.fixture
def litellm_lives(backends: Backends, litellm: LiteLLM) -> Iterator[None]:
    """A test without a LiteLLM says so, and why it is gone, rather than what it waited for."""
    litellm.check()
    yield
    litellm.check()


@pytest.fixture(scope="package")
async def pool(backends: Backends) -> AsyncIterator[Pool]:
    async with new_pool(backends.database.app_url, size=5) as opened:
        yield opened


@pytest.fixture(scope="package")
def gateway(backends: Backends) -> Iterator[GatewayThread]:
    with GatewayThread(backends.settings()) as running:
        yield running


@pytest.fixture(scope="package")
def gateway_without_redis(backends: Backends) -> Iterator[GatewayThread]:
    # It has leases to give back when it ends, and nobody to give them to.
    changes = {"redis_url": NOBODY, "state_dir": backends.folder / "other-state", "drain_timeout_s": 0.5}
    with GatewayThread(backends.settings(**changes)) as running:
        yield running


@pytest.fixture
async def redis_state(backends: Backends) -> AsyncIterator[RedisState]:
    async with redis.asyncio.from_url(backends.valkey.url()) as client:
        yield RedisState(client)


@pytest.fixture
async def upstream_log(backends: Backends) -> AsyncIterator[UpstreamLog]:
    async with aiohttp.ClientSession() as http:
        yield UpstreamLog(backends.model_server.url, http)


@pytest.fixture
def ledger(pool: Pool) -> Ledger:
    return Ledger(pool)


@pytest.fixture
async def scene(
    litellm_lives: None,
    pool: Pool,
    redis_state: RedisState,
    gateway: GatewayThread,
    gateway_without_redis: GatewayThread,
) -> AsyncIterator[Scene]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as http:

        async def make(*models: str) -> Caller:
            return await make_caller(pool, gateway.url, http, models or ("demo-chat",))

        async with Wire(gateway.port) as wire, Wire(gateway_without_redis.port) as other:
            yield Scene(make, redis_state, wire, other)
