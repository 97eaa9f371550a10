"""Tasks that belong to the app and not to a request: a request's own are cut off when it ends."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

import structlog

from gateway.cancellation import end_tasks

RESTART_S: Final = 1.0

log = structlog.get_logger(__name__)


class Background:
    """Starts tasks, keeps hold of them, logs how they fail, ends them at shutdown."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Runs `work` until it ends or the app stops."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def keep(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        """Runs work that should never end, and begins it again if it does: a mistake in one round must not stop the
        rounds after it."""
        self.start(self._keep(work, name), name)

    async def _keep(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        while True:
            try:
                await work()
            except Exception:  # whatever it is: said, counted by who reads the log, and begun again
                log.exception("background_work_failed", task=name)
            await asyncio.sleep(RESTART_S)

    def _done(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background_task_failed", task=task.get_name(), exc_info=error)

    async def stop(self) -> None:
        """Cancels what still runs and waits for it."""
        await end_tasks(list(self._tasks))
