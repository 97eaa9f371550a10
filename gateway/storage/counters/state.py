"""Looks at every limit a call would have to pass, without taking anything."""

from uuid import UUID

from gateway.domain.grants import Grant, KeyRecord
from gateway.domain.ids import milliseconds_of
from gateway.domain.refusals import Taken, pair
from gateway.domain.reservation_plan import make_reservation_plan
from gateway.storage.counters.layout import pack_entries
from gateway.storage.counters.scripts import Counters, Estimate
from gateway.storage.counters.seeding import Seeder
from gateway.storage.redis.link import RedisUnavailable

NOTHING = Estimate(tokens=(0, 0, 0), cost=(0, 0, 0))
# A seed answers all but a race with another loss, and windows end now and then.
MAX_TRIES = 5


class LimitState:
    """What the reserve script would say."""

    def __init__(self, counters: Counters, seeder: Seeder) -> None:
        self._counters = counters
        self._seeder = seeder

    async def look(
        self, record: KeyRecord, grant: Grant, request_id: UUID, estimate: Estimate = NOTHING
    ) -> tuple[list[Taken], int]:
        """(each limit with what is left of it, Redis's clock in ms). Counters that are missing are seeded first.

        Raises RedisUnavailable."""
        start_ms = milliseconds_of(request_id)
        for _ in range(MAX_TRIES):
            plan = make_reservation_plan(grant, record.time_zone, record.epoch, start_ms)
            reply = await self._counters.reserve(
                record.account_id,
                request_id,
                pack_entries(plan.entries),
                estimate,
                start_ms=start_ms,
                scopes="",
                note=b"",
                mode="look",
            )
            if reply.status == "seed":
                await self._seeder.seed(record, plan, reply.seed)
            elif reply.status == "late":
                # Others are in the next window already: look at that one.
                start_ms = max(reply.now_ms, plan.until_ms)
            else:
                return pair(plan, reply.takings), reply.now_ms
        raise RedisUnavailable("counters were lost again and again")
