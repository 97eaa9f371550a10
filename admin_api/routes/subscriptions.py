"""`/api/v1/subscriptions`."""

from typing import Annotated, Literal, cast

from fastapi import APIRouter, Query, Response
from pydantic import Field

from admin_api.operations import subscriptions
from admin_api.operations.decisions import MAX_DECISIONS, Decision
from admin_api.operations.pagination import MAX_ID
from admin_api.routes.dependencies import (
    ID,
    Admin,
    AppPool,
    AsOf,
    Body,
    Cursor,
    LoggedIn,
    ModelQuery,
    Moment,
    PageSize,
    TeamQuery,
    UserQuery,
)
from admin_api.routes.responses import CHANGED, ERRORS, MOVED, TAGGED
from admin_api.schemas.shapes import PageView
from admin_api.schemas.subscriptions import DecisionsView, SubscriptionDetailView, SubscriptionView
from admin_api.web.etags import tag
from gateway.domain.subscriptions import Action, Status

router = APIRouter(prefix="/api/v1/subscriptions", tags=["subscriptions"], responses=ERRORS)
admin_router = APIRouter(prefix="/api/v1/admin/subscriptions", tags=["subscriptions"], responses=ERRORS)
# All actions but `expire`, which is the system's, and `renew`, which is to subscribe again.
Move = Literal["approve", "deny", "request-review", "suspend", "reactivate", "cancel"]


class NewSubscription(Body):
    """For a user, a team, or yourself. A cancelled or expired subscription is renewed and keeps its id."""

    model: Annotated[str, Field(max_length=255)]
    user: Annotated[str | None, Field(max_length=254, description="E-mail address or id")] = None
    team: Annotated[str | None, Field(max_length=254, description="Name or id")] = None
    expires_at: Moment | None = None


class Reason(Body):
    """The reason; deny and suspend need it, and the user reads it."""

    reason: Annotated[str | None, Field(max_length=1000)] = None


@router.get("")
async def list_subscriptions(
    actor: LoggedIn,
    pool: AppPool,
    account: Annotated[int | None, Query(ge=1, le=MAX_ID, description="Id of an account")] = None,
    user: UserQuery = None,
    team: TeamQuery = None,
    model: ModelQuery = None,
    status: Annotated[Status | None, Query()] = None,
    limit: PageSize = 100,
    cursor: Cursor = None,
) -> PageView[SubscriptionView]:
    """By id; those of your account and your teams; for admins, all. Filters combine."""
    page = await subscriptions.list_subscriptions(
        pool, actor, account=account, user=user, team=team, model=model, status=status, limit=limit, cursor=cursor
    )
    return PageView[SubscriptionView].model_validate(page)


@router.post("", status_code=201)
async def create_subscription(actor: LoggedIn, pool: AppPool, body: NewSubscription) -> SubscriptionView:
    """Active at once, or pending if the model is restricted."""
    row = await subscriptions.create_subscription(
        pool, actor, model=body.model, user=body.user, team=body.team, expires_at=body.expires_at
    )
    return SubscriptionView.model_validate(row)


@router.get("/{subscription_id}", responses=TAGGED)
async def show_subscription(
    actor: LoggedIn, pool: AppPool, response: Response, subscription_id: ID
) -> SubscriptionDetailView:
    """One subscription and its history."""
    row, history = await subscriptions.find_subscription(pool, actor, subscription_id)
    tag(response, row)
    return SubscriptionDetailView.of(row, history)


@router.post("/{subscription_id}/{move}", responses=MOVED | CHANGED)
async def change_subscription(
    actor: LoggedIn,
    pool: AppPool,
    response: Response,
    subscription_id: ID,
    move: Move,
    as_of: AsOf,
    body: Reason | None = None,
) -> SubscriptionView:
    """Changes the state; 409 names the state and the actions it allows."""
    reason = body.reason if body else None
    action = cast("Action", move.replace("-", "_"))
    row = await subscriptions.change_subscription(pool, actor, subscription_id, action, reason=reason, as_of=as_of)
    tag(response, row)
    return SubscriptionView.model_validate(row)


class Decisions(Body):
    """The subscriptions, and the reason; deny needs one, and the users read it."""

    subscription_ids: Annotated[
        list[Annotated[int, Field(ge=1, le=MAX_ID)]], Field(min_length=1, max_length=MAX_DECISIONS)
    ]
    reason: Annotated[str | None, Field(max_length=1000)] = None


@admin_router.post("/{decision}")
async def decide_subscriptions(actor: Admin, pool: AppPool, decision: Decision, body: Decisions) -> DecisionsView:
    """Approves or denies many. Each is decided separately: the rows say which ones failed."""
    decided = await subscriptions.decide_subscriptions(pool, actor, body.subscription_ids, decision, reason=body.reason)
    return DecisionsView.of(decided)
