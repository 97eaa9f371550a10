"""The person's subscriptions."""

from typing import cast

from admin_api.operations import subscriptions
from admin_api.operations.validation import invalid
from admin_api.portal.flashes import Flash
from admin_api.portal.rendering import Page, Redirect
from admin_api.portal.subscription_texts import colour_of, text_of
from admin_api.portal.visits import Visit
from gateway.domain.subscriptions import Action

# What people do with their own; the rest is for admins.
OWN_ACTIONS = ("cancel", "request_review")


async def show_list(visit: Visit) -> Page:
    """Of the personal account, newest state and all."""
    page = await subscriptions.list_subscriptions(
        visit.pool, visit.actor, user=str(visit.user.id), limit=100, cursor=visit.query("cursor")
    )
    rows = [(row, text_of(visit, row.status), colour_of(row.status)) for row in page.rows]
    return Page(
        "subscriptions.html", visit.messages.gettext("Subscriptions"), {"rows": rows, "next_cursor": page.next_cursor}
    )


async def create(visit: Visit) -> Redirect:
    """Subscribes to the model of the form."""
    _ = visit.messages.gettext
    model = visit.field("model")
    if model is None:
        raise invalid("model", "Name a model.")
    made = await subscriptions.create_subscription(visit.pool, visit.actor, model=model)
    said = (
        _("You have subscribed to %(model)s.")
        if made.status == "active"
        else _("You have asked for access to %(model)s. An admin decides.")
    )
    return Redirect("/subscriptions", Flash("success", said % {"model": model}))


async def change(visit: Visit) -> Redirect:
    """Cancels, or asks for another look."""
    _ = visit.messages.gettext
    action = visit.request.path_params["action"].replace("-", "_")
    if action not in OWN_ACTIONS:
        raise invalid("action", "There is no such action.")
    changed = await subscriptions.change_subscription(
        visit.pool, visit.actor, visit.request.path_params["id"], cast("Action", action), reason=visit.field("reason")
    )
    said = _("Your subscription to %(model)s: %(status)s.")
    return Redirect(
        "/subscriptions",
        Flash("success", said % {"model": changed.model_name, "status": text_of(visit, changed.status)}),
    )
