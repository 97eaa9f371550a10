"""The person's own settings: name, language, theme; their sessions."""

from typing import cast

from admin_api.operations.people import sessions, users
from admin_api.portal.flashes import Flash
from admin_api.portal.forms import NONE, Refusal, refusal_of
from admin_api.portal.languages import LANGUAGES, NAMES
from admin_api.portal.rendering import Page, Redirect
from admin_api.portal.texts import marked
from admin_api.portal.visits import THEMES, Theme, Visit, theme_of
from admin_api.storage.users import LocaleChoice
from admin_api.web.authenticate import times_of
from gateway.domain.errors import GatewayError

THEME_TEXTS = {"auto": marked("As the system"), "light": marked("Light"), "dark": marked("Dark")}


async def show(visit: Visit, refused: Refusal = NONE) -> Page:
    """The form, and the open sessions."""
    _ = visit.messages.gettext
    context = {
        "languages": [("", _("As the browser"))] + [(one, NAMES[one]) for one in LANGUAGES],
        "themes": [(one, _(THEME_TEXTS[one])) for one in THEMES],
        "chosen_theme": theme_of(visit.request),
        "sessions": await sessions.list_sessions(visit.pool, visit.actor, times_of(visit.settings)),
        "refused": refused,
        "may_change": visit.actor.role != "admin-readonly",
    }
    return Page("own_settings.html", _("Settings"), context, refused.status)


async def update(visit: Visit) -> Page | Redirect:
    """Name and language are the person's, the theme this browser's: read-only admins have the theme alone."""
    theme = visit.field("theme") or "auto"
    try:
        if visit.form is not None and "name" in visit.form:
            locale = cast("LocaleChoice", visit.field("locale") or "browser")
            await users.update_self(visit.pool, visit.actor, name=visit.field("name") or "", locale=locale)
    except GatewayError as error:
        return await show(visit, refusal_of(visit, error, "name", "locale"))
    flash = Flash("success", visit.messages.gettext("Saved."))
    return Redirect("/settings", flash, theme=cast("Theme", theme) if theme in THEMES else "auto")


async def end_session(visit: Visit) -> Redirect:
    """One of the person's sessions."""
    session_id: int = visit.request.path_params["id"]
    await sessions.end_sessions(visit.pool, visit.actor, session_id=session_id)
    return Redirect("/settings", Flash("success", visit.messages.gettext("The session has ended.")))


async def end_sessions(visit: Visit) -> Redirect:
    """All of them, with this one."""
    await sessions.end_sessions(visit.pool, visit.actor, all_of_them=True)
    return Redirect("/login?out=1")
