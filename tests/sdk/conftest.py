"""Real SDKs, each behind a wire that counts, in front of a gateway, the real LiteLLM and the model server."""

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import aiohttp
import pytest
import redis.asyncio
from callers import Caller, make_caller
from conftest import Database, create_database, drop_database
from factories import ADMIN
from gateways import Backends, GatewayThread, Ledger, RedisState
from pydantic import SecretStr

from admin_api.operations.models.sync import LiteLLM as Source
from admin_api.operations.models.sync import sync_models
from deploy.embedded.litellm import LiteLLM
from deploy.embedded.model_server.launch import ModelServer
from deploy.embedded.postgres import APP, OWNER, Postgres
from deploy.embedded.valkey import Valkey
from gateway.storage.postgres import Pool, new_pool
from sdk import node_program
from sdk.node_program import NodeProgram
from sdk.refusals import Scene
from sdk.wire import Wire

if TYPE_CHECKING:
    from sdk.clients import Clients

# A reserved port, so that nobody ever listens there.
NOBODY = "redis://127.0.0.1:1"


@pytest.fixture(scope="package")
async def clients(litellm: LiteLLM, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator["Clients"]:
    # Loading takes seconds, in which LiteLLM comes up.
    from sdk.clients import Clients

    node_program.install()
    async with NodeProgram(tmp_path_factory.mktemp("sdk_node")) as node:
        yield Clients(node)


@pytest.fixture(scope="package")
async def backends(
    clients: "Clients",
    litellm: LiteLLM,
    model_server: ModelServer,
    postgres: Postgres,
    template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Backends]:
    folder = tmp_path_factory.mktemp("sdk")
    await create_database(postgres, "sdk", template=template)
    database = Database("sdk", postgres.url(APP, "sdk"), postgres.url(OWNER, "sdk"))
    with Valkey(folder / "valkey") as valkey:
        litellm.wait()
        async with new_pool(database.app_url, size=2) as pool:
            await sync_models(pool, ADMIN, Source(urls=[litellm.url], api_key=SecretStr(litellm.api_key)))
        yield Backends(database, valkey, litellm.url, litellm.api_key, model_server, folder)
    await drop_database(postgres, "sdk")


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
