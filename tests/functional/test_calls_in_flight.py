"""How many calls are in flight, as workers say in Redis and admins see it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from callers import Caller
from factories import ADMIN
from gateways import GatewayThread, StartGateway, wait_until
from pydantic import SecretStr

from admin_api.operations.limits.explain import open_counters
from admin_api.operations.maintenance.system import SystemState, show_system
from admin_api.operations.models.sync import LiteLLM
from deploy.embedded.valkey import Valkey
from gateway.storage.counters.scripts import Counters
from gateway.storage.counters.worker_count import LIVES_MS
from gateway.storage.counters.worker_states import STATES, WORKERS, read_states
from gateway.storage.postgres import Pool

# The model server answers when nobody waits for it any more.
LONG = "Hello [delay=60]"


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[Valkey]:
    with Valkey(tmp_path / "valkey") as server:
        yield server


@pytest.fixture
async def counters(redis_server: Valkey) -> AsyncIterator[Counters]:
    async with open_counters(redis_server.url()) as opened:
        yield opened


async def beat(gateway: GatewayThread) -> None:
    """Now, not within two seconds."""
    work = gateway.apps[0].worker.worker_count.beat()
    await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, gateway.loop))


async def state(pool: Pool, counters: Counters) -> SystemState:
    litellm = LiteLLM(urls=["http://127.0.0.1:1"], api_key=SecretStr("none"))
    return await show_system(pool, ADMIN, litellm, counters)


async def test_an_admin_sees_the_calls_in_flight_of_all_workers(
    caller: Caller, start_gateway: StartGateway, redis_server: Valkey, counters: Counters, pool: Pool, tmp_path: Path
) -> None:
    gateways = [start_gateway(redis_url=redis_server.url(), state_dir=tmp_path / f"state{n}") for n in range(2)]
    calls = [asyncio.create_task(caller.at(gateways[n].url).chat(LONG)) for n in (0, 0, 0, 1)]

    async def are_under_way() -> bool:
        return [one.apps[0].worker.tallies.in_flight for one in gateways] == [3, 1]

    await wait_until(are_under_way, "the calls to be under way")
    for gateway in gateways:
        await beat(gateway)
    seen = await state(pool, counters)
    assert (seen.workers, seen.calls_in_flight) == (2, 4)

    calls[0].cancel()
    calls[3].cancel()
    await asyncio.gather(calls[0], calls[3], return_exceptions=True)

    async def have_ended() -> bool:
        return [one.apps[0].worker.tallies.in_flight for one in gateways] == [2, 0]

    await wait_until(have_ended, "two calls to end")
    await beat(gateways[0])
    await gateways[1].stop_async()
    assert [said.calls for said in await read_states(counters, LIVES_MS) if said] == [2]

    # One that was killed said so 16 seconds ago: it does not count, and the next one to say something takes it away.
    await counters.command("ZADD", WORKERS, await counters.now_ms() - LIVES_MS - 1000, "killed")
    await counters.command("HSET", STATES, "killed", "7 0")
    assert [said.calls for said in await read_states(counters, LIVES_MS) if said] == [2]
    await beat(gateways[0])
    assert await counters.command("HEXISTS", STATES, "killed") == 0
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


async def test_without_redis_nobody_says_how_many_calls_are_in_flight(
    redis_server: Valkey, counters: Counters, pool: Pool
) -> None:
    assert (await state(pool, counters)).calls_in_flight == 0
    redis_server.stop()
    seen = await state(pool, counters)
    assert (seen.redis, seen.workers, seen.calls_in_flight) == (False, None, None)
