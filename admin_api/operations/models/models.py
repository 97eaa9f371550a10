"""The model catalogue."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from admin_api.operations.actors import Actor, note, require_admin
from admin_api.operations.lookups import get_model
from admin_api.operations.pagination import Page, check_limit, page, parse_id_cursor
from admin_api.operations.preconditions import check_version, version_of
from admin_api.operations.validation import check_text, check_word, invalid
from admin_api.storage import models, offered_models, prices
from admin_api.storage.models import Model
from admin_api.storage.offered_models import CatalogueChoices, CatalogueFilter, ModelSort
from admin_api.storage.prices import PriceVersion
from gateway.domain.errors import GatewayError

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

MAX_DESCRIPTION: Final = 4000
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
    sort: ModelSort = "id",
    limit: int = 100,
    cursor: str | None = None,
) -> Page[OfferedModel]:
    """By id, or as `sort` says. Admins and read-only admins also see hidden, disabled and unlisted models."""
    check_limit(limit)
    check_word("sort", sort, offered_models.MODEL_SORTS)
    for name in CatalogueFilter.__slots__:
        # Postgres accepts neither NUL nor lone surrogates, so no row has such a name.
        if not (getattr(only, name) or "").isprintable():
            raise invalid(name, f"{name} contains characters that cannot be displayed.")
    if only.state is not None:
        check_word("state", only.state, offered_models.MODEL_STATES)
    async with pool.acquire() as connection:
        rows = await offered_models.list_catalogue(
            connection,
            after_id=parse_id_cursor(cursor),
            limit=limit + 1,
            everything=actor.role in SEE_EVERYTHING,
            only=only,
            sort=sort,
        )
        found = await prices.current_prices(connection, [model.id for model in rows])
    return page([OfferedModel(model, found.get(model.id)) for model in rows], limit, lambda row: row.model.id)


async def find_choices(pool: "Pool", actor: Actor) -> CatalogueChoices:
    """Of the models that `list_models` has for the actor."""
    async with pool.acquire() as connection:
        return await offered_models.find_choices(connection, everything=actor.role in SEE_EVERYTHING)


async def list_names(pool: "Pool", actor: Actor, *, limit: int) -> list[str]:
    """Of the models that `list_models` has for the actor, and nothing else of them."""
    check_limit(limit)
    async with pool.acquire() as connection:
        return await offered_models.list_names(connection, everything=actor.role in SEE_EVERYTHING, limit=limit)


async def find_model(pool: "Pool", actor: Actor, name: str) -> OfferedModel:
    """By its exact name. Raises GatewayError `not_found`, also for a model that the actor may not see."""
    async with pool.acquire() as connection:
        model = await get_model(connection, name)
        is_offered = model.enabled and model.listed and not model.hidden
        if not is_offered and actor.role not in SEE_EVERYTHING:
            raise GatewayError("not_found", f"There is no model '{name}'.", param="model")
        found = await prices.current_prices(connection, [model.id])
    return OfferedModel(model, found.get(model.id))


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
        price = (await prices.current_prices(connection, [old.id])).get(old.id)
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
