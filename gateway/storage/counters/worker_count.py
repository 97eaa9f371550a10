"""How many workers share the limits: each says in Redis how it is, and counts those that said so lately."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Final
from uuid import uuid4

from gateway.storage.counters.scripts import Counters
from gateway.storage.counters.worker_states import WorkerState, end_state, say_state
from gateway.storage.redis.link import RedisUnavailable, ScriptFailed

BEAT_S: Final = 2.0
LIVES_MS: Final = 15_000
LEAVE_S: Final = 1.0
# A worker that is cut off may have seen more than there are now: shares are of the largest number of this time.
KEEP_S: Final = 300.0


class WorkerCount:
    """`number` is None until Redis has said it."""

    def __init__(self, counters: Counters, state: Callable[[], WorkerState]) -> None:
        """`state`: this worker's own."""
        self._counters = counters
        self._state = state
        self._name = uuid4().hex
        self._seen: deque[tuple[float, int]] = deque()

    @property
    def number(self) -> int | None:
        """The largest of the last minutes, and not less than was last seen."""
        return max((number for _, number in self._seen), default=None)

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                # Said by the link; what was last seen stays.
                with suppress(RedisUnavailable, ScriptFailed):
                    await self.beat()
                await asyncio.sleep(BEAT_S)
        finally:
            with suppress(RedisUnavailable, ScriptFailed, TimeoutError):
                async with asyncio.timeout(LEAVE_S):
                    await end_state(self._counters, self._name, self._state())

    async def beat(self) -> None:
        """Once. Raises RedisUnavailable."""
        workers = await say_state(self._counters, self._name, self._state(), LIVES_MS)
        now_s = monotonic()
        self._seen.append((now_s, workers))
        while now_s - self._seen[0][0] > KEEP_S:
            self._seen.popleft()
