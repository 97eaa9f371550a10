"""The catalogue of models."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, cast
from urllib.parse import quote, urlencode

from admin_api.operations import subscriptions
from admin_api.operations.limits.uses import list_own_uses
from admin_api.operations.models import models
from admin_api.operations.models.models import OfferedModel
from admin_api.portal.limit_lines import LimitLine, lines_of, read_or_none
from admin_api.portal.model_texts import capability_text, mode_text
from admin_api.portal.price_texts import UnitPrice, known_prices, usd_of
from admin_api.portal.rendering import Page
from admin_api.portal.snippets import CLIENTS, snippet_of
from admin_api.portal.subscription_texts import colour_of, text_of
from admin_api.portal.texts import marked
from admin_api.portal.visits import Visit
from admin_api.storage.models import Model
from admin_api.storage.offered_models import CatalogueFilter, ModelSort
from admin_api.storage.subscriptions import Subscription

# By the way in which they are shown: how many stand on a page.
VIEWS: Final[Mapping[str, int]] = {"cards": 24, "table": 50}
PATH: Final = "/models"
# Beside that by name.
SORTS: Final[Mapping[ModelSort, str]] = {
    "newest": marked("Newest first"),
    "price": marked("Lowest price of input first"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """A model as a person sees it: with its prices, and their subscription if it has not ended."""

    model: Model
    mode: str | None
    capabilities: list[tuple[str, None]]
    prices: list[UnitPrice]
    input: Decimal | None
    output: Decimal | None
    subscription: Subscription | None
    status_text: str
    status_colour: str | None


async def show_list(visit: Visit) -> Page:
    """Those offered, filtered by the address, as cards or as a table."""
    only = CatalogueFilter(**{name: visit.query(name) for name in CatalogueFilter.__slots__})
    view = visit.choice("view", VIEWS)
    sort = visit.choice("sort", ("name", *SORTS))
    cursor, order = visit.query("cursor"), cast("ModelSort", sort)
    page = await models.list_models(visit.pool, visit.actor, only, sort=order, limit=VIEWS[view], cursor=cursor)
    mine = await _own_subscriptions(visit)
    context = {
        "only": only,
        "view": view,
        "sort": sort,
        "paths": {name: _path_of(only, name, visit.query("sort")) for name in VIEWS},
        "rows": [_row(visit, offered, mine.get(offered.model.name)) for offered in page.rows],
        **await _choices(visit),
        **visit.paging(page.next_cursor),
    }
    return Page("models.html", visit.messages.gettext("Models"), context)


async def _choices(visit: Visit) -> dict[str, Any]:
    """Of the filters and the order, as options; and how many models there are."""
    choices = await models.find_choices(visit.pool, visit.actor)
    return {
        "total": choices.models,
        "sorts": [(one, visit.messages.gettext(text)) for one, text in SORTS.items()],
        "providers": [(one, one) for one in choices.providers],
        "modes": [(one, mode_text(visit, one)) for one in choices.modes],
        "capabilities": [(one, capability_text(visit, one)) for one in choices.capabilities],
    }


async def show_one(visit: Visit) -> Page:
    """One model, what limits the person on it, and a call of it to copy."""
    offered = await models.find_model(visit.pool, visit.actor, visit.request.path_params["name"])
    mine = await _own_subscriptions(visit, offered.model.name)
    client = visit.choice("client", CLIENTS)
    context = {
        "one": _row(visit, offered, mine.get(offered.model.name)),
        "limits": await _own_limits(visit, offered.model.name) if mine else [],
        "clients": [(_snippet_path(offered, one), text) for one, text in CLIENTS.items()],
        "client_path": _snippet_path(offered, client),
        "snippet": snippet_of(visit, offered.model.name, offered.model.mode).of(client),
    }
    return Page("model.html", offered.model.name, context)


def _snippet_path(offered: OfferedModel, client: str) -> str:
    return f"{PATH}/{quote(offered.model.name)}?client={client}"


async def _own_limits(visit: Visit, model: str) -> list[LimitLine] | None:
    """Of the personal account, for calls of this model; a key may have its own beside them."""
    uses = await read_or_none(visit, lambda counters: list_own_uses(visit.pool, counters, visit.actor))
    if uses is None:
        return None
    held = [use for use in uses if use.row.account_kind == "personal" and use.row.api_key_id is None]
    return lines_of(visit, [use for use in held if use.row.model_name in (None, model)])


async def _own_subscriptions(visit: Visit, model: str | None = None) -> Mapping[str, Subscription]:
    page = await subscriptions.list_subscriptions(
        visit.pool, visit.actor, user=str(visit.user.id), model=model, limit=1000
    )
    return {row.model_name: row for row in page.rows if row.status not in ("cancelled", "expired")}


def _row(visit: Visit, offered: OfferedModel, subscription: Subscription | None) -> Row:
    model, price = offered.model, offered.price.price if offered.price else None
    return Row(
        model,
        mode_text(visit, model.mode) if model.mode else None,
        [(capability_text(visit, one), None) for one in model.capabilities],
        known_prices(visit, offered.price),
        usd_of(price, "input"),
        usd_of(price, "output"),
        subscription,
        text_of(visit, subscription.status) if subscription else "",
        colour_of(subscription.status) if subscription else None,
    )


def _path_of(only: CatalogueFilter, view: str, sort: str | None) -> str:
    kept = {name: getattr(only, name) for name in CatalogueFilter.__slots__} | {"sort": sort, "view": view}
    return f"{PATH}?{urlencode({name: value for name, value in kept.items() if value})}"
