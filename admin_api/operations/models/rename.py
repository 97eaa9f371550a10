"""A model that LiteLLM has under another name now: everything goes on under that name, in one act."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from admin_api.operations.actors import Actor, note, require_admin
from admin_api.operations.lookups import get_model
from admin_api.operations.models.models import OfferedModel
from admin_api.operations.validation import check_text, invalid
from admin_api.storage import model_renames, models
from admin_api.storage import prices as price_rows
from admin_api.storage.model_renames import Holdings
from gateway.domain.errors import GatewayError

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

MAX_NAME: Final = 255


@dataclass(frozen=True, slots=True)
class Renamed:
    """The model under its new name, and how many subscriptions, keys, limits and prices go by it now."""

    offered: OfferedModel
    holdings: Holdings


async def rename_model(pool: "Pool", actor: Actor, name: str, to: str) -> Renamed:
    """Subscriptions, keys, limits, prices, what an admin decided, and usage stay with the model, whose name changes. If
    the new name is in the catalogue already, as after a sync, what was given out by it moves to the model as well.

    Raises GatewayError `not_found`, `validation_failed`, or `conflict` if LiteLLM still has the old name and is not
    known to have the new one.
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
        if other is None and model.listed:
            message = f"LiteLLM still has '{name}', and '{wanted}' is unknown. Rename it there and sync models first."
            raise GatewayError("conflict", message, param="to")
        new: dict[str, object] = {"name": wanted}
        if other is not None:
            await models.lock_model(connection, other.id)
            moved = await model_renames.absorb(connection, model.id, other.id, wanted, actor=actor.name)
            new |= {"merged_model_id": other.id, "moved": asdict(moved)}
        await model_renames.rename(connection, model.id, wanted)
        holdings = await model_renames.count_holdings(connection, model.id)
        new |= asdict(holdings)
        await note(connection, actor, "model.rename", "model", model.id, old={"name": name}, new=new)
        renamed = await get_model(connection, wanted)
        price = (await price_rows.current_prices(connection, [model.id])).get(model.id)
    return Renamed(OfferedModel(renamed, price), holdings)
