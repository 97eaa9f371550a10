"""Limits of an account as pages list them, with what is used of each."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from admin_api.operations.limits import limits, states
from admin_api.operations.limits.states import LimitWithState
from admin_api.portal.limit_lines import amount_of, name_of
from admin_api.portal.visits import Visit
from admin_api.portal.word_texts import LEVELS, text_of
from admin_api.storage.limits import LimitRow
from gateway.domain.limits import Kind, is_money

if TYPE_CHECKING:
    from gateway.storage.counters.scripts import Counters

MAX_ROWS = 100


@dataclass(frozen=True, slots=True)
class Row:
    """One limit: on what, which, how much, and what was used and is left of it; None: not known, or replaced by a
    temporary one."""

    limit: LimitRow
    on: str
    what: str
    amount: str
    used: str | None
    remaining: str | None


async def limits_of(visit: Visit, *, user: str) -> list[Row]:
    """Of the user's personal account. Without Redis they are listed without what is used."""
    counters: Counters | None = visit.request.app.state.counters
    if counters is not None and counters.is_connected:
        found = await states.list_limit_states(visit.pool, counters, visit.actor, user=user, limit=MAX_ROWS)
        return [_row(visit, one) for one in found.rows]
    page = await limits.list_limits(visit.pool, visit.actor, user=user, limit=MAX_ROWS)
    return [_row(visit, LimitWithState(row, None)) for row in page.rows]


def _row(visit: Visit, one: LimitWithState) -> Row:
    row, left = one.row, one.left or {}
    return Row(
        limit=row,
        on=": ".join(
            filter(None, (text_of(visit, LEVELS, row.level), row.key_name or row.key_last_four, row.model_name))
        ),
        what=name_of(visit, row.kind, row.window),
        amount=amount_of(visit, row.kind, row.amount),
        used=_left(visit, left, "used", row.kind),
        remaining=_left(visit, left, "remaining", row.kind),
    )


def _left(visit: Visit, left: dict[str, Any], name: str, kind: Kind) -> str | None:
    value = left.get(f"{name}_nano_usd" if is_money(kind) else name)
    return None if value is None else amount_of(visit, kind, value)
