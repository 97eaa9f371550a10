"""One user: who they are, what they have and may use; an admin changes it here."""

from collections.abc import Sequence
from typing import Any, Final, cast

from admin_api.operations import pagination, subscriptions
from admin_api.operations.keys import keys
from admin_api.operations.people import identities, invitations, personal_tokens, sessions, users
from admin_api.operations.preconditions import version_of
from admin_api.portal import conflicts
from admin_api.portal.flashes import Flash
from admin_api.portal.forms import NONE, Refusal, refusal_of, typed
from admin_api.portal.key_texts import state_of
from admin_api.portal.languages import NAMES
from admin_api.portal.limit_forms import kind_choices
from admin_api.portal.limit_rows import limits_of
from admin_api.portal.paged_lists import PagedList, paged
from admin_api.portal.rendering import Page, Redirect
from admin_api.portal.subscription_texts import MOVES, colour_of
from admin_api.portal.subscription_texts import text_of as subscription_text
from admin_api.portal.token_texts import token_lines
from admin_api.portal.visits import Visit
from admin_api.portal.word_texts import ROLES, TEAM_ROLES, USER_STATUSES, choices, text_of
from admin_api.storage.users import LocaleChoice, User
from gateway.domain.errors import GatewayError
from gateway.domain.subscriptions import allowed_actions

FIELDS: Final = ("name", "email", "role", "locale", "time_zone")
LIMIT_FIELDS: Final = ("kind", "amount", "reason")
# On one page of each list.
ROWS: Final = 25
# Of those that few users have more of than of logins.
SHOWN: Final = 100


async def show(visit: Visit, refused: Refusal = NONE) -> Page:
    """With the form as it was sent, if it was refused."""
    user = await users.find_user(visit.pool, visit.actor, reference(visit))
    context = await _possessions(visit, user) | {
        "user": user,
        "role_text": text_of(visit, ROLES, user.role),
        "status_text": text_of(visit, USER_STATUSES, user.status),
        "sent": _sent(visit, user, refused),
        "as_of": version_of(user),
        "change": await conflicts.other_change(visit, f"user:{user.id}", refused),
        "refused": refused,
        "is_refused": refused is not NONE and visit.field(conflicts.FIELD) is not None,
        "limit_sent": typed(visit, *LIMIT_FIELDS),
        "may_change": visit.actor.role == "admin" and user.anonymised_at is None,
        **_choices(visit),
    }
    return Page("admin_user.html", user.email, context, refused.status)


async def update(visit: Visit) -> Page | Redirect:
    """The fields of the form, as of the version that it showed."""
    sent = typed(visit, *FIELDS)
    try:
        await users.update_user(
            visit.pool,
            visit.actor,
            reference(visit),
            name=sent["name"],
            email=sent["email"],
            role=sent["role"],
            locale=cast("LocaleChoice", sent["locale"] or "browser"),
            time_zone=sent["time_zone"],
            as_of=visit.field(conflicts.FIELD),
        )
    except GatewayError as error:
        return await show(visit, refusal_of(visit, error, *FIELDS))
    return Redirect(visit.request.url.path, Flash("success", visit.messages.gettext("Saved.")))


def reference(visit: Visit) -> str:
    """The user of the page, by id."""
    return str(visit.request.path_params["id"])


async def _possessions(visit: Visit, user: User) -> dict[str, Any]:
    mine = str(user.id)
    invited = await invitations.list_of_user(visit.pool, visit.actor, mine, limit=SHOWN)
    known = await identities.list_identities(visit.pool, visit.actor, mine, limit=SHOWN)
    return {
        "keys": await _keys(visit, mine),
        "subscriptions": await _subscriptions(visit, mine),
        "limits": await limits_of(visit, user=mine),
        "tokens": await _tokens(visit, mine),
        "identities": known.rows,
        "invitations": [(row, text_of(visit, TEAM_ROLES, row.role)) for row in invited.rows],
        "sessions": await _sessions(visit, mine),
    }


async def _keys(visit: Visit, mine: str) -> PagedList:
    cursor = visit.query("api-keys")
    found = await keys.list_keys(visit.pool, visit.actor, user=mine, limit=ROWS, cursor=cursor)
    lines = [(key, *state_of(visit, key)) for key in found.rows]
    return _paged(visit, "api-keys", lines, found.next_cursor)


async def _subscriptions(visit: Visit, mine: str) -> PagedList:
    cursor = visit.query("subscriptions")
    found = await subscriptions.list_subscriptions(visit.pool, visit.actor, user=mine, limit=ROWS, cursor=cursor)
    lines = [
        (row, subscription_text(visit, row.status), colour_of(row.status), allowed_actions(row.status, "admin"))
        for row in found.rows
    ]
    return _paged(visit, "subscriptions", lines, found.next_cursor)


async def _tokens(visit: Visit, mine: str) -> PagedList:
    cursor = visit.query("tokens")
    found = await personal_tokens.list_tokens(visit.pool, visit.actor, user=mine, limit=ROWS, cursor=cursor)
    return _paged(visit, "tokens", token_lines(visit, found.rows), found.next_cursor)


async def _sessions(visit: Visit, mine: str) -> PagedList:
    idle_s, cursor = visit.settings.session_idle_s, visit.query("sessions")
    found = await sessions.list_sessions_of(visit.pool, visit.actor, mine, idle_s=idle_s, limit=ROWS, cursor=cursor)
    return _paged(visit, "sessions", found.rows, found.next_cursor)


def _paged(visit: Visit, name: str, rows: Sequence[Any], next_cursor: str | None) -> PagedList:
    return paged(pagination.Page(rows, next_cursor), f"/admin/users/{reference(visit)}", name, visit.query(name))


def _sent(visit: Visit, user: User, refused: Refusal) -> dict[str, str]:
    """What the form has: what was typed in it, else what is stored."""
    if refused is not NONE and visit.field(conflicts.FIELD) is not None:
        return typed(visit, *FIELDS)
    return {name: getattr(user, name) or "" for name in FIELDS} | {"role": user.assigned_role}


def _choices(visit: Visit) -> dict[str, Any]:
    _ = visit.messages.gettext
    return {
        "roles": choices(visit, ROLES),
        "locales": [("", _("As the browser")), *NAMES.items()],
        "move_texts": MOVES,
        "kinds": kind_choices(visit),
    }
