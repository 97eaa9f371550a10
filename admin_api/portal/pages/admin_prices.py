"""The price of a model: ours beside LiteLLM's, all versions, and a preview of what a new one changes."""

from dataclasses import replace
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote
from zoneinfo import ZoneInfo

from admin_api.operations.models import models, prices
from admin_api.operations.models.price_fields import PRICE_FIELDS, parse_price
from admin_api.operations.models.price_input import PriceInput, ordinary_nano_usd
from admin_api.operations.models.prices import PriceChange
from admin_api.operations.validation import invalid
from admin_api.portal.flashes import Flash
from admin_api.portal.forms import NONE, Refusal, refusal_of
from admin_api.portal.pages.admin_models import name_of, path_of
from admin_api.portal.price_texts import CHARGES, COMMON, SOURCES, UnitPrice, known_prices, unit_prices
from admin_api.portal.rendering import Page, Redirect
from admin_api.portal.visits import Visit
from admin_api.portal.word_texts import choices, text_of
from admin_api.storage.prices import PriceVersion
from gateway.domain.errors import GatewayError

PAGE_ROWS: Final = 20
FIELDS: Final = (*PRICE_FIELDS.values(), "charge", "effective_at", "reason")
PREVIEW: Final = "preview"


async def show(visit: Visit, refused: Refusal = NONE, preview: PriceChange | None = None) -> Page:
    """The form has the price in force, or what was typed."""
    name = name_of(visit)
    offered = await models.find_model(visit.pool, visit.actor, name)
    versions = await prices.list_prices(visit.pool, visit.actor, name, limit=PAGE_ROWS, cursor=visit.query("cursor"))
    ours = offered.price
    litellm = next((one for one in versions.rows if one.source == "litellm" and one.price.is_known), None)
    units = unit_prices(visit, ours.price if ours else None, litellm.price if litellm else None)
    context = {
        "name": name,
        "model_path": path_of(name),
        "path": price_path(name),
        "units": units,
        "litellm": litellm,
        "is_ours": ours is not None and ours.source == "admin",
        "preview": _preview(visit, preview) if preview else None,
        **visit.paging(versions.next_cursor, price_path(name)),
        "may_change": visit.actor.role == "admin",
        "refused": refused,
        **_form(visit, units, ours),
        **_versions(visit, list(versions.rows)),
    }
    title = visit.messages.gettext("Price of %(name)s") % {"name": name}
    return Page("admin_price.html", title, context, refused.status)


async def update(visit: Visit) -> Page | Redirect:
    """A preview changes nothing; else a new version."""
    is_preview = visit.field("act") == PREVIEW
    try:
        change = await prices.set_price(
            visit.pool, visit.actor, name_of(visit), await _input(visit), is_preview=is_preview
        )
    except GatewayError as error:
        return await show(visit, refusal_of(visit, error, *FIELDS, "confirm"))
    if is_preview:
        return await show(visit, preview=change)
    _ = visit.messages.gettext
    said = _("The price is set.") if change.is_new else _("Nothing has changed: this is the price in force.")
    return Redirect(price_path(name_of(visit)), Flash("success", said))


async def undo(visit: Visit) -> Page | Redirect:
    """Takes back the version that was added last."""
    try:
        await prices.undo_price(
            visit.pool,
            visit.actor,
            name_of(visit),
            reason=visit.field("undo_reason"),
            confirmed=visit.field("undo_confirm") is not None,
        )
    except GatewayError as error:
        return await show(visit, refusal_of(visit, error))
    said = visit.messages.gettext("The price that was there before is back.")
    return Redirect(price_path(name_of(visit)), Flash("success", said))


def price_path(name: str) -> str:
    """The page of a model's price."""
    return f"/admin/models/price/{quote(name)}"


async def _input(visit: Visit) -> PriceInput:
    """What was typed. A field that was emptied takes its price away; one that was not filled in stays without."""
    current = (await models.find_model(visit.pool, visit.actor, name_of(visit))).price
    units = {}
    for unit, field in PRICE_FIELDS.items():
        text = visit.field(field)
        if text is not None:
            units[unit] = parse_price(unit, text)
        elif current is not None and getattr(current.price, unit) is not None:
            units[unit] = None
    return PriceInput(
        units=units,
        charge=visit.field("charge"),
        effective_at=_moment(visit),
        reason=visit.field("reason"),
        confirmed=visit.field("confirm") is not None,
    )


def _moment(visit: Visit) -> datetime | None:
    """As the field of a browser has it, in the person's time zone."""
    text = visit.field("effective_at")
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(visit.formats.zone))
    except ValueError:
        raise invalid("effective_at", visit.messages.gettext("Write a time as 2027-01-31T12:00.")) from None


def _form(visit: Visit, units: list[UnitPrice], ours: PriceVersion | None) -> dict[str, Any]:
    stored = {unit.field: unit.typed for unit in units} | {
        "charge": ours.price.charge if ours is not None and ours.source == "admin" else "own",
        "effective_at": "",
        "reason": "",
    }
    return {
        "sent": {name: visit.field(name) or "" for name in FIELDS} if visit.form is not None else stored,
        "common": [unit for unit in units if unit.unit in COMMON],
        "others": [unit for unit in units if unit.unit not in COMMON],
        "charges": choices(visit, CHARGES),
    }


def _preview(visit: Visit, change: PriceChange) -> dict[str, Any]:
    """What would be, and what is at that time; what an ordinary call costs before and then."""
    before = change.previous
    rows = unit_prices(visit, change.version.price, before.price if before else None)
    return {
        "rows": [row for row in rows if row.ours is not None or row.litellm is not None],
        "then": _cost(visit, change.version),
        "now": _cost(visit, before),
        "repriced": change.repriced,
        "effective_at": change.version.effective_at,
        "is_same": before is not None and replace(change.version.price, id=before.price.id) == before.price,
    }


def _cost(visit: Visit, version: PriceVersion | None) -> str | None:
    nano_usd = ordinary_nano_usd(version)
    return None if nano_usd is None else visit.formats.nano_usd(nano_usd)


def _versions(visit: Visit, rows: list[PriceVersion]) -> dict[str, Any]:
    """As a table, those added last first."""
    return {
        "versions": [
            (
                row,
                known_prices(visit, row),
                text_of(visit, SOURCES, row.source),
                text_of(visit, CHARGES, row.price.charge),
            )
            for row in rows
        ]
    }
