"""One team: its members with their use, limits, subscriptions, keys and invitations."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from admin_api.operations.actors import require_reader
from admin_api.operations.people import memberships
from admin_api.operations.people.memberships import TeamAccess
from admin_api.operations.preconditions import version_of
from admin_api.operations.usage.reports import summarize
from admin_api.operations.usage.scope import UsageFilter
from admin_api.portal.forms import NONE, Refusal
from admin_api.portal.paged_lists import PagedList
from admin_api.portal.pages.teams import sections
from admin_api.portal.rendering import Page
from admin_api.portal.visits import Visit

PERIOD: Final = "this-month"


async def show_one(visit: Visit, refused: Refusal = NONE) -> Page:
    """For its members and for admins, who may see and set more of it on their own page."""
    if is_admin_page(visit):
        require_reader(visit.actor)
    access = await memberships.find_team_access(visit.pool, visit.actor, team_of(visit))
    context: dict[str, Any] = {
        "team": access.team,
        "access": access,
        "base": base_of(visit),
        "is_admin_page": is_admin_page(visit),
        "is_admin": visit.actor.role == "admin" and is_admin_page(visit),
        "may_manage": may_manage(visit, access),
        "refused": refused,
    }
    context |= await _lists(visit, access, base_of(visit))
    return Page("team.html", access.team.name, context, refused.status)


def team_of(visit: Visit) -> str:
    """The id in the address, as operations take it."""
    return str(visit.request.path_params["id"])


def is_admin_page(visit: Visit) -> bool:
    """Whether the page is one of the administration."""
    return visit.request.url.path.startswith("/admin/")


def base_of(visit: Visit) -> str:
    """The path of the team's page that the person is on."""
    return f"{'/admin' if is_admin_page(visit) else ''}/teams/{team_of(visit)}"


def may_manage(visit: Visit, access: TeamAccess) -> bool:
    """Whether forms are shown; the operations decide whether they are accepted."""
    is_party = visit.actor.role == "admin" or (visit.actor.role == "user" and access.is_owner)
    return is_party and access.team.archived_at is None


async def _lists(visit: Visit, access: TeamAccess, base: str) -> Mapping[str, Any]:
    sees_people = access.is_owner or visit.actor.role != "user"
    query = UsageFilter(team=str(access.team.id), period=PERIOD)
    members = await sections.read_members(visit, access, base)
    limits, by_user = await sections.read_limits(visit, access, base, members.rows)
    costs = await sections.read_costs(visit, query, members.rows) if sees_people else {}
    lines = [sections.MemberLine(one, costs.get(one.user_id), by_user.get(one.user_id)) for one in members.rows]
    return {
        "sees_people": sees_people,
        "limits": limits,
        "versions": {line.row.id: version_of(line.row) for line in (limits.rows if limits else ())},
        "members": replace(members, rows=lines),
        "sums": (await summarize(visit.pool, visit.actor, query, store=visit.usage_store)).sums,
        "invitations": await sections.read_invitations(visit, access, base) if sees_people else PagedList(()),
        "join_requests": await sections.read_join_requests(visit, access, base) if sees_people else PagedList(()),
        "subscriptions": await sections.read_subscriptions(visit, access, base),
    }
