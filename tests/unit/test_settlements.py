"""A call is settled as soon as it ends, whatever happens to others: its caller may send the next one at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from gateway.settle import Settlements
from gateway.storage.counters.scripts import Settlement
from gateway.storage.redis.link import NotRun, RedisUnavailable

ONE, TWO, THREE = (UUID(int=n) for n in (1, 2, 3))


class Redis:
    """Settles every request except those it `hangs` on or `fails`; none while it is not connected."""

    def __init__(self) -> None:
        self.is_connected = True
        self.hangs: set[UUID] = set()
        self.fails: set[UUID] = set()
        self.asked: list[UUID] = []
        self.settled: list[UUID] = []

    async def settle(self, settlement: Settlement) -> bool:
        one = settlement.request_id
        if not self.is_connected:
            raise NotRun("not connected")
        self.asked.append(one)
        while one in self.hangs:
            await asyncio.sleep(0.001)
        if one in self.fails:
            raise RedisUnavailable("no answer")
        self.settled.append(one)
        return True


@asynccontextmanager
async def running(server: Redis) -> AsyncIterator[Settlements]:
    settlements = Settlements(server, None)  # type: ignore[arg-type]  # nothing is journaled here
    run = asyncio.ensure_future(settlements.run())
    yield settlements
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)


async def ticks(number: int = 10) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def test_a_settlement_does_not_wait_for_the_reply_to_another() -> None:
    server = Redis()
    server.hangs = {ONE}
    async with running(server) as settlements:
        settlements.free(1, ONE)
        await ticks()
        settlements.free(1, TWO)
        await ticks()

        assert server.settled == [TWO]
        assert len(settlements) == 1
        server.hangs = set()
        await settlements.drain(5)
        assert server.settled == [TWO, ONE]
        assert len(settlements) == 0


async def test_a_settlement_does_not_wait_for_those_being_retried() -> None:
    server = Redis()
    server.fails = {ONE, TWO}
    async with running(server) as settlements:
        settlements.free(1, ONE)
        settlements.free(1, TWO)
        await ticks()
        settlements.free(1, THREE)
        await ticks()

        assert server.settled == [THREE]
        server.fails = set()
        await settlements.drain(5)
        assert sorted(server.settled) == [ONE, TWO, THREE]


async def test_during_a_redis_outage_nothing_is_tried_and_everything_is_settled_afterwards() -> None:
    server = Redis()
    server.is_connected = False
    async with running(server) as settlements:
        for n in range(1, 1001):
            settlements.free(1, UUID(int=n))
            await ticks(2)
        assert (server.asked, len(settlements)) == ([], 1000)

        server.is_connected = True
        await settlements.drain(5)
        assert sorted(server.settled) == [UUID(int=n) for n in range(1, 1001)]


async def test_a_drain_waits_for_a_batch_whose_tasks_have_not_run_yet() -> None:
    server = Redis()
    settlements = Settlements(server, None)  # type: ignore[arg-type]  # nothing is journaled here
    settlements.free(1, ONE)
    settlements.free(1, TWO)

    first = asyncio.ensure_future(settlements._settle_all())
    await asyncio.sleep(0)  # it has taken both, and their tasks wait for their first turn
    await settlements.drain(5)

    assert sorted(server.settled) == [ONE, TWO]
    await first


async def test_a_settlement_in_flight_at_shutdown_is_kept() -> None:
    server = Redis()
    server.hangs = {ONE}
    async with running(server) as settlements:
        settlements.free(1, ONE)
        await ticks()

    assert (server.asked, server.settled, len(settlements)) == ([ONE], [], 1)
    server.hangs = set()
    await settlements.drain(5)
    assert (server.settled, len(settlements)) == ([ONE], 0)


async def test_a_failed_settlement_is_retried() -> None:
    server = Redis()
    server.fails = {ONE}
    async with running(server) as settlements:
        settlements.free(1, ONE)
        await ticks()
        assert server.settled == []
        server.fails = set()
        async with asyncio.timeout(30):
            while not server.settled:
                await asyncio.sleep(0.01)

    assert server.settled == [ONE]
