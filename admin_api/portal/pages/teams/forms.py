"""The pages of a team with a form each: invite, add a member, subscribe, change, set a limit."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from admin_api.operations.actors import require_admin
from admin_api.operations.models import models
from admin_api.operations.people import memberships
from admin_api.operations.people.memberships import TeamAccess
from admin_api.portal.forms import NONE, Refusal, typed
from admin_api.portal.limit_forms import kind_choices
from admin_api.portal.pages.teams.team import base_of, is_admin_page, may_manage, team_of
from admin_api.portal.rendering import Page
from admin_api.portal.texts import marked
from admin_api.portal.visits import Visit
from admin_api.storage.offered_models import CatalogueFilter
from gateway.domain.errors import GatewayError

MAX_MODELS: Final = 200
FIELDS: Final = ("user", "role", "name", "time_zone", "status", "reason", "model", "kind", "amount")


@dataclass(frozen=True, slots=True)
class TeamForm:
    """Its heading, with %(team)s, and its button."""

    title: str
    button: str
    is_of_admins: bool = False


FORMS: Final[Mapping[str, TeamForm]] = {
    "invite": TeamForm(marked("Invite to %(team)s"), marked("Invite")),
    "members": TeamForm(marked("Add a member to %(team)s"), marked("Add"), is_of_admins=True),
    "subscribe": TeamForm(marked("Subscribe %(team)s"), marked("Subscribe")),
    "update": TeamForm(marked("Change %(team)s"), marked("Save")),
    "limit": TeamForm(marked("Set a limit of %(team)s"), marked("Set the limit"), is_of_admins=True),
}


async def show_form(visit: Visit, refused: Refusal = NONE) -> Page:
    """The form that the address names."""
    action: str = visit.request.path_params["action"]
    about = FORMS.get(action)
    if is_admin_page(visit):
        require_admin(visit.actor)
    access = await memberships.find_team_access(visit.pool, visit.actor, team_of(visit))
    if about is None or not may_manage(visit, access):
        raise GatewayError("not_found", "There is no such form of this team.")
    if about.is_of_admins:
        require_admin(visit.actor)
    _ = visit.messages.gettext
    context = {
        "action": action,
        "base": base_of(visit),
        "team": access.team,
        "is_admin_page": is_admin_page(visit),
        "button_text": _(about.button),
        "is_admin": visit.actor.role == "admin" and is_admin_page(visit),
        "sent": typed(visit, *FIELDS) if visit.form is not None else _begun(access),
        "refused": refused,
        "models": await _models(visit) if action == "subscribe" else [],
        "kinds": kind_choices(visit),
    }
    return Page("team_form.html", _(about.title) % {"team": access.team.name}, context, refused.status)


def _begun(access: TeamAccess) -> dict[str, str]:
    """What the form has before anything was typed."""
    team = access.team
    known = {
        "name": team.name,
        "time_zone": team.time_zone,
        "status": team.status,
        "reason": team.status_reason or "",
        "kind": "cost:month",
    }
    return dict.fromkeys(FIELDS, "") | known


async def _models(visit: Visit) -> list[tuple[str, str]]:
    page = await models.list_models(visit.pool, visit.actor, CatalogueFilter(), limit=MAX_MODELS)
    return [(one.model.name, one.model.name) for one in page.rows]
