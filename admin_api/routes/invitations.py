"""`/api/v1/teams/{team}/invitations`, and for the invited `/api/v1/users/me/invitations`."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from admin_api.operations.people import invitations
from admin_api.routes.dependencies import ID, AppPool, Body, Cursor, LoggedIn, PageSize
from admin_api.routes.responses import ERRORS
from admin_api.routes.teams import TeamPath
from admin_api.schemas.accounts import MemberView
from admin_api.schemas.invitations import TeamInvitationView
from admin_api.schemas.shapes import PageView
from gateway.domain.roles import TeamRole

router = APIRouter(prefix="/api/v1", tags=["teams"], responses=ERRORS)


class NewInvitation(Body):
    """A user to be invited to a team, for a week."""

    user: Annotated[str, Field(max_length=254, description="E-mail address; for admins also an id")]
    role: TeamRole = "member"


@router.get("/teams/{team}/invitations")
async def list_invitations(
    actor: LoggedIn, pool: AppPool, team: TeamPath, limit: PageSize = 100, cursor: Cursor = None
) -> PageView[TeamInvitationView]:
    """The open invitations of a team, by id; for its owners and admins."""
    page = await invitations.list_invitations(pool, actor, team, limit=limit, cursor=cursor)
    return PageView[TeamInvitationView].model_validate(page)


@router.post("/teams/{team}/invitations", status_code=201)
async def invite_to_team(actor: LoggedIn, pool: AppPool, team: TeamPath, body: NewInvitation) -> TeamInvitationView:
    """Invites a user to a team; they get an e-mail, and the role when they accept."""
    made = await invitations.invite(pool, actor, team, user=body.user, role=body.role)
    return TeamInvitationView.model_validate(made)


@router.delete("/teams/{team}/invitations/{invitation_id}", status_code=204)
async def withdraw_invitation(actor: LoggedIn, pool: AppPool, team: TeamPath, invitation_id: ID) -> None:
    """Withdraws an open invitation."""
    await invitations.withdraw(pool, actor, team, invitation_id)


@router.get("/users/me/invitations")
async def list_own_invitations(
    actor: LoggedIn, pool: AppPool, limit: PageSize = 100, cursor: Cursor = None
) -> PageView[TeamInvitationView]:
    """Your open invitations to teams, by id."""
    page = await invitations.list_own(pool, actor, limit=limit, cursor=cursor)
    return PageView[TeamInvitationView].model_validate(page)


@router.post("/users/me/invitations/{invitation_id}/accept")
async def accept_invitation(actor: LoggedIn, pool: AppPool, invitation_id: ID) -> MemberView:
    """Makes you an owner or a member of the team, as you were invited."""
    return MemberView.model_validate(await invitations.accept(pool, actor, invitation_id))


@router.delete("/users/me/invitations/{invitation_id}", status_code=204)
async def decline_invitation(actor: LoggedIn, pool: AppPool, invitation_id: ID) -> None:
    """Declines an invitation."""
    await invitations.decline(pool, actor, invitation_id)
