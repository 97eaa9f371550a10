"""The state of the whole system: what waits for an admin, what is used now, and whether all parts answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from admin_api.operations.actors import Actor, require_reader
from admin_api.operations.maintenance.measurements import TeamUse, team_use
from admin_api.operations.models.litellm_health import LiteLLMHealth, check_litellm
from admin_api.operations.models.sync import LiteLLM
from admin_api.operations.usage.reports import summarize
from admin_api.operations.usage.scope import UsageFilter
from admin_api.storage import measurements, system
from admin_api.storage.deliveries import RECEIVERS
from admin_api.storage.measurements import Waiting as WaitingDeliveries
from admin_api.storage.system import RefusalsOfCode, Waiting
from admin_api.storage.usage.queries import UsageSums
from gateway.storage.counters.worker_count import LIVES_MS
from gateway.storage.counters.worker_states import read_states
from gateway.storage.redis.link import RedisUnavailable, ScriptFailed

if TYPE_CHECKING:
    from gateway.storage.counters.scripts import Counters
    from gateway.storage.postgres import Pool

# The tightest limits of teams, and the most frequent errors.
MAX_SHOWN: Final = 5
REFUSALS_FOR: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemState:
    """`today` and `hour` are the calls of all: of the day in `time_zone`, and of the last hour in full quarters.
    `refusals` are those of the last 24 hours. `redis` None: this program has no Redis. So many `workers` of gateways
    said two seconds ago at most how many calls they forward, together `calls_in_flight`; None: Redis was not asked, or
    does not answer. All else is read from Postgres, which therefore answers."""

    waiting: Waiting
    deliveries: Sequence[WaitingDeliveries]
    time_zone: str
    today: UsageSums
    hour: UsageSums
    refusals: Sequence[RefusalsOfCode]
    tightest: Sequence[TeamUse]
    litellm: LiteLLMHealth
    sync_problem: str | None
    redis: bool | None
    workers: int | None
    calls_in_flight: int | None

    @property
    def failed_today(self) -> int:
        """Calls of today that ended otherwise than they should, without those whose caller hung up."""
        return self.today.calls - self.today.completed_calls - self.today.hung_up_calls


async def show_system(
    pool: "Pool", actor: Actor, litellm: LiteLLM, counters: "Counters | None", *, time_zone: str = "UTC"
) -> SystemState:
    """For admins and read-only admins. Raises GatewayError `forbidden`, `validation_failed`."""
    require_reader(actor)
    now = datetime.now(UTC)
    today = await summarize(pool, actor, UsageFilter(period="today", time_zone=time_zone))
    hour = await summarize(pool, actor, UsageFilter(since=now - timedelta(hours=1), until=now))
    uses = await team_use(pool, now)
    async with pool.acquire() as connection:
        waiting = await system.count_waiting(connection)
        waiting_deliveries = await measurements.count_deliveries(connection, tuple(RECEIVERS))
        refusals = await system.count_refusals(connection, now - REFUSALS_FOR, limit=MAX_SHOWN)
        problem = await measurements.last_sync_problem(connection)
    live = await _calls_in_flight(counters)
    return SystemState(
        waiting=waiting,
        deliveries=waiting_deliveries,
        time_zone=time_zone,
        today=today.sums,
        hour=hour.sums,
        refusals=refusals,
        tightest=sorted(uses, key=lambda use: (-use.share, use.team))[:MAX_SHOWN],
        litellm=await check_litellm(pool, actor, litellm),
        sync_problem=problem,
        redis=None if counters is None else counters.is_connected,
        workers=None if live is None else len(live),
        calls_in_flight=None if live is None else sum(live),
    )


async def _calls_in_flight(counters: "Counters | None") -> Sequence[int] | None:
    if counters is None:
        return None
    try:
        return [state.calls for state in await read_states(counters, LIVES_MS) if state]
    except (RedisUnavailable, ScriptFailed):
        return None
