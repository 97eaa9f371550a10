"""Limits and their use as pages write them."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from admin_api.operations.limits.uses import LimitUse, list_uses
from admin_api.portal.limit_texts import amount_of, colour_of, name_of, share_of, target_of
from admin_api.portal.visits import Visit
from admin_api.storage.limits import LimitRow
from admin_api.web.counters import counters_of
from gateway.domain.errors import GatewayError
from gateway.storage.redis.link import RedisUnavailable

if TYPE_CHECKING:
    from gateway.storage.counters.scripts import Counters


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitLine:
    """One limit of a page; texts are in the person's language. `colour` is that of PatternFly's label."""

    row: LimitRow
    name: str
    target: str
    amount: str
    used: str
    reserved: str
    left: str
    share: str
    colour: str
    resets_at: datetime | None


def lines_of(visit: Visit, uses: Iterable[LimitUse]) -> list[LimitLine]:
    """In the order given."""
    return [
        LimitLine(
            row=use.row,
            name=name_of(visit, use.row.kind, use.row.window),
            target=target_of(visit, use.row),
            amount=amount_of(visit, use.row.kind, use.row.amount),
            used=amount_of(visit, use.row.kind, use.used),
            reserved=amount_of(visit, use.row.kind, use.reserved),
            left=amount_of(visit, use.row.kind, use.left),
            share=share_of(visit, use.share),
            colour=colour_of(use.share),
            resets_at=use.resets_at,
        )
        for use in uses
    ]


async def read_lines(visit: Visit, rows: Iterable[LimitRow]) -> list[LimitLine] | None:
    """Of limits that the person may see, the tightest first; None if Redis does not answer."""
    uses = await read_or_none(visit, lambda counters: list_uses(visit.pool, counters, rows))
    return None if uses is None else lines_of(visit, uses)


async def read_or_none(visit: Visit, read: Callable[["Counters"], Awaitable[list[LimitUse]]]) -> list[LimitUse] | None:
    """What is read of the counters; None if Redis does not answer: the rest of the page is shown."""
    try:
        return await read(counters_of(visit.request))
    except RedisUnavailable:
        return None
    except GatewayError as error:
        if error.code != "limits_unavailable":
            raise
        return None
