"""All users, and the form for a new one."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, cast
from urllib.parse import urlencode

from admin_api.operations.actors import require_admin
from admin_api.operations.pagination import Page as Rows
from admin_api.operations.people import new_accounts, users
from admin_api.operations.validation import check_word
from admin_api.portal.flashes import Flash
from admin_api.portal.form_values import nano_usd_of
from admin_api.portal.forms import NONE, Refusal, refusal_of, typed
from admin_api.portal.languages import NAMES
from admin_api.portal.rendering import Page, Redirect
from admin_api.portal.texts import marked
from admin_api.portal.visits import Visit
from admin_api.portal.word_texts import ROLES, USER_STATUSES, choices, text_of
from admin_api.storage.users import User, UserStatus
from gateway.domain.errors import GatewayError
from gateway.domain.roles import Role

PAGE_ROWS: Final = 50
FILTERS: Final = ("search", "role", "status", "idle", "sort")
NEW_FIELDS: Final = ("email", "name", "role", "locale", "time_zone", "monthly_cost_usd")
# Days without a login. With any of them those whose last login is the longest ago come first.
IDLE: Final[Mapping[str, str]] = {
    "0": marked("The longest ago first"),
    "30": marked("None for 30 days"),
    "90": marked("None for 90 days"),
    "365": marked("None for a year"),
}


async def show_list(visit: Visit) -> Page:
    """Filtered by the address of the page."""
    chosen = {name: visit.query(name) for name in FILTERS}
    page = await _find(visit, chosen)
    kept = {name: value for name, value in chosen.items() if value}
    context = {
        "rows": [
            (user, text_of(visit, ROLES, user.role), text_of(visit, USER_STATUSES, user.status)) for user in page.rows
        ],
        "chosen": {name: value or "" for name, value in chosen.items()},
        "may_change": visit.actor.role == "admin",
        **visit.paging(page.next_cursor),
        "by_email": _path(kept | {"sort": "email", "idle": ""}),
        "by_login": _path(kept | {"sort": "", "idle": chosen["idle"] or "0"}),
        **_options(visit),
    }
    return Page("admin_users.html", visit.messages.gettext("Users"), context)


def _path(parameters: Mapping[str, str]) -> str:
    return f"/admin/users?{urlencode({name: value for name, value in parameters.items() if value})}"


async def _find(visit: Visit, chosen: Mapping[str, str | None]) -> Rows[User]:
    role, status = chosen["role"], chosen["status"]
    return await users.list_users(
        visit.pool,
        visit.actor,
        search=chosen["search"],
        role=cast("Role", check_word("role", role, tuple(ROLES))) if role else None,
        status=cast("UserStatus", check_word("status", status, tuple(USER_STATUSES))) if status else None,
        last_login_before=_idle_since(chosen["idle"]),
        sort="email" if chosen["sort"] == "email" else "created",
        limit=PAGE_ROWS,
        cursor=visit.query("cursor"),
    )


def _options(visit: Visit) -> dict[str, list[tuple[str, str]]]:
    """Of the filters."""
    _ = visit.messages.gettext
    return {
        "roles": choices(visit, ROLES, [("", _("All"))]),
        "statuses": choices(visit, USER_STATUSES, [("", _("All"))]),
        "idle": choices(visit, IDLE, [("", _("Whenever"))]),
    }


async def show_new(visit: Visit, refused: Refusal = NONE) -> Page:
    """The form for a user who has not logged in yet."""
    require_admin(visit.actor)
    _ = visit.messages.gettext
    sent = typed(visit, *NEW_FIELDS)
    context = {
        "sent": sent | {"role": sent["role"] or "user", "time_zone": sent["time_zone"] or "UTC"},
        "roles": choices(visit, ROLES),
        "locales": [("", _("As the browser")), *NAMES.items()],
        "refused": refused,
    }
    return Page("admin_user_new.html", _("Create a user"), context, refused.status)


async def create(visit: Visit) -> Page | Redirect:
    """With their personal account; a budget takes the place of the default one."""
    try:
        made = await new_accounts.set_up_user(visit.pool, visit.actor, _new_user(visit))
    except GatewayError as error:
        return await show_new(visit, refusal_of(visit, error, *NEW_FIELDS))
    said = visit.messages.gettext("%(email)s can log in now.") % {"email": made.user.email}
    return Redirect(f"/admin/users/{made.user.id}", Flash("success", said))


def _idle_since(days: str | None) -> datetime | None:
    if days is None:
        return None
    return datetime.now(UTC) - timedelta(days=int(check_word("idle", days, tuple(IDLE))))


def _new_user(visit: Visit) -> new_accounts.NewUser:
    return new_accounts.NewUser(
        email=visit.field("email") or "",
        name=visit.field("name") or "",
        role=visit.field("role") or "user",
        time_zone=visit.field("time_zone") or "UTC",
        locale=visit.field("locale"),
        monthly_cost_nano_usd=nano_usd_of(visit, "monthly_cost_usd"),
    )
