"""The catalogue as admins see it: what is offered to whom, and models that LiteLLM has renamed."""

from typing import Any, Final
from urllib.parse import quote

from admin_api.operations.actors import require_reader
from admin_api.operations.models import models, rename
from admin_api.operations.models.models import OfferedModel
from admin_api.operations.preconditions import version_of
from admin_api.portal import conflicts
from admin_api.portal.flashes import Flash
from admin_api.portal.forms import NONE, Refusal, refusal_of
from admin_api.portal.model_state_texts import STATES, labels_of
from admin_api.portal.price_texts import SOURCES, known_prices
from admin_api.portal.rendering import Page, Redirect
from admin_api.portal.visits import Visit
from admin_api.portal.word_texts import choices, text_of
from admin_api.storage.offered_models import CatalogueFilter
from gateway.domain.errors import GatewayError

PAGE_ROWS: Final = 50
FILTERS: Final = ("search", "provider", "mode", "state")
FLAGS: Final = ("restricted", "hidden", "enabled")


async def show_list(visit: Visit) -> Page:
    """All, also those that users do not see."""
    require_reader(visit.actor)
    only = CatalogueFilter(**{name: visit.query(name) for name in FILTERS})
    page = await models.list_models(
        visit.pool, visit.actor, only, sort="name", limit=PAGE_ROWS, cursor=visit.query("cursor")
    )
    context = {
        "rows": [_row(visit, offered) for offered in page.rows],
        "chosen": {name: visit.query(name) or "" for name in FILTERS},
        "states": choices(visit, STATES, [("", visit.messages.gettext("All"))]),
        **visit.paging(page.next_cursor),
    }
    return Page("admin_models.html", visit.messages.gettext("Models and prices"), context)


async def show_one(visit: Visit, refused: Refusal = NONE) -> Page:
    """What an admin decides about a model; its price has a page of its own."""
    require_reader(visit.actor)
    offered = await models.find_model(visit.pool, visit.actor, name_of(visit))
    model = offered.model
    is_typed = refused is not NONE and visit.field(conflicts.FIELD) is not None
    context = {
        **_row(visit, offered),
        "flags": {flag: visit.field(flag) is not None if is_typed else getattr(model, flag) for flag in FLAGS},
        "description": (visit.field("description") if is_typed else model.description) or "",
        "as_of": version_of(offered),
        "change": await conflicts.other_change(visit, f"model:{model.id}", refused),
        "to": visit.field("to") or "",
        "may_change": visit.actor.role == "admin",
        "refused": refused,
    }
    title = visit.messages.gettext("Model %(name)s") % {"name": model.name}
    return Page("admin_model.html", title, context, refused.status)


async def update(visit: Visit) -> Page | Redirect:
    """The fields of the form, as of the version that it showed."""
    try:
        await models.update_model(
            visit.pool,
            visit.actor,
            name_of(visit),
            description=visit.field("description") or "",
            as_of=visit.field(conflicts.FIELD),
            **{flag: visit.field(flag) is not None for flag in FLAGS},
        )
    except GatewayError as error:
        return await show_one(visit, refusal_of(visit, error, "description"))
    return Redirect(path_of(name_of(visit)), Flash("success", visit.messages.gettext("Saved.")))


async def rename_one(visit: Visit) -> Page | Redirect:
    """What was given out by the old name goes on under the new one."""
    to = visit.field("to") or ""
    try:
        done = await rename.rename_model(
            visit.pool, visit.actor, name_of(visit), to, confirmed=visit.field("confirm") is not None
        )
    except GatewayError as error:
        return await show_one(visit, refusal_of(visit, error, "to", "confirm"))
    has = done.holdings
    said = visit.messages.gettext(
        "It is %(name)s now. Subscriptions: %(subscriptions)s, keys: %(keys)s, limits: %(limits)s."
    )
    values = {"name": done.offered.model.name, "subscriptions": has.subscriptions, "keys": has.keys}
    return Redirect(path_of(done.offered.model.name), Flash("success", said % (values | {"limits": has.limits})))


def name_of(visit: Visit) -> str:
    """The model of the page."""
    return str(visit.request.path_params["name"])


def path_of(name: str) -> str:
    """The page of a model, whose name may hold anything."""
    return f"/admin/models/name/{quote(name)}"


def _row(visit: Visit, offered: OfferedModel) -> dict[str, Any]:
    price = offered.price
    return {
        "model": offered.model,
        "path": path_of(offered.model.name),
        "price_path": f"/admin/models/price/{quote(offered.model.name)}",
        "labels": labels_of(visit, offered.model),
        "units": known_prices(visit, price),
        "source": text_of(visit, SOURCES, price.source) if price else None,
    }
