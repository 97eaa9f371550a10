"""The lists on the page of a team, each with pages of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from admin_api.operations import subscriptions
from admin_api.operations.limits import limits
from admin_api.operations.limits.uses import list_member_limits
from admin_api.operations.pagination import Page
from admin_api.operations.people import invitations, join_requests, teams
from admin_api.operations.people.memberships import TeamAccess
from admin_api.operations.usage.reports import sum_users
from admin_api.operations.usage.scope import UsageFilter
from admin_api.portal.limit_lines import LimitLine, read_lines
from admin_api.portal.paged_lists import PagedList, paged
from admin_api.portal.subscription_texts import colour_of, text_of
from admin_api.portal.visits import Visit
from admin_api.storage.accounts import TeamMember
from admin_api.storage.limits import LimitRow

MEMBERS: Final = 25
ROWS: Final = 25
# On a team as a whole there is one of each kind.
MAX_OF_TEAM: Final = 100


@dataclass(frozen=True, slots=True)
class MemberLine:
    """A member; what they spent in the period, None for who may not see it; and their tightest limit in the team."""

    member: TeamMember
    cost_nano_usd: int | None
    limit: LimitLine | None


async def read_limits(
    visit: Visit, access: TeamAccess, base: str, members: Sequence[TeamMember]
) -> tuple[PagedList | None, dict[int | None, LimitLine]]:
    """Those of the team and of its subscriptions, the tightest first, None if Redis does not answer; and by user the
    tightest of each of these members. All are looked up at once."""
    team, cursor = str(access.team.id), visit.query("limits")
    found = await limits.list_limits(
        visit.pool, visit.actor, level="subscription", team=team, limit=ROWS, cursor=cursor
    )
    rows: list[LimitRow] = [*found.rows]
    if cursor is None:
        whole = await limits.list_limits(visit.pool, visit.actor, level="team", team=team, limit=MAX_OF_TEAM)
        rows += whole.rows
    rows += await list_member_limits(visit.pool, visit.actor, team, [one.user_id for one in members])
    lines = await read_lines(visit, rows)
    if lines is None:
        return None, {}
    by_user: dict[int | None, LimitLine] = {}
    for line in lines:
        if line.row.level == "user":
            by_user.setdefault(line.row.user_id, line)
    shown = Page([line for line in lines if line.row.level != "user"], found.next_cursor)
    return paged(shown, base, "limits", cursor), by_user


async def read_members(visit: Visit, access: TeamAccess, base: str) -> PagedList:
    """By user id."""
    cursor = visit.query("members")
    page = await teams.list_members(visit.pool, visit.actor, str(access.team.id), limit=MEMBERS, cursor=cursor)
    return paged(page, base, "members", cursor)


async def read_costs(visit: Visit, query: UsageFilter, members: Sequence[TeamMember]) -> dict[int, int]:
    """What each of them spent, in nano-USD."""
    sums = await sum_users(visit.pool, visit.actor, query, [one.user_id for one in members], store=visit.usage_store)
    return {user_id: one.cost_nano_usd for user_id, one in sums.items()}


async def read_join_requests(visit: Visit, access: TeamAccess, base: str) -> PagedList:
    """The open ones."""
    cursor = visit.query("join-requests")
    page = await join_requests.list_requests(visit.pool, visit.actor, str(access.team.id), limit=ROWS, cursor=cursor)
    return paged(page, base, "join-requests", cursor)


async def read_invitations(visit: Visit, access: TeamAccess, base: str) -> PagedList:
    """The open ones."""
    cursor = visit.query("invitations")
    page = await invitations.list_invitations(visit.pool, visit.actor, str(access.team.id), limit=ROWS, cursor=cursor)
    return paged(page, base, "invitations", cursor)


async def read_subscriptions(visit: Visit, access: TeamAccess, base: str) -> PagedList:
    """Each with its status as text and its colour."""
    cursor = visit.query("subscriptions")
    page = await subscriptions.list_subscriptions(
        visit.pool, visit.actor, team=str(access.team.id), limit=ROWS, cursor=cursor
    )
    lines = [(row, text_of(visit, row.status), colour_of(row.status)) for row in page.rows]
    return paged(Page(lines, page.next_cursor), base, "subscriptions", cursor)
