"""Versions of models' prices. Rows are only added; the one in force at a time is that of the last `effective_at`
before it, and of several of one time the one that was added last."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from gateway.domain.prices import PRICE_COLUMNS, PRICE_UNITS, Price, price_of, write_tiers

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor

PriceSource = Literal["litellm", "admin"]
PRICE_SOURCES: Final = get_args(PriceSource)


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceVersion:
    """One version of a model's price."""

    model_id: int
    effective_at: datetime
    created_at: datetime
    source: PriceSource
    price: Price


_PRICE_COLUMNS: Final = ("model_id", "effective_at", "created_at", *PRICE_COLUMNS)
_PRICE: Final = ", ".join(_PRICE_COLUMNS)

LIST_PRICES: Final = f"""
SELECT {_PRICE} FROM model_prices WHERE model_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3
"""


async def list_prices(executor: "Executor", model_id: int, *, before_id: int, limit: int) -> list[PriceVersion]:
    """Versions of one model, newest first, those before `before_id`."""
    return [_price_version(row) for row in await executor.fetch(LIST_PRICES, model_id, before_id, limit)]


CURRENT_PRICES: Final = f"""
SELECT {", ".join(f"p.{name}" for name in _PRICE_COLUMNS)}
FROM models m CROSS JOIN LATERAL (
    SELECT {_PRICE} FROM model_prices WHERE model_id = m.id AND effective_at <= clock_timestamp()
    ORDER BY effective_at DESC, id DESC LIMIT 1) AS p
WHERE $1::bigint[] IS NULL OR m.id = ANY($1)
"""


async def current_prices(executor: "Executor", model_ids: Sequence[int] | None = None) -> dict[int, PriceVersion]:
    """The version in force, by model id; of all models if none are named. A model without a price is left out."""
    rows = await executor.fetch(CURRENT_PRICES, None if model_ids is None else list(model_ids))
    return {row["model_id"]: _price_version(row) for row in rows}


PRICE_AT: Final = f"""
SELECT {_PRICE} FROM model_prices
WHERE model_id = $1 AND effective_at <= coalesce($2::timestamptz, clock_timestamp()) AND id < $3
ORDER BY effective_at DESC, id DESC LIMIT 1
"""


async def price_at(
    executor: "Executor", model_id: int, at: datetime | None, *, before_id: int = 2**63 - 1
) -> PriceVersion | None:
    """The version in force at a time, None: now; only of those that were added before `before_id`."""
    row = await executor.fetchrow(PRICE_AT, model_id, at, before_id)
    return _price_version(row) if row else None


FIND_PRICE: Final = f"""
SELECT {_PRICE} FROM model_prices WHERE model_id = $1 AND ($2::bigint IS NULL OR id = $2) ORDER BY id DESC LIMIT 1
"""


async def find_price(executor: "Executor", model_id: int, price_id: int | None) -> PriceVersion | None:
    """A version of a model; without an id the one that was added last."""
    row = await executor.fetchrow(FIND_PRICE, model_id, price_id)
    return _price_version(row) if row else None


LAST_LITELLM_PRICE: Final = f"""
SELECT {_PRICE} FROM model_prices WHERE model_id = $1 AND source = 'litellm' ORDER BY effective_at DESC, id DESC LIMIT 1
"""


async def last_litellm_price(executor: "Executor", model_id: int) -> PriceVersion | None:
    """What a sync read last, whatever an admin set since."""
    row = await executor.fetchrow(LAST_LITELLM_PRICE, model_id)
    return _price_version(row) if row else None


LIST_PRICES_OF_TIMES: Final = f"""
SELECT {_PRICE} FROM model_prices WHERE model_id = $1 ORDER BY effective_at, id
"""


async def list_prices_of_times(executor: "Executor", model_id: int) -> list[PriceVersion]:
    """All versions of a model in the order of their times; of several of one time the last one counts."""
    return [_price_version(row) for row in await executor.fetch(LIST_PRICES_OF_TIMES, model_id)]


# `effective_at` is Postgres's clock at this moment: the app's role may give it only through the function below.
INSERT_PRICE: Final = f"""
INSERT INTO model_prices (model_id, source, charge, tiers, unusable, {", ".join(PRICE_UNITS)})
VALUES ($1, $2, $3, $4, $5, {", ".join(f"${n}" for n in range(6, 6 + len(PRICE_UNITS)))})
RETURNING {_PRICE}
"""
INSERT_DATED_PRICE: Final = f"""
SELECT {_PRICE} FROM add_dated_price($1::jsonb, $2::timestamptz)
"""


async def insert_price(
    executor: "Executor", model_id: int, *, source: PriceSource, price: Price, effective_at: datetime | None = None
) -> PriceVersion:
    """A new version of a model that is locked, with an id of its own; in force at once, or from `effective_at`."""
    tiers, unusable = write_tiers(price.tiers), list(price.unusable) or None
    units = {unit: getattr(price, unit) for unit in PRICE_UNITS}
    if effective_at is None:
        row = await executor.fetchrow(INSERT_PRICE, model_id, source, price.charge, tiers, unusable, *units.values())
    else:
        fields: dict[str, Any] = {unit: None if usd is None else str(usd) for unit, usd in units.items()}
        fields |= {"model_id": model_id, "source": source, "charge": price.charge, "unusable": unusable}
        fields["tiers"] = None if tiers is None else json.loads(tiers)
        row = await executor.fetchrow(INSERT_DATED_PRICE, json.dumps(fields), effective_at)
    if row is None:
        raise RuntimeError("INSERT … RETURNING returned nothing")
    return _price_version(row)


def _price_version(row: Any) -> PriceVersion:
    about = {name: row[name] for name in ("model_id", "effective_at", "created_at", "source")}
    return PriceVersion(price=price_of(row), **about)
