"""`/api/v1/teams/{team}/join-requests`, and of who asks `/api/v1/users/me/join-requests`."""

from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import Field

from admin_api.operations.people import join_requests
from admin_api.routes.dependencies import ID, AppPool, Body, Cursor, LoggedIn, PageSize
from admin_api.routes.responses import ERRORS
from admin_api.routes.teams import TeamPath
from admin_api.schemas.requests import JoinRequestView
from admin_api.schemas.shapes import PageView

router = APIRouter(prefix="/api/v1", tags=["teams"], responses=ERRORS)


class NewJoinRequest(Body):
    """The team, and why: an owner of it reads the reason."""

    team: Annotated[str, Field(max_length=254, description="Name of the team, in whatever case")]
    reason: Annotated[str, Field(max_length=1000)] = ""


class JoinDecision(Body):
    """The user reads the reason."""

    reason: Annotated[str | None, Field(max_length=1000)] = None


@router.get("/users/me/join-requests")
async def list_own_join_requests(
    actor: LoggedIn, pool: AppPool, limit: PageSize = 100, cursor: Cursor = None
) -> PageView[JoinRequestView]:
    """Your open requests to join teams, by id."""
    page = await join_requests.list_own(pool, actor, limit=limit, cursor=cursor)
    return PageView[JoinRequestView].model_validate(page)


@router.post("/users/me/join-requests", status_code=201)
async def request_to_join(actor: LoggedIn, pool: AppPool, body: NewJoinRequest) -> JoinRequestView:
    """Asks to become a member of a team; its owners get an e-mail and decide."""
    made = await join_requests.ask_to_join(pool, actor, team=body.team, reason=body.reason)
    return JoinRequestView.model_validate(made)


@router.delete("/users/me/join-requests/{join_request_id}", status_code=204)
async def withdraw_own_join_request(actor: LoggedIn, pool: AppPool, join_request_id: ID) -> None:
    """Withdraws an open request of yours."""
    await join_requests.withdraw(pool, actor, join_request_id)


@router.get("/teams/{team}/join-requests")
async def list_join_requests(
    actor: LoggedIn, pool: AppPool, team: TeamPath, limit: PageSize = 100, cursor: Cursor = None
) -> PageView[JoinRequestView]:
    """The open requests to join a team, by id; for its owners and admins."""
    page = await join_requests.list_requests(pool, actor, team, limit=limit, cursor=cursor)
    return PageView[JoinRequestView].model_validate(page)


@router.post("/teams/{team}/join-requests/{join_request_id}/{answer}")
async def decide_join_request(
    actor: LoggedIn,
    pool: AppPool,
    team: TeamPath,
    join_request_id: ID,
    answer: Literal["accept", "decline"],
    body: JoinDecision | None = None,
) -> JoinRequestView:
    """Accepting makes the user a member; they get an e-mail either way."""
    reason = body.reason if body else None
    decided = await join_requests.decide(pool, actor, team, join_request_id, answer, reason=reason)
    return JoinRequestView.model_validate(decided)
