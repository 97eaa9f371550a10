"""Ends tasks, also those that swallow a cancellation."""

import asyncio
from collections.abc import Collection
from typing import Any, Final

import structlog

log = structlog.get_logger(__name__)

# Longer than what a task does on its way out, which a second cancellation cuts off.
AGAIN_S: Final = 2.0


async def end_tasks(tasks: Collection[asyncio.Task[Any]], *, again_s: float = AGAIN_S) -> None:
    """Cancels them and waits until they have ended, however. One cancellation may not do: where what a task waits for
    comes at that moment, `asyncio.wait_for` of Python 3.11 gives it the result instead, and so do libraries that
    connect within a time. What a child of a task's TaskGroup swallows is out of reach."""
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=again_s)
        if pending:
            log.warning("tasks_do_not_end", tasks=sorted(task.get_name() for task in pending))
    await asyncio.gather(*tasks, return_exceptions=True)
