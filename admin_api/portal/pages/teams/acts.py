"""What is done to a team by the forms of its page."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from admin_api.operations import subscriptions
from admin_api.operations.actors import require_admin
from admin_api.operations.limits import limits
from admin_api.operations.people import invitations, join_requests, teams
from admin_api.portal.flashes import Flash
from admin_api.portal.form_values import id_of, needed
from admin_api.portal.forms import refusal_of
from admin_api.portal.limit_forms import limit_input_of
from admin_api.portal.pages.teams.forms import FIELDS, FORMS, show_form
from admin_api.portal.pages.teams.team import base_of, is_admin_page, show_one, team_of
from admin_api.portal.rendering import Page, Redirect
from admin_api.portal.texts import marked
from admin_api.portal.visits import Visit
from gateway.domain.errors import GatewayError

# A message of the catalogue, with %(…)s for what it is about.
Done = tuple[str, Mapping[str, str]]
REFUSED: Final = (*FIELDS, "amount_usd", "confirm")


async def act(visit: Visit) -> Page | Redirect:
    """The act that the address names; a form that is refused is shown again on the team's page."""
    action: str = visit.request.path_params["action"]
    if is_admin_page(visit):
        require_admin(visit.actor)
    if action not in ACTS:
        raise GatewayError("not_found", f"A team has no action '{action[:50]}'.")
    try:
        text, names = await ACTS[action](visit, team_of(visit))
    except GatewayError as error:
        refused = refusal_of(visit, error, *REFUSED)
        return await show_form(visit, refused) if action in FORMS else await show_one(visit, refused)
    path = "/teams" if action == "leave" else base_of(visit)
    return Redirect(path, Flash("success", visit.messages.gettext(text) % names))


async def _add(visit: Visit, team: str) -> Done:
    user = needed(visit, "user")
    member = await teams.add_member(visit.pool, visit.actor, team, user=user, role=visit.field("role") or "member")
    return marked("%(user)s is in the team now."), {"user": member.email}


async def _invite(visit: Visit, team: str) -> Done:
    user = needed(visit, "user")
    made = await invitations.invite(visit.pool, visit.actor, team, user=user, role=visit.field("role") or "member")
    return marked("%(user)s has been invited, and gets an e-mail."), {"user": made.email}


async def _withdraw(visit: Visit, team: str) -> Done:
    await invitations.withdraw(visit.pool, visit.actor, team, id_of(visit, "invitation"))
    return marked("The invitation has been withdrawn."), {}


async def _accept(visit: Visit, team: str) -> Done:
    done = await join_requests.decide(visit.pool, visit.actor, team, id_of(visit, "request"), "accept")
    return marked("%(user)s is in the team now."), {"user": done.email}


async def _decline(visit: Visit, team: str) -> Done:
    done = await join_requests.decide(visit.pool, visit.actor, team, id_of(visit, "request"), "decline")
    return marked("You have declined the request of %(user)s."), {"user": done.email}


async def _set_role(visit: Visit, team: str) -> Done:
    user = needed(visit, "user")
    member = await teams.update_member(visit.pool, visit.actor, team, user=user, role=visit.field("role") or "")
    return marked("The role of %(user)s has been changed."), {"user": member.email}


async def _remove(visit: Visit, team: str) -> Done:
    user = needed(visit, "user")
    await teams.remove_member(visit.pool, visit.actor, team, user=user)
    return marked("%(user)s is no longer in the team; their keys in it are revoked."), {"user": user}


async def _leave(visit: Visit, team: str) -> Done:
    await teams.remove_member(visit.pool, visit.actor, team, user=str(visit.user.id))
    return marked("You are no longer in the team; your keys in it are revoked."), {}


async def _subscribe(visit: Visit, team: str) -> Done:
    made = await subscriptions.create_subscription(visit.pool, visit.actor, model=needed(visit, "model"), team=team)
    if made.status == "active":
        return marked("The team has subscribed to %(model)s."), {"model": made.model_name}
    return marked("The team has asked for access to %(model)s. An admin decides."), {"model": made.model_name}


async def _update(visit: Visit, team: str) -> Done:
    change = teams.TeamChange(
        name=visit.field("name"),
        time_zone=visit.field("time_zone"),
        status=visit.field("status"),
        reason=visit.field("reason") if visit.field("status") else None,
    )
    await teams.update_team(visit.pool, visit.actor, team, change)
    return marked("The team has been changed."), {}


async def _archive(visit: Visit, team: str) -> Done:
    await teams.archive_team(visit.pool, visit.actor, team)
    return marked("The team is archived: its keys are refused."), {}


async def _unarchive(visit: Visit, team: str) -> Done:
    await teams.archive_team(visit.pool, visit.actor, team, archived=False)
    return marked("The team is back; its keys work again."), {}


async def _set_limit(visit: Visit, team: str) -> Done:
    input_, member = limit_input_of(visit), visit.field("user")
    where = {"level": "user", "target": member, "team": team} if member else {"level": "team", "target": team}
    await limits.set_limit(visit.pool, visit.actor, input_, model=None, **({"team": None} | where))  # type: ignore[arg-type]
    return marked("The limit has been set."), {}


async def _remove_limit(visit: Visit, _: str) -> Done:
    limit_id = id_of(visit, "limit")
    await limits.delete_limit(visit.pool, visit.actor, limit_id, as_of=visit.field("as_of"))
    return marked("The limit has been removed."), {}


ACTS: Final[Mapping[str, Callable[[Visit, str], Awaitable[Done]]]] = {
    "members": _add,
    "invite": _invite,
    "withdraw": _withdraw,
    "accept": _accept,
    "decline": _decline,
    "role": _set_role,
    "remove": _remove,
    "leave": _leave,
    "subscribe": _subscribe,
    "update": _update,
    "archive": _archive,
    "unarchive": _unarchive,
    "limit": _set_limit,
    "unlimit": _remove_limit,
}
