"""Limits that people set on their own keys, below those of the admins."""

from typing import Final

from admin_api.operations.keys import keys, owner_limits
from admin_api.operations.limits import limits
from admin_api.portal.flashes import Flash
from admin_api.portal.form_values import id_of
from admin_api.portal.forms import NONE, Refusal, refusal_of, typed
from admin_api.portal.limit_forms import kind_choices, limit_input_of
from admin_api.portal.rendering import Page, Redirect
from admin_api.portal.visits import Visit
from gateway.domain.errors import GatewayError

FIELDS: Final = ("kind", "amount", "model")
REFUSED: Final = (*FIELDS, "amount_usd", "confirm")


async def show_form(visit: Visit, refused: Refusal = NONE) -> Page:
    """The form that sets a limit on a key."""
    key = await keys.find_key(visit.pool, visit.actor, visit.request.path_params["id"])
    context = {
        "key": key,
        "kinds": kind_choices(visit),
        "models": [(model, model) for model in key.models],
        "sent": typed(visit, *FIELDS),
        "refused": refused,
    }
    title = visit.messages.gettext("Limit key %(key)s") % {"key": key.name or f"…{key.last_four}"}
    return Page("api_key_limit.html", title, context, refused.status)


async def set_limit(visit: Visit) -> Page | Redirect:
    """Sets it; for the whole key, or for one of its models."""
    key_id: int = visit.request.path_params["id"]
    set_it = owner_limits.set_own_limit if visit.actor.role == "user" else limits.set_limit
    try:
        input_, model = limit_input_of(visit), visit.field("model")
        level = "key_model" if model else "key"
        await set_it(visit.pool, visit.actor, input_, level=level, target=str(key_id), model=model, team=None)
    except GatewayError as error:
        return await show_form(visit, refusal_of(visit, error, *REFUSED))
    return Redirect(f"/api-keys/{key_id}", Flash("success", visit.messages.gettext("The limit has been set.")))


async def remove_limit(visit: Visit) -> Redirect:
    """One that the person set."""
    key_id: int = visit.request.path_params["id"]
    delete = owner_limits.delete_own_limit if visit.actor.role == "user" else limits.delete_limit
    await delete(visit.pool, visit.actor, id_of(visit, "limit"), as_of=visit.field("as_of"))
    return Redirect(f"/api-keys/{key_id}", Flash("success", visit.messages.gettext("The limit has been removed.")))
