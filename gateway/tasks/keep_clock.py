"""Request ids carry Redis's time: it decides which window a call is in, for all gateways alike."""

import asyncio
from typing import Final

from gateway.domain.ids import RequestIds
from gateway.storage.counters.scripts import Counters
from gateway.storage.redis.link import RedisUnavailable

CLOCK_S: Final = 5.0


async def keep_clock(ids: RequestIds, counters: Counters) -> None:
    """Until cancelled."""
    while True:
        try:
            before = ids.new().int >> 80
            now_ms = await counters.now_ms()
            after = ids.new().int >> 80
            ids.offset_ms += now_ms - (before + after) // 2
        except RedisUnavailable:
            pass  # said by the link; the last known offset stays
        await asyncio.sleep(CLOCK_S)
