"""All limits, for admins: who has one, and one limit for many at once, with a preview."""

from dataclasses import dataclass
from typing import Any, Final

from admin_api.operations.actors import require_admin, require_reader
from admin_api.operations.limits import bulk, limits
from admin_api.operations.limits.bulk import BULK_LEVELS, Filter, Preview
from admin_api.portal.forms import NONE, Refusal, refusal_of, typed
from admin_api.portal.limit_forms import kind_choices, limit_input_of
from admin_api.portal.limit_rows import rows_of
from admin_api.portal.limit_texts import amount_of, level_text
from admin_api.portal.rendering import Page
from admin_api.portal.visits import Visit
from gateway.domain.errors import GatewayError
from gateway.domain.limits import LEVELS

PAGE_ROWS: Final = 100
# Of a preview, how many rows are shown.
SHOWN: Final = 500
FIELDS: Final = ("level", "kind", "amount", "team", "model", "users", "reason")
REFUSED: Final = (*FIELDS, "confirm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A target of a bulk change."""

    label: str
    now: str
    boost: str | None


async def show_list(visit: Visit) -> Page:
    """Of all accounts, filtered by the address."""
    require_reader(visit.actor)
    only = {name: visit.query(name) for name in ("level", "user", "team")}
    page = await limits.list_limits(visit.pool, visit.actor, **only, limit=PAGE_ROWS, cursor=visit.query("cursor"))
    context = {
        "only": only,
        "levels": [(level, level_text(visit, level)) for level in LEVELS],
        "rows": rows_of(visit, page.rows),
        **visit.paging(page.next_cursor),
        "may_change": visit.actor.role == "admin",
    }
    return Page("admin_limits.html", visit.messages.gettext("All limits"), context)


async def show_bulk(
    visit: Visit, refused: Refusal = NONE, preview: Preview | None = None, *, is_done: bool = False
) -> Page:
    """The form, and below it what would change, or has changed."""
    require_admin(visit.actor)
    context: dict[str, Any] = {
        "sent": typed(visit, *FIELDS),
        "refused": refused,
        "levels": [(level, level_text(visit, level)) for level in BULK_LEVELS],
        "kinds": kind_choices(visit),
        "preview": preview,
        "is_done": is_done,
        "is_confirmed": visit.field("confirm") is not None,
        "changes": [] if preview is None else _changes(visit, preview),
        "new": "" if preview is None else amount_of(visit, preview.kind, preview.amount),
    }
    return Page("admin_limits_bulk.html", visit.messages.gettext("One limit for many"), context, refused.status)


async def change_many(visit: Visit) -> Page:
    """Previews; with the token of the preview, applies exactly that."""
    token = visit.field("token")
    try:
        filter_, input_ = _filter(visit), limit_input_of(visit, takes_unlimited=True)
        if token is None:
            return await show_bulk(visit, preview=await bulk.preview_limits(visit.pool, visit.actor, filter_, input_))
        done = await bulk.apply_limits(visit.pool, visit.actor, filter_, input_, token)
        return await show_bulk(visit, preview=done, is_done=True)
    except GatewayError as error:
        return await show_bulk(visit, refusal_of(visit, error, *REFUSED))


def _filter(visit: Visit) -> Filter:
    users = (visit.field("users") or "").replace(",", " ").split()
    return Filter(
        level=visit.field("level") or "", users=users or None, team=visit.field("team"), model=visit.field("model")
    )


def _changes(visit: Visit, preview: Preview) -> list[Change]:
    return [
        Change(
            label=target.label,
            now=amount_of(visit, preview.kind, target.amount),
            boost=None if target.boost_amount is None else amount_of(visit, preview.kind, target.boost_amount),
        )
        for target in preview.targets[:SHOWN]
    ]
