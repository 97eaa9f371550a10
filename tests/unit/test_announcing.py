"""An account that has leases is named in the reapers' index, and named again if that failed."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

from gateway.admit import Admission
from gateway.domain.ids import RequestIds
from gateway.storage.redis.link import RedisUnavailable
from gateway.web.background import Background


class Index:
    """As much of the counters as is asked; away for the first call."""

    def __init__(self) -> None:
        self.named: list[int] = []
        self.is_away = True

    async def announce(self, account_id: int) -> None:
        if self.is_away:
            raise RedisUnavailable("gone")
        self.named.append(account_id)


async def test_an_account_that_could_not_be_named_is_named_by_its_next_call_and_nothing_is_logged(
    logged: list[MutableMapping[str, Any]],
) -> None:
    index, background = Index(), Background()
    unused: Any = None
    admission = Admission(
        index,  # type: ignore[arg-type]  # as much of it as is asked
        RequestIds(),
        seed=unused,
        sweep_due=unused,
        free=unused,
        background=background,
        allows_without_redis=False,
        clock=lambda: 1000.0,
    )
    for is_away in (True, False, False):
        index.is_away = is_away
        admission._announce(7)
        await asyncio.sleep(0.01)

    assert (index.named, logged) == ([7], [])
