"""Settings of the whole system, and how long what is kept."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from admin_api.operations import audit, runtime_settings
from admin_api.operations.limits.parsing import parse_usd
from admin_api.operations.models import sync
from admin_api.operations.notifications import outbox
from admin_api.operations.preconditions import version_of
from admin_api.operations.runtime_settings import RuntimeSettings
from admin_api.operations.usage import refusals
from admin_api.portal import conflicts
from admin_api.portal.flashes import Flash
from admin_api.portal.form_values import count_in
from admin_api.portal.forms import NONE, Refusal, refusal_of, typed
from admin_api.portal.rendering import Page, Redirect
from admin_api.portal.setting_texts import GROUPS, SETTINGS, Setting
from admin_api.portal.texts import marked
from admin_api.portal.visits import Visit
from gateway.domain.errors import GatewayError
from gateway.domain.money import usd_text

NAMES: Final = tuple(setting.name for setting in SETTINGS)
ACCESS: Final = {
    "open": marked("open: all users subscribe themselves"),
    "restricted": marked("restricted: an admin approves each subscription"),
    "hidden": marked("hidden: only admins see it and subscribe others"),
}
KEPT: Final[Mapping[str, timedelta]] = {
    marked("Audit log, at least"): audit.KEPT,
    marked("Refused calls, one by one"): refusals.KEPT,
    marked("Deliveries of messages"): outbox.KEPT,
    marked("Reports of model syncs"): sync.KEPT,
}


async def show(visit: Visit, refused: Refusal = NONE) -> Page:
    """The form, with what was typed if it was refused."""
    _ = visit.messages.gettext
    settings = await runtime_settings.show_settings(visit.pool, visit.actor)
    context = {
        "groups": GROUPS,
        "sent": typed(visit, *NAMES) if refused is not NONE else _texts(settings),
        "access": [(word, _(text)) for word, text in ACCESS.items()],
        "as_of": version_of(settings.model_dump()),
        "change": await conflicts.other_change(visit, "settings:settings", refused),
        "kept": [(_(text), period.days) for text, period in KEPT.items()],
        "may_change": visit.actor.role == "admin",
        "refused": refused,
    }
    return Page("admin_settings.html", _("Settings of the system"), context, refused.status)


async def update(visit: Visit) -> Page | Redirect:
    """All fields of the form, as of the version that it showed."""
    try:
        given = {setting.name: _value(visit, setting) for setting in SETTINGS}
        await runtime_settings.update_settings(
            visit.pool,
            visit.actor,
            given,
            as_of=visit.field(conflicts.FIELD),
            confirmed=visit.field("confirm") is not None,
        )
    except GatewayError as error:
        return await show(visit, _refusal(visit, error))
    return Redirect("/admin/settings", Flash("success", visit.messages.gettext("Saved.")))


def _refusal(visit: Visit, error: GatewayError) -> Refusal:
    """Beside its field: the operation calls money by its unit, and may name one of a list."""
    refused = refusal_of(visit, error, *NAMES, "confirm", *(name.replace("_nano_usd", "_usd") for name in NAMES))
    stored = {name.replace("_nano_usd", "_usd"): name for name in NAMES}
    fields = {stored.get(name, name): message for name, message in refused.fields.items()}
    return Refusal(refused.message, fields, refused.status)


def _texts(settings: RuntimeSettings) -> dict[str, str]:
    """Of each field, as it is typed."""
    return {setting.name: _typed(setting, getattr(settings, setting.name)) for setting in SETTINGS}


def _typed(setting: Setting, value: Any) -> str:
    if value is None:
        return ""
    if setting.input == "percents":
        return " ".join(map(str, value))
    return usd_text(value) if setting.input == "usd" else str(value)


def _value(visit: Visit, setting: Setting) -> Any:
    """As the operation takes it. Raises GatewayError `validation_failed`."""
    text = visit.field(setting.name)
    if setting.input == "percents":
        return [count_in(visit, setting.name, part) for part in (text or "").replace(",", " ").split()]
    if text is None:
        return None
    if setting.input == "usd":
        return parse_usd(setting.name, text)
    if setting.input == "currency":
        return text.upper()
    return count_in(visit, setting.name, text) if setting.input == "count" else text
