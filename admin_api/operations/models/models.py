"""The model catalogue, and the versions of prices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, cast

from admin_api.operations.actors import Actor, note, require_admin, require_reader
from admin_api.operations.lookups import get_model
from admin_api.operations.pagination import MAX_ID, Page, check_limit, page, parse_id_cursor
from admin_api.operations.preconditions import check_version, version_of
from admin_api.operations.validation import check_text, invalid
from admin_api.storage import models
from admin_api.storage.models import CatalogueFilter, Model, PriceVersion
from gateway.domain.errors import GatewayError
from gateway.domain.prices import CHARGES, PRICE_UNITS, SERVICE_TIERS, USUAL, Charge, Price, PriceTier

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

MAX_DESCRIPTION: Final = 4000
MAX_USD: Final = Decimal(1_000_000)
MAX_TIERS: Final = 100
SEE_EVERYTHING: Final = ("admin", "admin-readonly")
EVERYTHING: Final = CatalogueFilter()
FLAGS: Final = ("restricted", "hidden", "enabled", "description")


@dataclass(frozen=True, slots=True)
class OfferedModel:
    """A model and the price in force, None if it is unknown."""

    model: Model
    price: PriceVersion | None


async def list_models(
    pool: "Pool",
    actor: Actor,
    only: CatalogueFilter = EVERYTHING,
    *,
    limit: int = 100,
    cursor: str | None = None,
) -> Page[OfferedModel]:
    """By id. Admins and read-only admins also see hidden, disabled and unlisted models."""
    check_limit(limit)
    for name in CatalogueFilter.__slots__:
        # Postgres accepts neither NUL nor lone surrogates, so no row has such a name.
        if not (getattr(only, name) or "").isprintable():
            raise invalid(name, f"{name} contains characters that cannot be displayed.")
    async with pool.acquire() as connection:
        rows = await models.list_catalogue(
            connection,
            after_id=parse_id_cursor(cursor),
            limit=limit + 1,
            everything=actor.role in SEE_EVERYTHING,
            only=only,
        )
        prices = await models.current_prices(connection, [model.id for model in rows])
    return page([OfferedModel(model, prices.get(model.id)) for model in rows], limit, lambda row: row.model.id)


async def find_model(pool: "Pool", actor: Actor, name: str) -> OfferedModel:
    """By its exact name. Raises GatewayError `not_found`, also for a model that the actor may not see."""
    async with pool.acquire() as connection:
        model = await get_model(connection, name)
        is_offered = model.enabled and model.listed and not model.hidden
        if not is_offered and actor.role not in SEE_EVERYTHING:
            raise GatewayError("not_found", f"There is no model '{name}'.", param="model")
        prices = await models.current_prices(connection, [model.id])
    return OfferedModel(model, prices.get(model.id))


async def update_model(
    pool: "Pool",
    actor: Actor,
    name: str,
    *,
    restricted: bool | None = None,
    hidden: bool | None = None,
    enabled: bool | None = None,
    description: str | None = None,
    as_of: str | None = None,
) -> OfferedModel:
    """Changes the given fields; an empty description removes it. Model syncs leave them as they are. Raises
    GatewayError `not_found`, or `precondition_failed` if `as_of` does not match the model and its price."""
    require_admin(actor)
    async with pool.acquire() as connection, connection.transaction():
        found = await get_model(connection, name)
        await models.lock_model(connection, found.id)
        old = await get_model(connection, name)
        price = (await models.current_prices(connection, [old.id])).get(old.id)
        check_version(version_of(OfferedModel(old, price)), as_of)
        text = old.description
        if description is not None:
            text = check_text("description", description, maximum=MAX_DESCRIPTION, lines=True) or None
        new = replace(
            old,
            restricted=old.restricted if restricted is None else restricted,
            hidden=old.hidden if hidden is None else hidden,
            enabled=old.enabled if enabled is None else enabled,
            description=text,
        )
        changed = [flag for flag in FLAGS if getattr(old, flag) != getattr(new, flag)]
        if changed:
            await models.update_model_flags(connection, old.id, **{flag: getattr(new, flag) for flag in FLAGS})
            before, after = ({flag: getattr(state, flag) for flag in changed} for state in (old, new))
            await note(connection, actor, "model.update", "model", old.id, old=before, new=after)
            new = await get_model(connection, name)
    return OfferedModel(new, price)


async def set_price(
    pool: "Pool",
    actor: Actor,
    name: str,
    units: Mapping[str, Decimal | None],
    *,
    tiers: Sequence[PriceTier] = (),
    charge: str = "own",
) -> PriceVersion:
    """Creates a new version, which is in force at once. `units` are USD per unit; units left out have no price in it.
    `charge` says which figure is charged: the price's `own`, or the `higher` of it and LiteLLM's.

    An unchanged price creates no version. Raises GatewayError `validation_failed` or `not_found`.
    """
    require_admin(actor)
    wanted = _check_price(units, tiers, charge)
    async with pool.acquire() as connection, connection.transaction():
        model = await get_model(connection, name)
        await models.lock_model(connection, model.id)
        old = (await models.current_prices(connection, [model.id])).get(model.id)
        if old is not None and old.source == "admin" and replace(wanted, id=old.price.id) == old.price:
            return old
        new = await models.insert_price(connection, model.id, source="admin", price=wanted)
        await note(connection, actor, "price.set", "model", model.id, old=_audit_fields(old), new=_audit_fields(new))
    return new


async def list_prices(
    pool: "Pool", actor: Actor, name: str, *, limit: int = 100, cursor: str | None = None
) -> Page[PriceVersion]:
    """All versions of a model, newest first."""
    require_reader(actor)
    check_limit(limit)
    before = parse_id_cursor(cursor, first=MAX_ID)
    async with pool.acquire() as connection:
        model = await get_model(connection, name)
        rows = await models.list_prices(connection, model.id, before_id=before, limit=limit + 1)
    return page(rows, limit, lambda row: row.price.id)


def _check_price(units: Mapping[str, Decimal | None], tiers: Sequence[PriceTier], charge: str) -> Price:
    wanted: dict[str, Any] = {unit: _check_usd(unit, units.get(unit)) for unit in PRICE_UNITS}
    if not any(usd is not None for usd in wanted.values()):
        raise invalid("input", "Set the price of at least one unit. 0 is a price.")
    if charge not in CHARGES:
        raise invalid("charge", f"charge must be one of {', '.join(CHARGES)}.")
    if len(tiers) > MAX_TIERS or len({tier[:3] for tier in tiers}) < len(tiers):
        raise invalid("tiers", f"tiers must be at most {MAX_TIERS}, each with another unit, size or service tier.")
    for unit, above, service_tier, usd in tiers:
        _check_usd("tiers", usd)
        known = (USUAL, *SERVICE_TIERS.values())
        if unit not in PRICE_UNITS or not 0 <= above <= MAX_ID or service_tier not in known:
            raise invalid("tiers", "A tier has a unit, a size, and a service tier that is known or empty.")
        if (above, service_tier) == (0, USUAL):
            raise invalid("tiers", "A tier is of prompts above a size, of a service tier, or both.")
    return Price(id=0, **wanted, tiers=tuple(sorted(tiers)), charge=cast(Charge, charge))


def _check_usd(unit: str, usd: Decimal | None) -> Decimal | None:
    if usd is not None and not (usd.is_finite() and 0 <= usd <= MAX_USD and abs(usd.adjusted()) <= 30):
        raise invalid(unit, f"{unit} must be a price in USD per unit, from 0 to {MAX_USD}.")
    return usd


def _audit_fields(version: PriceVersion | None) -> dict[str, object] | None:
    if version is None:
        return None
    units = {unit: getattr(version.price, unit) for unit in PRICE_UNITS}
    about: dict[str, object] = {"source": version.source, "charge": version.price.charge}
    if version.price.tiers:
        about["tiers"] = [tier._asdict() for tier in version.price.tiers]
    return about | {unit: usd for unit, usd in units.items() if usd is not None}
