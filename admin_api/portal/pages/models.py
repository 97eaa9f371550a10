"""The catalogue of models."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final
from urllib.parse import urlencode

from admin_api.operations import subscriptions
from admin_api.operations.models import models
from admin_api.operations.models.models import OfferedModel
from admin_api.portal.rendering import Page
from admin_api.portal.subscription_texts import colour_of, text_of
from admin_api.portal.visits import Visit
from admin_api.schemas.models import ModelView
from admin_api.storage.models import CatalogueFilter, Model
from admin_api.storage.subscriptions import Subscription

PAGE_ROWS: Final = 50
# What a model can do, as LiteLLM names it.
CAPABILITIES: Final = ("function_calling", "vision", "reasoning", "response_schema", "audio_input", "web_search")


@dataclass(frozen=True, slots=True)
class Row:
    """A model, its prices for a million tokens, and the person's subscription to it."""

    model: Model
    input: Decimal | None
    output: Decimal | None
    subscription: Subscription | None
    status_text: str
    status_colour: str | None


async def show_list(visit: Visit) -> Page:
    """Those offered, filtered by the address."""
    only = CatalogueFilter(
        search=visit.query("search"), provider=visit.query("provider"), capability=visit.query("capability")
    )
    page = await models.list_models(visit.pool, visit.actor, only, limit=PAGE_ROWS, cursor=visit.query("cursor"))
    mine = await _own_subscriptions(visit)
    context = {
        "only": only,
        "rows": [_row(visit, offered, mine.get(offered.model.name)) for offered in page.rows],
        "providers": sorted({(one.model.provider, one.model.provider) for one in page.rows if one.model.provider}),
        "capabilities": [(name, name.replace("_", " ")) for name in CAPABILITIES],
        "next_path": _path_of(only, page.next_cursor) if page.next_cursor else None,
    }
    return Page("models.html", visit.messages.gettext("Models"), context)


async def show_one(visit: Visit) -> Page:
    """One model."""
    offered = await models.find_model(visit.pool, visit.actor, visit.request.path_params["name"])
    mine = await _own_subscriptions(visit, offered.model.name)
    context = {"one": _row(visit, offered, mine.get(offered.model.name)), "view": ModelView.of(offered)}
    return Page("model.html", offered.model.name, context)


async def _own_subscriptions(visit: Visit, model: str | None = None) -> Mapping[str, Subscription]:
    page = await subscriptions.list_subscriptions(
        visit.pool, visit.actor, user=str(visit.user.id), model=model, limit=1000
    )
    return {row.model_name: row for row in page.rows}


def _row(visit: Visit, offered: OfferedModel, subscription: Subscription | None) -> Row:
    price = ModelView.of(offered).price
    is_open = subscription is not None and subscription.status not in ("cancelled", "expired")
    return Row(
        offered.model,
        Decimal(price.input_per_million_usd) if price and price.input_per_million_usd is not None else None,
        Decimal(price.output_per_million_usd) if price and price.output_per_million_usd is not None else None,
        subscription if is_open else None,
        text_of(visit, subscription.status) if subscription else "",
        colour_of(subscription.status) if subscription else None,
    )


def _path_of(only: CatalogueFilter, cursor: str) -> str:
    kept = {name: getattr(only, name) for name in CatalogueFilter.__slots__ if getattr(only, name)}
    return f"/models?{urlencode(kept | {'cursor': cursor})}"
