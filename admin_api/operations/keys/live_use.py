"""What keys of a list are used today, and their limits: one query for all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from admin_api.operations.actors import Actor
from admin_api.operations.dates import read_period
from admin_api.operations.keys.keys import list_keys
from admin_api.operations.limits.uses import LimitUse, list_uses
from admin_api.operations.pagination import Page
from admin_api.operations.validation import check_time_zone
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


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyUse:
    """What a key is used on the day that today is in `time_zone`."""

    key: APIKey
    time_zone: str
    today: UsageSums


async def list_key_uses(
    pool: "Pool",
    actor: Actor,
    *,
    user: str | None = None,
    team: str | None = None,
    archived: bool = False,
    time_zone: str = "UTC",
    limit: int = 100,
    cursor: str | None = None,
) -> Page[KeyUse]:
    """The same keys as `list_keys` lists, each with its use of today. Raises GatewayError as that does, and
    `validation_failed` for an unknown zone."""
    zone = check_time_zone(time_zone)
    page = await list_keys(pool, actor, user=user, team=team, archived=archived, limit=limit, cursor=cursor)
    today = await read_use_of_today(pool, page.rows, time_zone=zone)
    return Page([KeyUse(key=key, time_zone=zone, today=today[key.id]) for key in page.rows], page.next_cursor)


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
