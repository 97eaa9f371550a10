"""Tasks end when the app stops, also where a library swallows a cancellation."""

import asyncio

import pytest

from gateway.cancellation import end_tasks
from gateway.web.background import Background


async def swallow_one(swallowed: list[bool]) -> None:
    """Takes the first cancellation for an answer, as `asyncio.wait_for` of Python 3.11 may."""
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        swallowed.append(True)
    await asyncio.sleep(60)


async def test_a_task_that_swallows_a_cancellation_is_cancelled_again() -> None:
    swallowed: list[bool] = []
    task = asyncio.get_running_loop().create_task(swallow_one(swallowed))
    await asyncio.sleep(0)

    async with asyncio.timeout(5):
        await end_tasks([task], again_s=0.05)

    assert swallowed == [True]
    assert task.cancelled()


async def test_background_stops_though_a_task_swallows_a_cancellation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(end_tasks, "__kwdefaults__", {"again_s": 0.05})
    background, swallowed = Background(), list[bool]()
    task = background.start(swallow_one(swallowed), "swallows")
    await asyncio.sleep(0)

    async with asyncio.timeout(5):
        await background.stop()

    assert swallowed == [True]
    assert task.cancelled()


async def test_what_a_task_does_on_its_way_out_is_waited_for_and_its_failure_is_no_ones() -> None:
    left: list[str] = []

    async def leave() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.1)
            left.append("said")
            raise ValueError("while leaving")

    task = asyncio.get_running_loop().create_task(leave())
    await asyncio.sleep(0)
    await end_tasks([task])

    assert left == ["said"]
    assert isinstance(task.exception(), ValueError)
