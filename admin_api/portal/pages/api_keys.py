"""The person's API keys: of their own account and of their teams."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, time
from textwrap import shorten
from typing import Final
from zoneinfo import ZoneInfo

from admin_api.operations import subscriptions
from admin_api.operations.keys import changes, keys
from admin_api.operations.playground.key_trials import KeyTrial, try_key
from admin_api.operations.validation import invalid
from admin_api.portal.flashes import Flash
from admin_api.portal.forms import NONE, Refusal, refusal_of, typed
from admin_api.portal.key_texts import state_of
from admin_api.portal.rendering import Page, Redirect
from admin_api.portal.visits import Visit
from admin_api.web.addresses import address_of
from gateway.domain.errors import GatewayError

FIELDS: Final = ("name", "models", "expires_at", "allowed_ips", "rpm", "tpm")
# Why a test call was not made: the page that shows the new secret comes again.
TRY_LATER: Final = ("conflict", "upstream_unavailable", "upstream_timeout", "upstream_error")
# Of a model's answer to a test call.
MAX_SHOWN: Final = 200


async def show_list(visit: Visit) -> Page:
    """Keys that still work and those that have ended, without archived ones."""
    page = await keys.list_keys(
        visit.pool, visit.actor, user=str(visit.user.id), limit=100, cursor=visit.query("cursor")
    )
    rows = [(key, *state_of(visit, key)) for key in page.rows]
    context = {"rows": rows, "next_cursor": page.next_cursor}
    return Page("api_keys.html", visit.messages.gettext("API keys"), context)


async def show_new(visit: Visit, refused: Refusal = NONE) -> Page:
    """The form for a new key."""
    active = await subscriptions.list_subscriptions(
        visit.pool, visit.actor, user=str(visit.user.id), status="active", limit=1000
    )
    models = [row.model_name for row in active.rows]
    chosen = visit.fields("models") if visit.form is not None else models
    context = {
        "models": [(one, one) for one in models],
        "chosen": chosen,
        "sent": typed(visit, *FIELDS),
        "refused": refused,
    }
    return Page("api_key_new.html", visit.messages.gettext("Create an API key"), context, refused.status)


async def create(visit: Visit) -> Page | Redirect:
    """A key of the person's own account, whose secret is shown on the next page, once."""
    _ = visit.messages.gettext
    try:
        made = await keys.create_key(visit.pool, visit.actor, visit.settings.peppers, _input(visit))
    except GatewayError as error:
        return await show_new(visit, refusal_of(visit, error, *FIELDS))
    said = _("This is your new key. It is not shown again: copy it now.")
    return Redirect(f"/api-keys/{made.row.id}", Flash("success", said, made.secret))


async def show_one(visit: Visit, refused: Refusal = NONE) -> Page:
    """One key, and what can be done with it."""
    key = await keys.find_key(visit.pool, visit.actor, visit.request.path_params["id"])
    text, colour = state_of(visit, key)
    title = key.name or visit.messages.gettext("Key …%(last_four)s") % {"last_four": key.last_four}
    context = {"key": key, "status_text": text, "status_colour": colour, "refused": refused}
    return Page("api_key.html", title, context, refused.status)


async def update(visit: Visit) -> Page | Redirect:
    """The key's name."""
    key_id: int = visit.request.path_params["id"]
    change = changes.KeyChange(name=visit.field("name") or "")
    try:
        await changes.update_key(visit.pool, visit.actor, key_id, change)
    except GatewayError as error:
        return await show_one(visit, refusal_of(visit, error, "name"))
    return Redirect(f"/api-keys/{key_id}", Flash("success", visit.messages.gettext("The key has been renamed.")))


async def act(visit: Visit) -> Redirect:
    """Rotates, revokes or archives."""
    action: str = visit.request.path_params["action"]
    if action not in ACTIONS:
        raise GatewayError("not_found", f"A key has no action '{action[:50]}'.")
    return await ACTIONS[action](visit, visit.request.path_params["id"])


async def _rotate(visit: Visit, key_id: int) -> Redirect:
    made = await changes.rotate_key(visit.pool, visit.actor, visit.settings.peppers, key_id)
    said = visit.messages.gettext("This is the key's new secret. It is not shown again: copy it now.")
    if made.row.previous_ends_at is not None:
        until = visit.formats.moment(made.row.previous_ends_at)
        said += " " + visit.messages.gettext("The earlier one works until %(time)s.") % {"time": until}
    return Redirect(f"/api-keys/{key_id}", Flash("success", said, made.secret))


async def _revoke(visit: Visit, key_id: int) -> Redirect:
    await keys.revoke_key(visit.pool, visit.actor, key_id)
    said = visit.messages.gettext("The key has been revoked: every gateway refuses it within a second.")
    return Redirect("/api-keys", Flash("success", said))


async def _try(visit: Visit, key_id: int) -> Redirect:
    """One call with the new secret, which the page that shows it sends back; the next page shows it again."""
    secret, link = visit.field("secret") or "", visit.request.app.state.gateway_link
    address = address_of(visit.request)
    try:
        tried = await try_key(visit.pool, link, visit.actor, visit.settings.peppers, key_id, secret, address=address)
        flash = _trial(visit, tried, secret)
    except GatewayError as error:
        if error.code not in TRY_LATER:
            raise
        flash = Flash("danger", visit.in_language(error.message), secret)
    return Redirect(f"/api-keys/{key_id}", flash)


def _trial(visit: Visit, tried: KeyTrial, secret: str) -> Flash:
    _, refused = visit.messages.gettext, tried.answer.refused
    if refused is not None:
        about = {"why": refused.message, "request_id": tried.answer.request_id}
        return Flash("danger", _("The call was refused: %(why)s (%(request_id)s)") % about, secret)
    shown = {"model": tried.model, "text": shorten(tried.answer.text, MAX_SHOWN, placeholder="…")}
    return Flash("success", _("The key works: %(model)s answered “%(text)s”.") % shown, secret)


async def _archive(visit: Visit, key_id: int) -> Redirect:
    await changes.archive_key(visit.pool, visit.actor, key_id)
    return Redirect("/api-keys", Flash("success", visit.messages.gettext("The key is no longer listed.")))


ACTIONS: Final[Mapping[str, Callable[[Visit, int], Awaitable[Redirect]]]] = {
    "rotate": _rotate,
    "revoke": _revoke,
    "try": _try,
    "archive": _archive,
}


def _input(visit: Visit) -> keys.KeyInput:
    networks = (visit.field("allowed_ips") or "").replace(",", " ").split()
    return keys.KeyInput(
        models=visit.fields("models"),
        name=visit.field("name") or "",
        allowed_ips=networks,
        expires_at=_end_of_day(visit, "expires_at"),
        rpm=_count(visit, "rpm"),
        tpm=_count(visit, "tpm"),
    )


def _end_of_day(visit: Visit, name: str) -> datetime | None:
    """The last second of a day in the person's time zone."""
    text = visit.field(name)
    if text is None:
        return None
    try:
        day = datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007  a day alone
    except ValueError:
        raise invalid(name, visit.messages.gettext("Write a day as 2027-01-31.")) from None
    return datetime.combine(day, time(23, 59, 59), ZoneInfo(visit.formats.zone))


def _count(visit: Visit, name: str) -> int | None:
    text = visit.field(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise invalid(name, visit.messages.gettext("Write a whole number."))
    return int(text)
