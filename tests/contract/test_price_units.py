"""A unit of price that is added to gateway/domain/prices.py is named, and charged, wherever it has to be."""

import inspect
from dataclasses import fields
from decimal import Decimal
from typing import Any

import asyncpg
from conftest import Database

from admin_api.cli import prices as cli
from admin_api.operations.models.price_fields import UNIT_OF
from admin_api.portal.price_texts import UNITS
from admin_api.routes.prices import NewPrice
from admin_api.schemas.prices import PriceView
from gateway.domain.calls import COUNTS, NO_USAGE, Usage
from gateway.domain.money import NANO_USD
from gateway.domain.prices import PRICE_UNITS, Price, UnitFacts, cost_nano_usd
from tests.contract.places import Places, read_columns

NOT_UNITS = {
    "id", "model_id", "effective_at", "source", "charge", "tiers", "tier", "unusable", "created_at", "model",
    "ordinary_call_usd", "replace", "corrects", "reason", "confirm", "preview",
}  # fmt: skip


async def test_every_unit_is_named_in_all_its_places(database: Database) -> None:
    places = Places("units of price")
    connection = await asyncpg.connect(database.owner_url)
    columns = await read_columns(connection, "model_prices")
    await connection.close()
    for found, place in (
        ({field.name for field in fields(Price) if field.init}, "gateway/domain/prices.py, Price"),
        (columns, "a migration: model_prices"),
        (PriceView.model_fields, "admin_api/schemas/prices.py, PriceView"),
        (NewPrice.model_fields, "admin_api/routes/prices.py, NewPrice"),
        (set(inspect.signature(cli.set_).parameters) - {"as_json"}, "admin_api/cli/prices.py, prices set"),
        (UNITS, "admin_api/portal/price_texts.py, UNITS"),
    ):
        places.need_same({UNIT_OF.get(name, name) for name in set(found) - NOT_UNITS}, PRICE_UNITS, place)
    counted = set(COUNTS)
    for unit, facts in PRICE_UNITS.items():
        places.need(
            facts.counts is None or facts.counts in counted, f"gateway/domain/calls.py, Usage.{facts.counts}", unit
        )
        places.need(facts.whole is None or facts.whole in PRICE_UNITS, "gateway/domain/prices.py, whole", unit)
    try:
        cost_nano_usd(Price(id=1), NO_USAGE)
    except (AttributeError, ValueError):
        places.need(False, "gateway/domain/prices.py, cost_nano_usd", "a rate of each unit")
    else:
        for unit, facts in PRICE_UNITS.items():
            places.need(costs_a_dollar(unit, facts), "gateway/domain/prices.py, cost_nano_usd", unit)
    places.report()


def counted_in(facts: UnitFacts) -> dict[str, Any]:
    """One of the unit, which is also one of what it is a part of."""
    own = {facts.counts: 10**facts.scale} if facts.counts else {}
    return own if facts.whole is None else counted_in(PRICE_UNITS[facts.whole]) | own


def costs_a_dollar(unit: str, facts: UnitFacts) -> bool:
    """Whether one of the unit costs its price, and nothing where the price of everything else is known."""
    try:
        usage = NO_USAGE if facts.counts is None else Usage(**counted_in(facts))
        return cost_nano_usd(Price(id=1, **{unit: Decimal(1)}), usage) == NANO_USD
    except TypeError:
        return False
