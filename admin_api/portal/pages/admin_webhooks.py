"""Webhooks: where notifications go besides e-mail; what became of each message."""

from typing import Any, Final

from admin_api.operations.actors import require_admin
from admin_api.operations.notifications import deliveries, webhooks
from admin_api.operations.notifications.events import EVENTS as ALL_EVENTS
from admin_api.operations.preconditions import version_of
from admin_api.portal import conflicts
from admin_api.portal.flashes import Flash
from admin_api.portal.forms import NONE, Refusal, refusal_of, typed
from admin_api.portal.rendering import Page, Redirect
from admin_api.portal.visits import Visit
from admin_api.portal.word_texts import DELIVERY_STATUSES, EVENTS, FORMATS, choices, text_of
from admin_api.storage.delivery_reports import DeliveryReport
from admin_api.storage.webhooks import Webhook
from gateway.domain.errors import GatewayError

PAGE_ROWS: Final = 50
# Deliveries shown with a webhook: the newest.
RECENT: Final = 20
FIELDS: Final = ("url", "format", "user", "team", "events")
COLOURS: Final = {"delivered": "green", "failed": "red", "waiting": "orange"}


async def show_list(visit: Visit) -> Page:
    """All, also those of single accounts."""
    page = await webhooks.list_webhooks(visit.pool, visit.actor, limit=PAGE_ROWS, cursor=visit.query("cursor"))
    context = {
        "rows": [(row, text_of(visit, FORMATS, row.format), _event_texts(visit, row)) for row in page.rows],
        **visit.paging(page.next_cursor),
        "may_change": visit.actor.role == "admin",
    }
    return Page("admin_webhooks.html", visit.messages.gettext("Webhooks"), context)


async def show_new(visit: Visit, refused: Refusal = NONE) -> Page:
    """The form for a new one."""
    require_admin(visit.actor)
    context = {
        "sent": typed(visit, *FIELDS),
        "chosen": visit.fields("events") if visit.form is not None else list(ALL_EVENTS),
        "refused": refused,
        **_choices(visit),
    }
    return Page("admin_webhook_new.html", visit.messages.gettext("Create a webhook"), context, refused.status)


async def create(visit: Visit) -> Page | Redirect:
    """The next page shows its signing secret, once."""
    try:
        made = await webhooks.create_webhook(
            visit.pool,
            visit.actor,
            visit.settings.encryption_keys,
            visit.request.app.state.webhook_rules,
            url=visit.field("url") or "",
            events=visit.fields("events"),
            form=visit.field("format") or "standard",
            user=visit.field("user"),
            team=visit.field("team"),
        )
    except GatewayError as error:
        return await show_new(visit, refusal_of(visit, error, *FIELDS))
    said = visit.messages.gettext("This is the signing secret. It is not shown again: copy it now.")
    return Redirect(f"/admin/webhooks/{made.webhook.id}", Flash("success", said, made.secret))


async def show_one(visit: Visit, refused: Refusal = NONE) -> Page:
    """One webhook, and its newest messages."""
    webhook = await webhooks.find_webhook(visit.pool, visit.actor, visit.request.path_params["id"])
    sent = await deliveries.list_deliveries(visit.pool, visit.actor, webhook=webhook.id, limit=RECENT)
    is_typed = refused is not NONE and visit.field(conflicts.FIELD) is not None
    context = {
        "webhook": webhook,
        "sent": typed(visit, "url", "format") if is_typed else {"url": webhook.url, "format": webhook.format},
        "chosen": visit.fields("events") if is_typed else webhook.events,
        "is_enabled": visit.field("enabled") is not None if is_typed else webhook.enabled,
        "event_texts": _event_texts(visit, webhook),
        "as_of": version_of(webhook),
        "change": await conflicts.other_change(visit, f"webhook:{webhook.id}", refused),
        "deliveries": delivery_rows(visit, sent.rows),
        "may_change": visit.actor.role == "admin",
        "refused": refused,
        **_choices(visit),
    }
    title = visit.messages.gettext("Webhook %(id)s") % {"id": webhook.id}
    return Page("admin_webhook.html", title, context, refused.status)


async def update(visit: Visit) -> Page | Redirect:
    """The fields of the form, as of the version that it showed."""
    webhook_id: int = visit.request.path_params["id"]
    try:
        await webhooks.update_webhook(
            visit.pool,
            visit.actor,
            visit.request.app.state.webhook_rules,
            webhook_id,
            url=visit.field("url") or "",
            events=visit.fields("events"),
            form=visit.field("format"),
            enabled=visit.field("enabled") is not None,
            as_of=visit.field(conflicts.FIELD),
        )
    except GatewayError as error:
        return await show_one(visit, refusal_of(visit, error, *FIELDS))
    return Redirect(f"/admin/webhooks/{webhook_id}", Flash("success", visit.messages.gettext("Saved.")))


async def show_deliveries(visit: Visit) -> Page:
    """Of all channels, newest first."""
    _ = visit.messages.gettext
    status = visit.query("status")
    page = await deliveries.list_deliveries(
        visit.pool, visit.actor, status=status, limit=PAGE_ROWS, cursor=visit.query("cursor")
    )
    context = {
        "rows": delivery_rows(visit, page.rows),
        "status": status or "",
        "statuses": choices(visit, DELIVERY_STATUSES, [("", _("All"))]),
        **visit.paging(page.next_cursor),
        "sends_mail": visit.settings.smtp_url is not None,
        "may_change": visit.actor.role == "admin",
    }
    return Page("admin_deliveries.html", _("Deliveries"), context)


def delivery_rows(visit: Visit, rows: Any) -> list[tuple[DeliveryReport, str, str, str | None]]:
    """Each with the texts of its event and status, and the status's colour."""
    return [
        (
            row,
            text_of(visit, EVENTS, row.event),
            text_of(visit, DELIVERY_STATUSES, row.status),
            COLOURS.get(row.status),
        )
        for row in rows
    ]


def _event_texts(visit: Visit, webhook: Webhook) -> list[str]:
    return [text_of(visit, EVENTS, event) for event in webhook.events]


def _choices(visit: Visit) -> dict[str, Any]:
    return {
        "events": [(event, text_of(visit, EVENTS, event)) for event in ALL_EVENTS],
        "formats_of_webhooks": choices(visit, FORMATS),
    }
