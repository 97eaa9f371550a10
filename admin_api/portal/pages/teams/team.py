"""One team: its members with their use, limits, subscriptions, keys and invitations."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from admin_api.operations import subscriptions
from admin_api.operations.actors import require_reader
from admin_api.operations.limits import limits
from admin_api.operations.people import invitations, join_requests, memberships, teams
from admin_api.operations.people.memberships import TeamAccess
from admin_api.operations.preconditions import version_of
from admin_api.operations.usage.reports import break_down, summarize
from admin_api.operations.usage.scope import UsageFilter
from admin_api.portal.forms import NONE, Refusal
from admin_api.portal.limit_lines import LimitLine, read_lines
from admin_api.portal.rendering import Page
from admin_api.portal.subscription_texts import colour_of, text_of
from admin_api.portal.visits import Visit
from admin_api.storage.accounts import TeamMember
from admin_api.storage.limits import LimitRow
from admin_api.storage.subscriptions import Subscription

PAGE_ROWS: Final = 100
MAX_LIMITS: Final = 200
PERIOD: Final = "this-month"


@dataclass(frozen=True, slots=True)
class MemberLine:
    """A member; what they spent this month, None for who may not see it; and their tightest limit in the team."""

    member: TeamMember
    cost_nano_usd: int | None
    limit: LimitLine | None


async def show_one(visit: Visit, refused: Refusal = NONE) -> Page:
    """For its members and for admins, who may see and set more of it on their own page."""
    if is_admin_page(visit):
        require_reader(visit.actor)
    access = await memberships.find_team_access(visit.pool, visit.actor, team_of(visit))
    sees_people = access.is_owner or visit.actor.role != "user"
    lines = await _limits(visit, access)
    context: dict[str, Any] = {
        "team": access.team,
        "access": access,
        "base": base_of(visit),
        "is_admin_page": is_admin_page(visit),
        "is_admin": visit.actor.role == "admin" and is_admin_page(visit),
        "may_manage": may_manage(visit, access),
        "sees_people": sees_people,
        "refused": refused,
        "limits": None if lines is None else [line for line in lines if line.row.level != "user"],
        "versions": {line.row.id: version_of(line.row) for line in lines or ()},
    }
    context |= await _people(visit, access, lines or [], sees_people=sees_people)
    context["subscriptions"] = await _subscriptions(visit, access)
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


async def _limits(visit: Visit, access: TeamAccess) -> list[LimitLine] | None:
    rows: list[LimitRow] = []
    for level in ("team", "subscription", "user"):
        page = await limits.list_limits(
            visit.pool, visit.actor, level=level, team=str(access.team.id), limit=MAX_LIMITS
        )
        rows += page.rows
    return await read_lines(visit, rows)


async def _people(visit: Visit, access: TeamAccess, lines: list[LimitLine], *, sees_people: bool) -> Mapping[str, Any]:
    team = str(access.team.id)
    page = await teams.list_members(visit.pool, visit.actor, team, limit=PAGE_ROWS, cursor=visit.query("cursor"))
    query = UsageFilter(team=team, period=PERIOD)
    summary = await summarize(visit.pool, visit.actor, query)
    costs: dict[str, int] | None = None
    open_invitations, asked = [], []
    if sees_people:
        found = await break_down(visit.pool, visit.actor, query, by="user", limit=1000)
        costs = {str(group.id): group.sums.cost_nano_usd for group in found.groups}
        asked = list((await join_requests.list_requests(visit.pool, visit.actor, team)).rows)
        open_invitations = list((await invitations.list_invitations(visit.pool, visit.actor, team)).rows)
    by_user: dict[int | None, LimitLine] = {}
    for line in lines:
        if line.row.level == "user":
            by_user.setdefault(line.row.user_id, line)
    members = [
        MemberLine(one, None if costs is None else costs.get(str(one.user_id), 0), by_user.get(one.user_id))
        for one in page.rows
    ]
    return {
        "members": members,
        **visit.paging(page.next_cursor, base_of(visit)),
        "sums": summary.sums,
        "invitations": open_invitations,
        "join_requests": asked,
    }


async def _subscriptions(visit: Visit, access: TeamAccess) -> list[tuple[Subscription, str, str | None]]:
    page = await subscriptions.list_subscriptions(visit.pool, visit.actor, team=str(access.team.id), limit=MAX_LIMITS)
    return [(row, text_of(visit, row.status), colour_of(row.status)) for row in page.rows]
