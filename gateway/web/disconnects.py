"""Notices that a caller has left, and interrupts the task that works for it."""

import asyncio
from types import TracebackType
from typing import Final, Self

from gateway.web.responses import Receive

# A watch costs a task: most calls without a stream are over before they need one.
WATCH_AFTER_S: Final = 0.02


class DisconnectWatch:
    """Whether the caller left while it was watched, and whether the block was cancelled for it."""

    __slots__ = ("happened", "has_cancelled")

    def __init__(self) -> None:
        self.happened = self.has_cancelled = False


class InterruptOnDisconnect(DisconnectWatch):
    """Ends its block early, without an exception, when the caller leaves: then `happened` is true. With `after_s` the
    block may go on for so long after that.

    The block is cancelled where it waits, so what it opened must be closed by its own context managers.
    """

    __slots__ = ("_after_s", "_loop", "_receive", "_task", "_timer", "_watch")

    def __init__(self, receive: Receive, after_s: float = 0.0) -> None:
        super().__init__()
        self._receive = receive
        self._after_s = after_s
        self._loop = asyncio.get_running_loop()
        self._watch: asyncio.Task[None] | None = None
        self._task: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        self._timer = self._loop.call_later(WATCH_AFTER_S, self._start)
        return self

    def _start(self) -> None:
        self._watch = self._loop.create_task(self._wait(), name="hang-up")

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.happened = True
        if self._after_s:
            await asyncio.sleep(self._after_s)
        self.has_cancelled = True
        if self._task is not None:
            self._task.cancel("the caller has left")

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, where: TracebackType | None
    ) -> bool:
        if self._timer is not None:
            self._timer.cancel()
        if self._watch is not None:
            self._watch.cancel()
        task = self._task
        if task is None or not self.has_cancelled:
            return False
        if kind is None:
            # It left while the block did its last step, and the cancellation is still on its way.
            if task.cancelling():
                task.uncancel()
            return False
        # Someone else may have cancelled as well: the server, at the end of its grace.
        return issubclass(kind, asyncio.CancelledError) and task.uncancel() == 0
