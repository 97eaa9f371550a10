"""What keys of a list are used today, and their limits: one query for all of them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from admin_api.operations.dates import read_period
from admin_api.operations.limits.uses import LimitUse, list_uses
from admin_api.storage import limits as limit_rows
from admin_api.storage.api_keys import APIKey
from admin_api.storage.usage import queries
from admin_api.storage.usage.queries import UsageSums
from admin_api.storage.usage.rollup_tables import WITHIN, Selection
from gateway.domain.rollup_ranges import ceiling, floor

if TYPE_CHECKING:
    from gateway.storage.counters.scripts import Counters
    from gateway.storage.postgres import Pool

UNUSED: Final = UsageSums()


async def read_use_of_today(
    pool: "Pool", keys: Sequence[APIKey], *, time_zone: str, now: datetime | None = None
) -> dict[int, UsageSums]:
    """By id, of keys that the actor may see; a day of the time zone."""
    if not keys:
        return {}
    start, end = read_period("today", ZoneInfo(time_zone), now or datetime.now(UTC))
    selection = Selection(
        start=floor(start, "quarter"),
        end=ceiling(end, "quarter"),
        is_open=True,
        account_ids=sorted({key.account_id for key in keys}),
        key_ids=[key.id for key in keys],
    )
    async with pool.acquire() as connection, connection.transaction(readonly=True):
        await connection.execute(queries.PREPARE)
        found = await queries.sum_by(connection, selection, WITHIN, "key", order="calls", limit=len(keys))
    sums = {int(key_id): one for key_id, one in found.rows if key_id is not None}
    return {key.id: sums.get(key.id, UNUSED) for key in keys}


async def list_limits_of_keys(pool: "Pool", counters: "Counters", keys: Sequence[APIKey]) -> list[LimitUse]:
    """The tightest first, of keys that the actor may see. Raises RedisUnavailable."""
    async with pool.acquire() as connection:
        rows = await limit_rows.list_limits_of_keys(connection, [key.id for key in keys])
    return await list_uses(pool, counters, rows)
