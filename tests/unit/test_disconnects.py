"""The work for a caller is interrupted if they disconnect, and by nothing else."""

import asyncio
from typing import Any

import pytest

from gateway.web.disconnects import WATCH_AFTER_S, InterruptOnDisconnect


class Connection:
    """The receiving half of a request."""

    def __init__(self) -> None:
        self._is_closed = asyncio.Event()

    def disconnect(self) -> None:
        self._is_closed.set()

    async def receive(self) -> dict[str, Any]:
        await self._is_closed.wait()
        return {"type": "http.disconnect"}


@pytest.fixture
async def connection() -> Connection:
    return Connection()


def watchers() -> int:
    return sum(task.get_name() == "hang-up" for task in asyncio.all_tasks())


async def test_on_a_disconnect_the_block_ends_early_and_the_code_after_it_runs(connection: Connection) -> None:
    asyncio.get_running_loop().call_later(0.05, connection.disconnect)
    closed = []

    with InterruptOnDisconnect(connection.receive) as watch:
        try:
            await asyncio.sleep(10)
        finally:
            closed.append("what was opened")
    await asyncio.sleep(0)

    assert watch.happened
    assert closed == ["what was opened"]
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    assert watchers() == 0


async def test_a_disconnect_before_the_watch_starts_is_noticed(connection: Connection) -> None:
    connection.disconnect()

    with InterruptOnDisconnect(connection.receive) as watch:
        async with asyncio.timeout(1):
            await asyncio.sleep(10)

    assert watch.happened


async def test_work_that_completes_is_not_cancelled(connection: Connection) -> None:
    for pause_s in (0, WATCH_AFTER_S / 2, WATCH_AFTER_S * 3):
        with InterruptOnDisconnect(connection.receive) as watch:
            await asyncio.sleep(pause_s)
        await asyncio.sleep(WATCH_AFTER_S * 2)

        assert not watch.happened
        assert watchers() == 0


async def test_an_exception_in_the_work_is_raised(connection: Connection) -> None:
    async def fail() -> None:
        with InterruptOnDisconnect(connection.receive):
            await asyncio.sleep(WATCH_AFTER_S * 2)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    await asyncio.sleep(0)

    assert watchers() == 0


async def test_an_outer_cancellation_is_raised(connection: Connection) -> None:
    async def work() -> None:
        with InterruptOnDisconnect(connection.receive):
            await asyncio.sleep(10)

    task = asyncio.ensure_future(work())
    await asyncio.sleep(WATCH_AFTER_S * 2)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_outer_cancellation_is_raised_even_with_a_disconnect_at_the_same_time(connection: Connection) -> None:
    async def work() -> None:
        with InterruptOnDisconnect(connection.receive):
            await asyncio.sleep(10)

    task = asyncio.ensure_future(work())
    await asyncio.sleep(WATCH_AFTER_S * 2)
    connection.disconnect()
    # The watch has seen it, and has cancelled the work; the server cancels it as well.
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()

    await asyncio.gather(task, return_exceptions=True)
    assert task.done()


async def test_work_that_ends_at_the_moment_of_a_disconnect_leaves_no_pending_cancellation(
    connection: Connection,
) -> None:
    task = asyncio.current_task()
    assert task is not None
    for delay in range(6):
        connection = Connection()
        with InterruptOnDisconnect(connection.receive):
            await asyncio.sleep(WATCH_AFTER_S * 1.5)
            connection.disconnect()
            for _ in range(delay):
                await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert task.cancelling() == 0
