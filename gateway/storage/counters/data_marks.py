"""A mark of this worker at every primary of Redis. Where one is gone, that server lost its data though it goes on
running (`FLUSHALL`), or an empty one has taken its place behind a proxy."""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Final
from uuid import uuid4

from gateway.storage.redis.link import RedisUnavailable, ScriptFailed, Scripts

LOOK_S: Final = 2.0
MARK: Final = "lm2-mark-"
LIVES_MS: Final = 15_000


class DataMarks:
    """`data_lost` is called when a mark is gone that was made a moment ago."""

    def __init__(self, scripts: Scripts, data_lost: Callable[[], None]) -> None:
        self._scripts = scripts
        self._data_lost = data_lost
        self._prefix = f"{MARK}{uuid4().hex}-"
        self._made_at: dict[str, float] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Makes every mark again, and sees whether it was still there."""
        keys = self._scripts.keys_of_primaries(self._prefix)
        # Those of primaries that are gone.
        self._made_at = {key: at for key, at in self._made_at.items() if key in keys}
        if any(await asyncio.gather(*map(self._is_lost, keys))):
            self._data_lost()

    async def _is_lost(self, key: str) -> bool:
        try:
            # A node that hangs keeps no other from being looked at in time.
            async with asyncio.timeout(LOOK_S):
                before = await self._scripts.command("SET", key, 1, "PX", LIVES_MS, "GET")
        except (RedisUnavailable, ScriptFailed, TimeoutError):
            # Said by the link.
            return False
        made_at, now_s = self._made_at.get(key), monotonic()
        self._made_at[key] = now_s
        # An older one has expired.
        return before is None and made_at is not None and now_s - made_at < LIVES_MS / 2000
