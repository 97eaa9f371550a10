"""A model that LiteLLM has under another name now: everything goes on under that name, in one act."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from admin_api.operations.actors import Actor, note, require_admin
from admin_api.operations.lookups import get_model
from admin_api.operations.models.models import OfferedModel
from admin_api.operations.validation import check_text, invalid, unconfirmed
from admin_api.storage import model_renames, models
from admin_api.storage import prices as price_rows
from admin_api.storage.model_renames import Holdings
from admin_api.storage.models import Model
from gateway.domain.errors import GatewayError

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor, Pool

MAX_NAME: Final = 255


@dataclass(frozen=True, slots=True)
class Renamed:
    """The model under its new name, and how many subscriptions, keys, limits and prices go by it now."""

    offered: OfferedModel
    holdings: Holdings


async def rename_model(pool: "Pool", actor: Actor, name: str, to: str, *, confirmed: bool = False) -> Renamed:
    """Subscriptions, keys, limits, prices, what an admin decided, and usage stay with the model, whose name changes. If
    the new name is in the catalogue already, as after a sync, what was given out by it moves to the model as well, and
    the price that an admin has set for it counts. That cannot be undone, so it must be confirmed.

    Raises GatewayError `not_found`, `validation_failed`, or `conflict` if LiteLLM still has the old name, or a model of
    another mode under the new one.
    """
    require_admin(actor)
    wanted = check_text("to", to, least=1, maximum=MAX_NAME)
    if "," in wanted or wanted == name:
        raise invalid("to", "to must be another name, without commas.")
    async with pool.acquire() as connection, connection.transaction():
        # A sync would add the new name meanwhile.
        await models.lock_sync(connection)
        model = await get_model(connection, name)
        await models.lock_model(connection, model.id)
        other = await models.find_model(connection, name=wanted)
        if model.listed:
            message = f"LiteLLM still has '{name}' at the last sync. Rename it there and sync models first."
            raise GatewayError("conflict", message, param="model")
        new: dict[str, object] = {"name": wanted}
        if other is not None:
            await models.lock_model(connection, other.id)
            new |= await _merge(connection, actor, model, other, confirmed=confirmed)
        await model_renames.rename(connection, model.id, wanted)
        holdings = await model_renames.count_holdings(connection, model.id)
        new |= asdict(holdings)
        await note(connection, actor, "model.rename", "model", model.id, old={"name": name}, new=new)
        renamed = await get_model(connection, wanted)
        price = (await price_rows.current_prices(connection, [model.id])).get(model.id)
    return Renamed(OfferedModel(renamed, price), holdings)


async def _merge(
    executor: "Executor", actor: Actor, model: Model, other: Model, *, confirmed: bool
) -> dict[str, object]:
    """Gives the model what the other one has, whose name it takes. Returns fields of the audit row."""
    if None not in (model.mode, other.mode) and model.mode != other.mode:
        message = f"'{model.name}' is of mode {model.mode}, '{other.name}' of mode {other.mode}: it is another model."
        raise GatewayError("conflict", message, param="to")
    price = (await price_rows.current_prices(executor, [other.id])).get(other.id)
    is_priced = price is not None and price.source == "admin"
    has = await model_renames.count_holdings(executor, other.id)
    if not confirmed and (has.subscriptions or has.keys or has.limits or is_priced):
        own = f"{has.subscriptions} subscriptions, {has.keys} keys, {has.limits} limits"
        own += " and a price that an admin has set" if is_priced else ""
        message = f"'{other.name}' has {own} already. They move to the renamed model, which cannot be undone."
        raise unconfirmed(message)
    moved = await model_renames.absorb(executor, model.id, other.id, other.name, actor=actor.name)
    fields: dict[str, object] = {"merged_model_id": other.id, "moved": asdict(moved)}
    if price is not None and is_priced:
        version = await price_rows.insert_price(executor, model.id, source="admin", price=price.price)
        fields["price_id"] = version.price.id
    return fields
