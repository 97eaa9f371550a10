"""Notices that a caller has left, and interrupts the task that works for it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from gateway.web.responses import Receive

# A watch costs a task: most calls without a stream are over before they need one.
WATCH_AFTER_S: Final = 0.02


class DisconnectWatch:
    """Whether the caller left while it was watched, and whether the block was cancelled for it."""

    __slots__ = ("happened", "has_cancelled")

    def __init__(self) -> None:
        self.happened = self.has_cancelled = False


@contextmanager
def interrupt_on_disconnect(receive: Receive, after_s: float = 0.0) -> Iterator[DisconnectWatch]:
    """Ends its block early, without an exception, when the caller leaves: then `happened` is true. With `after_s` the
    block may go on for so long after that.

    The block is cancelled where it waits, so what it opened must be closed by its own context managers.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  for mypy: this runs in one
    hang_up = DisconnectWatch()
    watch: asyncio.Task[None] | None = None

    async def wait() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        hang_up.happened = True
        if after_s:
            await asyncio.sleep(after_s)
        hang_up.has_cancelled = True
        task.cancel("the caller has left")

    def start() -> None:
        nonlocal watch
        watch = loop.create_task(wait(), name="hang-up")

    timer = loop.call_later(WATCH_AFTER_S, start)
    try:
        yield hang_up
    except asyncio.CancelledError:
        # Someone else may have cancelled as well: the server, at the end of its grace.
        if not hang_up.has_cancelled or task.uncancel() > 0:
            raise
    else:
        # It left while the block did its last step, and the cancellation is still on its way.
        if hang_up.has_cancelled and task.cancelling():
            task.uncancel()
    finally:
        timer.cancel()
        if watch is not None:
            watch.cancel()
