"""Keys as their list shows them: what was used today, and how near the tightest limit is."""

from collections.abc import Sequence
from dataclasses import dataclass

from admin_api.operations.keys.live_use import list_limits_of_keys, read_use_of_today
from admin_api.portal.limit_lines import LimitLine, lines_of, read_or_none
from admin_api.portal.visits import Visit
from admin_api.storage.api_keys import APIKey
from admin_api.storage.usage.queries import UsageSums


@dataclass(frozen=True, slots=True)
class KeyUse:
    """Of one key; `limits` are the tightest first, None if Redis does not answer."""

    today: UsageSums
    limits: Sequence[LimitLine] | None


async def uses_of(visit: Visit, keys: Sequence[APIKey]) -> dict[int, KeyUse]:
    """By the keys' ids."""
    today = await read_use_of_today(visit.pool, keys, time_zone=visit.formats.zone)
    uses = await read_or_none(visit, lambda counters: list_limits_of_keys(visit.pool, counters, keys))
    by_key: dict[int, list[LimitLine]] = {key.id: [] for key in keys}
    for line in lines_of(visit, uses or ()):
        if line.row.api_key_id is not None:
            by_key[line.row.api_key_id].append(line)
    return {key.id: KeyUse(today[key.id], None if uses is None else by_key[key.id]) for key in keys}
