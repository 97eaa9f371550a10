"""What an admin does about a user: suspend and bring back, limits, subscriptions, sessions, identities, anonymise."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, cast

from admin_api.operations import subscriptions
from admin_api.operations.actors import require_admin
from admin_api.operations.limits import limits
from admin_api.operations.people import anonymise, identities, personal_tokens, sessions, users
from admin_api.operations.preconditions import version_of
from admin_api.operations.validation import check_reason, check_word, invalid
from admin_api.portal import conflicts
from admin_api.portal.flashes import Flash
from admin_api.portal.form_values import id_of
from admin_api.portal.forms import NONE, Refusal, refusal_of
from admin_api.portal.limit_forms import limit_input_of
from admin_api.portal.pages import admin_user
from admin_api.portal.pages.admin_user import reference
from admin_api.portal.rendering import Page, Redirect
from admin_api.portal.subscription_texts import text_of
from admin_api.portal.visits import Visit
from gateway.domain.errors import GatewayError
from gateway.domain.subscriptions import ACTIONS as SUBSCRIPTION_ACTIONS
from gateway.domain.subscriptions import Action

FIELDS: Final = ("reason", "amount", "amount_usd", "kind", "confirm")


async def act(visit: Visit) -> Page | Redirect:
    """One of ACTIONS; the user's page says what came of it."""
    require_admin(visit.actor)
    action: str = visit.request.path_params["action"]
    if action not in ACTIONS:
        raise GatewayError("not_found", f"A user has no action '{action[:50]}'.")
    try:
        said = await ACTIONS[action](visit, reference(visit))
    except GatewayError as error:
        return await admin_user.show(visit, refusal_of(visit, error, *FIELDS))
    return Redirect(f"/admin/users/{reference(visit)}", Flash("success", said))


async def show_anonymise(visit: Visit, refused: Refusal = NONE) -> Page:
    """Asks, and says what will happen."""
    user = await users.find_user(visit.pool, visit.actor, reference(visit))
    context = {
        "user": user,
        "as_of": version_of(user),
        "refused": refused,
        "may_change": visit.actor.role == "admin" and user.anonymised_at is None,
    }
    return Page("admin_user_anonymise.html", visit.messages.gettext("Anonymise a user"), context, refused.status)


async def anonymise_user(visit: Visit) -> Page | Redirect:
    """Once the address was typed as well."""
    require_admin(visit.actor)
    _ = visit.messages.gettext
    user = await users.find_user(visit.pool, visit.actor, reference(visit))
    try:
        if visit.field("address") != user.email:
            raise invalid("address", _("Type the address of this user to confirm."))
        done = await anonymise.anonymise_user(
            visit.pool,
            visit.actor,
            visit.settings.encryption_keys,
            reference(visit),
            as_of=visit.field(conflicts.FIELD),
        )
    except GatewayError as error:
        return await show_anonymise(visit, refusal_of(visit, error, "address"))
    said = _("The user is %(email)s now. Keys revoked: %(keys)s. Sessions ended: %(sessions)s.")
    values = {"email": done.user.email, "keys": done.keys, "sessions": done.sessions}
    return Redirect(f"/admin/users/{user.id}", Flash("success", said % values))


async def _suspend(visit: Visit, user: str) -> str:
    reason = check_reason(visit.field("reason"), required=True, use="Callers with the user's keys read it.")
    await users.update_user(visit.pool, visit.actor, user, status="deactivated", reason=reason)
    return visit.messages.gettext("Suspended: keys are refused from the next call on, and all sessions have ended.")


async def _reactivate(visit: Visit, user: str) -> str:
    await users.update_user(visit.pool, visit.actor, user, status="active")
    return visit.messages.gettext("Active again: keys work from the next call on.")


async def _set_limit(visit: Visit, user: str) -> str:
    input_ = limit_input_of(visit)
    await limits.set_limit(visit.pool, visit.actor, input_, level="user", target=user, model=None, team=None)
    return visit.messages.gettext("The limit is set. It holds from the next call on.")


async def _remove_limit(visit: Visit, user: str) -> str:
    limit_id = id_of(visit, "limit")
    found = await limits.find_limit(visit.pool, visit.actor, limit_id)
    owner = await users.find_user(visit.pool, visit.actor, user)
    if found.account_id != owner.account_id:
        raise GatewayError("not_found", f"There is no limit {limit_id} of this user.")
    await limits.delete_limit(visit.pool, visit.actor, limit_id)
    return visit.messages.gettext("The limit has been removed.")


async def _change_subscription(visit: Visit, user: str) -> str:
    number = id_of(visit, "subscription")
    found, _history = await subscriptions.find_subscription(visit.pool, visit.actor, number)
    owner = await users.find_user(visit.pool, visit.actor, user)
    if found.account_id != owner.account_id:
        raise GatewayError("not_found", f"There is no subscription {number} of this user.")
    move = cast("Action", check_word("move", visit.field("move") or "", SUBSCRIPTION_ACTIONS))
    changed = await subscriptions.change_subscription(
        visit.pool, visit.actor, number, move, reason=visit.field("reason")
    )
    said = visit.messages.gettext("The subscription to %(model)s: %(status)s.")
    return said % {"model": changed.model_name, "status": text_of(visit, changed.status)}


async def _end_sessions(visit: Visit, user: str) -> str:
    """The given one, or all of them."""
    one = id_of(visit, "session") if visit.field("session") else None
    ended = await sessions.end_sessions_of(visit.pool, visit.actor, user, session_id=one)
    said = visit.messages.ngettext("%(count)s session has ended.", "%(count)s sessions have ended.", ended)
    return said % {"count": visit.formats.number(ended)}


async def _revoke_token(visit: Visit, user: str) -> str:
    await personal_tokens.revoke_token(visit.pool, visit.actor, id_of(visit, "token"), user=user)
    return visit.messages.gettext("The token is revoked: it is refused from the next call on.")


async def _unlink(visit: Visit, user: str) -> str:
    await identities.unlink_identity(visit.pool, visit.actor, user, id_of(visit, "identity"))
    return visit.messages.gettext("Unlinked. The next login with the verified address of the user is linked instead.")


ACTIONS: Final[Mapping[str, Callable[[Visit, str], Awaitable[str]]]] = {
    "suspend": _suspend,
    "reactivate": _reactivate,
    "set-limit": _set_limit,
    "remove-limit": _remove_limit,
    "subscription": _change_subscription,
    "end-sessions": _end_sessions,
    "revoke-token": _revoke_token,
    "unlink": _unlink,
}
