"""What is done with a webhook and its messages: test, new secret, delete; try a delivery again."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from admin_api.operations.actors import require_admin
from admin_api.operations.notifications import deliveries, webhooks
from admin_api.operations.notifications.channels import Sender
from admin_api.portal.flashes import Flash
from admin_api.portal.forms import refusal_of
from admin_api.portal.pages.admin_webhooks import show_one
from admin_api.portal.rendering import Page, Redirect
from admin_api.portal.visits import Visit
from admin_api.storage.delivery_reports import DeliveryReport
from gateway.domain.errors import GatewayError


async def act(visit: Visit) -> Page | Redirect:
    """One of ACTIONS."""
    require_admin(visit.actor)
    action: str = visit.request.path_params["action"]
    if action not in ACTIONS:
        raise GatewayError("not_found", f"A webhook has no action '{action[:50]}'.")
    try:
        return await ACTIONS[action](visit, visit.request.path_params["id"])
    except GatewayError as error:
        return await show_one(visit, refusal_of(visit, error))


async def retry(visit: Visit) -> Redirect:
    """A delivery, now."""
    row = await deliveries.retry_delivery(visit.pool, visit.actor, visit.request.path_params["id"])
    said = visit.messages.gettext("Delivery %(id)s is tried again now.") % {"id": row.id}
    return Redirect("/admin/webhooks/deliveries", Flash("success", said))


async def _test(visit: Visit, webhook_id: int) -> Redirect:
    settings = visit.settings
    rules = visit.request.app.state.webhook_rules
    sender = Sender(keys=settings.encryption_keys, rules=rules, ca_file=settings.webhook_ca_file)
    report = await webhooks.send_test(visit.pool, visit.actor, sender, webhook_id)
    return Redirect(f"/admin/webhooks/{webhook_id}", _result(visit, report))


def _result(visit: Visit, report: DeliveryReport) -> Flash:
    """What came of a test message, with what the receiver answered."""
    _ = visit.messages.gettext
    if report.status == "delivered":
        text = _("The test message was delivered: status %(status)s.") % {"status": report.last_status}
    else:
        text = _("The test message was not delivered: %(error)s") % {"error": report.last_error or "–"}
    if report.last_answer:
        text += " " + _("The receiver answered: %(answer)s") % {"answer": report.last_answer}
    return Flash("success" if report.status == "delivered" else "danger", text)


async def _renew(visit: Visit, webhook_id: int) -> Redirect:
    made = await webhooks.renew_secret(visit.pool, visit.actor, visit.settings.encryption_keys, webhook_id)
    said = visit.messages.gettext("This is the new signing secret. It is not shown again: copy it now.")
    return Redirect(f"/admin/webhooks/{webhook_id}", Flash("success", said, made.secret))


async def _delete(visit: Visit, webhook_id: int) -> Redirect:
    await webhooks.delete_webhook(visit.pool, visit.actor, webhook_id)
    said = visit.messages.gettext("The webhook has been deleted, with the messages that waited for it.")
    return Redirect("/admin/webhooks", Flash("success", said))


ACTIONS: Final[Mapping[str, Callable[[Visit, int], Awaitable[Redirect]]]] = {
    "test": _test,
    "renew-secret": _renew,
    "delete": _delete,
}
