"""Which e-mails the person gets; alerts stand on pages all the same."""

from admin_api.operations.notifications import email_choices
from admin_api.portal.flashes import Flash
from admin_api.portal.rendering import Page, Redirect
from admin_api.portal.visits import Visit
from admin_api.portal.word_texts import EVENTS, text_of

PATH = "/settings/notifications"


async def show(visit: Visit) -> Page:
    """A check for each event that the person could get an e-mail about."""
    rows = await email_choices.list_choices(visit.pool, visit.actor)
    choices = [(one, text_of(visit, EVENTS, one.event)) for one in rows]
    context = {
        "choices": choices,
        "wanted": [text for one, text in choices if one.email],
        "may_change": visit.actor.role != "admin-readonly",
        "sends_mail": visit.settings.smtp_url is not None,
    }
    return Page("own_notifications.html", visit.messages.gettext("Notifications"), context)


async def update(visit: Visit) -> Redirect:
    """Those checked are wanted, the others that were shown are not."""
    chosen = set(visit.fields("wanted"))
    emails = {event: event in chosen for event in visit.fields("shown")}
    await email_choices.update_choices(visit.pool, visit.actor, emails)
    return Redirect(PATH, Flash("success", visit.messages.gettext("Saved.")))
