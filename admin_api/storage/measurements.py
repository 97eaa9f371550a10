"""What metrics look up in the database: deliveries that wait, and the last sync."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from admin_api.storage.deliveries import Channel

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Deliveries of one channel. `oldest_at`: the oldest of those that wait and are not held back."""

    channel: Channel
    waiting: int
    failed: int
    oldest_at: datetime | None


# Of each, no more than so many are counted.
MAX_COUNTED: Final = 100_000
COUNT_DELIVERIES: Final = """
WITH waiting AS (
    SELECT d.channel, d.created_at, w.enabled IS FALSE AS is_held
    FROM deliveries d LEFT JOIN webhooks w ON w.id = d.webhook_id
    WHERE d.delivered_at IS NULL AND d.gave_up_at IS NULL LIMIT $2
), failed AS (
    SELECT channel FROM deliveries WHERE gave_up_at IS NOT NULL AND dropped_at IS NULL LIMIT $2
)
SELECT c.channel, (SELECT count(*) FROM waiting WHERE channel = c.channel) AS waiting,
       (SELECT count(*) FROM failed WHERE channel = c.channel) AS failed,
       (SELECT min(created_at) FROM waiting WHERE channel = c.channel AND NOT is_held) AS oldest_at
FROM unnest($1::text[]) AS c (channel)
"""


async def count_deliveries(executor: "Executor", channels: tuple[str, ...]) -> list[Waiting]:
    """One for each channel."""
    return [Waiting(**row) for row in await executor.fetch(COUNT_DELIVERIES, list(channels), MAX_COUNTED)]


LAST_GOOD_SYNC: Final = """
SELECT max(at) FROM model_syncs WHERE problem IS NULL
"""


async def last_good_sync(executor: "Executor") -> datetime | None:
    """The last one without a problem, whichever program ran it; None: there was none in the last month."""
    at: datetime | None = await executor.fetchval(LAST_GOOD_SYNC)
    return at


LAST_SYNC_PROBLEM: Final = """
SELECT problem FROM model_syncs ORDER BY id DESC LIMIT 1
"""


async def last_sync_problem(executor: "Executor") -> str | None:
    """What was wrong with the last sync; None: nothing, or there was none."""
    problem: str | None = await executor.fetchval(LAST_SYNC_PROBLEM)
    return problem
