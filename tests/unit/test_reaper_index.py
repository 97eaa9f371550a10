"""An account with leases is added to the reaper index, and again by its next call if that failed."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

from gateway.admit import Admission
from gateway.domain.ids import RequestIds
from gateway.storage.redis.link import RedisUnavailable
from gateway.web.background import Background


class Index:
    """The one method of the counters that is needed here; unreachable for the first call."""

    def __init__(self) -> None:
        self.added: list[int] = []
        self.is_away = True

    async def announce(self, account_id: int) -> None:
        if self.is_away:
            raise RedisUnavailable("gone")
        self.added.append(account_id)


async def test_an_account_missing_from_the_reaper_index_is_added_by_its_next_call_without_a_log_line(
    logged: list[MutableMapping[str, Any]],
) -> None:
    index, background = Index(), Background()
    unused: Any = None
    admission = Admission(
        index,  # type: ignore[arg-type]  # only the method that is called
        RequestIds(),
        seed=unused,
        sweep_due=unused,
        free=unused,
        background=background,
        clock=lambda: 1000.0,
    )
    for is_away in (True, False, False):
        index.is_away = is_away
        admission._announce(7)
        await asyncio.sleep(0.01)

    assert (index.added, logged) == ([7], [])
