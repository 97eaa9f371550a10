"""`/api/v1/teams`."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field

from admin_api.operations.limits.team_uses import list_team_uses
from admin_api.operations.people import teams
from admin_api.routes.dependencies import Admin, AppPool, AsOf, Body, Cursor, LoggedIn, PageSize, Reader, UserPath
from admin_api.routes.responses import CHANGED, ERRORS, TAGGED
from admin_api.schemas.accounts import MemberView, TeamDetailView, TeamView
from admin_api.schemas.shapes import PageView
from admin_api.schemas.team_uses import TeamUsesView, TeamUseView
from admin_api.storage.accounts import AccountStatus
from admin_api.web.etags import tag
from gateway.domain.roles import TeamRole

router = APIRouter(prefix="/api/v1/teams", tags=["teams"], responses=ERRORS)
admin_router = APIRouter(prefix="/api/v1/admin/teams", tags=["teams"], responses=ERRORS)
TeamPath = Annotated[str, Path(max_length=254, description="Name or id")]


class NewTeam(Body):
    """A team to be created; its limit windows begin and end in this time zone."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    time_zone: Annotated[str, Field(max_length=64, description="IANA name")] = "UTC"


class NewMember(Body):
    """A user to be added to a team."""

    user: Annotated[str, Field(max_length=254, description="E-mail address or id")]
    role: TeamRole = "member"


class TeamChange(Body):
    """Fields left out stay unchanged; `status` and `time_zone` are for admins."""

    name: Annotated[str | None, Field(min_length=1, max_length=200)] = None
    time_zone: Annotated[str | None, Field(max_length=64, description="IANA name")] = None
    status: AccountStatus | None = None
    reason: Annotated[
        str | None, Field(max_length=1000, description="Of the status: callers with the team's keys read it")
    ] = None


class MemberChange(Body):
    """A member's role."""

    role: TeamRole


@router.get("")
async def list_teams(
    actor: LoggedIn,
    pool: AppPool,
    archived: Annotated[bool, Query(description="Also archived teams")] = False,
    limit: PageSize = 100,
    cursor: Cursor = None,
) -> PageView[TeamView]:
    """Teams you are a member of, by id; for admins, all."""
    page = await teams.list_teams(pool, actor, archived=archived, limit=limit, cursor=cursor)
    return PageView[TeamView].model_validate(page)


@router.post("", status_code=201)
async def create_team(actor: Admin, pool: AppPool, body: NewTeam) -> TeamView:
    """Creates a team without members."""
    return TeamView.model_validate(await teams.create_team(pool, actor, name=body.name, time_zone=body.time_zone))


@router.get("/{team}", responses=TAGGED)
async def show_team(actor: LoggedIn, pool: AppPool, response: Response, team: TeamPath) -> TeamDetailView:
    """One team and its members."""
    account, members = await teams.find_team(pool, actor, team)
    tag(response, account, members)
    return TeamDetailView.of(account, members)


@router.patch("/{team}", responses=TAGGED | CHANGED)
async def update_team(
    actor: LoggedIn, pool: AppPool, response: Response, team: TeamPath, body: TeamChange, as_of: AsOf
) -> TeamView:
    """Changes the fields that are given. Owners of the team may change its name."""
    change = teams.TeamChange(name=body.name, time_zone=body.time_zone, status=body.status, reason=body.reason)
    account, members = await teams.update_team(pool, actor, team, change, as_of=as_of)
    tag(response, account, members)
    return TeamView.model_validate(account)


@router.post("/{team}/archive", responses=TAGGED | CHANGED)
async def archive_team(actor: Admin, pool: AppPool, response: Response, team: TeamPath, as_of: AsOf) -> TeamView:
    """Hides a team from the lists. Its keys are refused from the next call on (403 `team_archived`), it does not
    change, and invitations to it are withdrawn; members, keys, subscriptions, limits and usage stay."""
    account, members = await teams.archive_team(pool, actor, team, as_of=as_of)
    tag(response, account, members)
    return TeamView.model_validate(account)


@router.post("/{team}/unarchive", responses=TAGGED | CHANGED)
async def unarchive_team(actor: Admin, pool: AppPool, response: Response, team: TeamPath, as_of: AsOf) -> TeamView:
    """Takes a team back into the lists, as it was; its keys work again from the next call on."""
    account, members = await teams.archive_team(pool, actor, team, archived=False, as_of=as_of)
    tag(response, account, members)
    return TeamView.model_validate(account)


@router.get("/{team}/members")
async def list_members(
    actor: LoggedIn, pool: AppPool, team: TeamPath, limit: PageSize = 100, cursor: Cursor = None
) -> PageView[MemberView]:
    """The members of a team, by user id."""
    page = await teams.list_members(pool, actor, team, limit=limit, cursor=cursor)
    return PageView[MemberView].model_validate(page)


@router.post("/{team}/members", status_code=201)
async def add_member(actor: LoggedIn, pool: AppPool, team: TeamPath, body: NewMember) -> MemberView:
    """Adds a user to a team."""
    member = await teams.add_member(pool, actor, team, user=body.user, role=body.role)
    return MemberView.model_validate(member)


@router.get("/{team}/members/{user}", responses=TAGGED)
async def show_member(actor: LoggedIn, pool: AppPool, response: Response, team: TeamPath, user: UserPath) -> MemberView:
    """One member of a team."""
    member = await teams.find_member(pool, actor, team, user=user)
    tag(response, member)
    return MemberView.model_validate(member)


@router.patch("/{team}/members/{user}", responses=TAGGED | CHANGED)
async def update_member(
    actor: LoggedIn,
    pool: AppPool,
    response: Response,
    team: TeamPath,
    user: UserPath,
    body: MemberChange,
    as_of: AsOf,
) -> MemberView:
    """Makes a member an owner, or an owner a member."""
    member = await teams.update_member(pool, actor, team, user=user, role=body.role, as_of=as_of)
    tag(response, member)
    return MemberView.model_validate(member)


@router.delete("/{team}/members/{user}", status_code=204, responses=CHANGED)
async def remove_member(actor: LoggedIn, pool: AppPool, team: TeamPath, user: UserPath, as_of: AsOf) -> None:
    """Removes a user, or yourself, from a team; their keys in it are revoked. The last owner cannot be removed."""
    await teams.remove_member(pool, actor, team, user=user, as_of=as_of)


@admin_router.get("/tightest")
async def list_tightest_teams(actor: Reader, pool: AppPool, limit: PageSize = 100) -> TeamUsesView:
    """Teams with the limit that each is nearest to, the nearest first. Use is what the ledger has of the present
    window: calls under way are not in it."""
    page = await list_team_uses(pool, actor, limit=limit)
    return TeamUsesView(rows=[TeamUseView.of(use) for use in page.rows])
