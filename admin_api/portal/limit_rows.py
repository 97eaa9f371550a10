"""Limits that are set, also those that are not in force, with what is used of each."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from admin_api.operations.limits import limits
from admin_api.operations.limits.uses import LimitUse, list_uses
from admin_api.portal.limit_lines import read_or_none
from admin_api.portal.limit_texts import amount_of, name_of, target_of
from admin_api.portal.visits import Visit
from admin_api.storage.limits import LimitRow

MAX_ROWS: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One limit; what was used and is left of it is None where that is not known, or a temporary limit replaces it."""

    row: LimitRow
    name: str
    target: str
    amount: str
    used: str | None
    left: str | None


async def limits_of(visit: Visit, *, user: str) -> list[Row]:
    """Of the user's personal account. Without Redis they are listed without what is used."""
    page = await limits.list_limits(visit.pool, visit.actor, user=user, limit=MAX_ROWS)
    return rows_of(
        visit, page.rows, await read_or_none(visit, lambda counters: list_uses(visit.pool, counters, page.rows))
    )


def rows_of(visit: Visit, found: Iterable[LimitRow], uses: Iterable[LimitUse] | None = None) -> list[Row]:
    """In the order given, with the uses that are known."""
    known = {use.row.id: use for use in uses or ()}
    return [_row(visit, row, known.get(row.id)) for row in found]


def _row(visit: Visit, row: LimitRow, use: LimitUse | None) -> Row:
    return Row(
        row=row,
        name=name_of(visit, row.kind, row.window),
        target=target_of(visit, row),
        amount=amount_of(visit, row.kind, row.amount),
        used=None if use is None else amount_of(visit, row.kind, use.used),
        left=None if use is None else amount_of(visit, row.kind, use.left),
    )
