"""`/api/v1/teams`"""

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import Field

from admin_api.operations import teams
from admin_api.routes.requests import ERRORS, Admin, AppPool, Body, Cursor, PageSize
from admin_api.views.accounts import MemberView, TeamDetailView, TeamView
from admin_api.views.shapes import PageView
from gateway.storage.accounts import TeamRole

router = APIRouter(prefix="/api/v1/teams", tags=["teams"], responses=ERRORS)
TeamPath = Annotated[str, Path(max_length=254, description="Name or id")]


class NewTeam(Body):
    """A team to be made; its windows begin and end in this time zone."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    time_zone: Annotated[str, Field(max_length=64, description="IANA name")] = "UTC"


class NewMember(Body):
    """A user to be put into a team."""

    user: Annotated[str, Field(max_length=254, description="E-mail address or id")]
    role: TeamRole = "member"


@router.get("")
async def list_teams(actor: Admin, pool: AppPool, limit: PageSize = 100, cursor: Cursor = None) -> PageView[TeamView]:
    """All teams, by id."""
    page = await teams.list_teams(pool, actor, limit=limit, cursor=cursor)
    return PageView[TeamView].model_validate(page)


@router.post("", status_code=201)
async def create_team(actor: Admin, pool: AppPool, body: NewTeam) -> TeamView:
    """Makes a team without members."""
    return TeamView.model_validate(await teams.create_team(pool, actor, name=body.name, time_zone=body.time_zone))


@router.get("/{team}")
async def show_team(actor: Admin, pool: AppPool, team: TeamPath) -> TeamDetailView:
    """One team and its members."""
    account, members = await teams.find_team(pool, actor, team)
    return TeamDetailView.of(account, members)


@router.post("/{team}/members", status_code=201)
async def add_member(actor: Admin, pool: AppPool, team: TeamPath, body: NewMember) -> MemberView:
    """Puts a user into a team."""
    member = await teams.add_member(pool, actor, team, user=body.user, role=body.role)
    return MemberView.model_validate(member)


@router.delete("/{team}/members/{user}", status_code=204)
async def remove_member(
    actor: Admin,
    pool: AppPool,
    team: TeamPath,
    user: Annotated[str, Path(max_length=254, description="E-mail address or id")],
) -> None:
    """Takes a user out of a team; his keys in it are revoked."""
    await teams.remove_member(pool, actor, team, user=user)
