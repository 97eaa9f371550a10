"""A caller who leaves interrupts the work for him, and nothing else does."""

import asyncio
from typing import Any

import pytest

from gateway.web.disconnects import WATCH_AFTER_S, interrupt_on_disconnect


class Connection:
    """The receiving half of a request."""

    def __init__(self) -> None:
        self._left = asyncio.Event()

    def leave(self) -> None:
        self._left.set()

    async def receive(self) -> dict[str, Any]:
        await self._left.wait()
        return {"type": "http.disconnect"}


@pytest.fixture
async def connection() -> Connection:
    return Connection()


def watchers() -> int:
    return sum(task.get_name() == "hang-up" for task in asyncio.all_tasks())


async def test_the_block_ends_early_and_what_follows_runs(connection: Connection) -> None:
    asyncio.get_running_loop().call_later(0.05, connection.leave)
    closed = []

    with interrupt_on_disconnect(connection.receive) as hang_up:
        try:
            await asyncio.sleep(10)
        finally:
            closed.append("what was opened")
    await asyncio.sleep(0)

    assert hang_up.happened
    assert closed == ["what was opened"]
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    assert watchers() == 0


async def test_a_caller_who_left_before_the_watch_is_noticed_by_it(connection: Connection) -> None:
    connection.leave()

    with interrupt_on_disconnect(connection.receive) as hang_up:
        async with asyncio.timeout(1):
            await asyncio.sleep(10)

    assert hang_up.happened


async def test_work_that_ends_by_itself_is_not_disturbed(connection: Connection) -> None:
    for pause_s in (0, WATCH_AFTER_S / 2, WATCH_AFTER_S * 3):
        with interrupt_on_disconnect(connection.receive) as hang_up:
            await asyncio.sleep(pause_s)
        await asyncio.sleep(WATCH_AFTER_S * 2)

        assert not hang_up.happened
        assert watchers() == 0


async def test_a_failure_of_the_work_comes_through(connection: Connection) -> None:
    async def fail() -> None:
        with interrupt_on_disconnect(connection.receive):
            await asyncio.sleep(WATCH_AFTER_S * 2)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    await asyncio.sleep(0)

    assert watchers() == 0


async def test_a_stop_by_someone_else_comes_through(connection: Connection) -> None:
    async def work() -> None:
        with interrupt_on_disconnect(connection.receive):
            await asyncio.sleep(10)

    task = asyncio.ensure_future(work())
    await asyncio.sleep(WATCH_AFTER_S * 2)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_stop_comes_through_also_when_the_caller_leaves_at_the_same_time(connection: Connection) -> None:
    async def work() -> None:
        with interrupt_on_disconnect(connection.receive):
            await asyncio.sleep(10)

    task = asyncio.ensure_future(work())
    await asyncio.sleep(WATCH_AFTER_S * 2)
    connection.leave()
    # The watch has seen it, and has cancelled the work; the server cancels it as well.
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()

    await asyncio.gather(task, return_exceptions=True)
    assert task.done()


async def test_work_that_ends_in_the_moment_the_caller_leaves_leaves_no_cancellation_behind(
    connection: Connection,
) -> None:
    task = asyncio.current_task()
    assert task is not None
    for delay in range(6):
        connection = Connection()
        with interrupt_on_disconnect(connection.receive):
            await asyncio.sleep(WATCH_AFTER_S * 1.5)
            connection.leave()
            for _ in range(delay):
                await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert task.cancelling() == 0
