"""`/api/v1/limit-requests`: more than a limit allows, asked for and decided."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from admin_api.operations.decisions import Decision
from admin_api.operations.limits import requests
from admin_api.operations.limits.parsing import AmountInput
from admin_api.routes.dependencies import ID, Admin, AppPool, Body, Cursor, LoggedIn, PageSize, Reader
from admin_api.routes.limits import Amount
from admin_api.routes.responses import ERRORS
from admin_api.schemas.requests import LimitRequestView
from admin_api.schemas.shapes import PageView
from admin_api.storage.limit_requests import RequestStatus
from gateway.domain.limits import MAX_AMOUNT

router = APIRouter(prefix="/api/v1", tags=["limits"], responses=ERRORS)


class NewLimitRequest(Body):
    """An amount above the limit's: `amount`, or for kind cost `amount_usd` or `amount_nano_usd`; and why."""

    amount: Annotated[int | None, Field(ge=1, le=MAX_AMOUNT, description="A count, not for kind cost")] = None
    amount_usd: Annotated[str | None, Field(max_length=64, description="For kind cost, for example 25.00")] = None
    amount_nano_usd: Annotated[int | None, Field(ge=1, le=MAX_AMOUNT, description="For kind cost")] = None
    reason: Annotated[str, Field(min_length=1, max_length=1000)]

    def given(self) -> AmountInput:
        """The amount, whose unit is checked when the kind is known."""
        return AmountInput(amount=self.amount, amount_usd=self.amount_usd, amount_nano_usd=self.amount_nano_usd)


class LimitDecision(Amount):
    """For approve: an amount other than the requested one, in its unit. The reason is needed for deny; the user reads
    it."""

    reason: Annotated[str | None, Field(max_length=1000)] = None


@router.post("/limits/{limit_id}/requests", status_code=201)
async def request_limit(actor: LoggedIn, pool: AppPool, limit_id: ID, body: NewLimitRequest) -> LimitRequestView:
    """Asks for more than a limit of yours allows; one request of a limit waits at a time."""
    made = await requests.ask_for_more(pool, actor, limit_id, amount=body.given(), reason=body.reason)
    return LimitRequestView.of(made)


@router.get("/limit-requests")
async def list_own_limit_requests(
    actor: LoggedIn,
    pool: AppPool,
    status: Annotated[RequestStatus | None, Query()] = None,
    limit: PageSize = 100,
    cursor: Cursor = None,
) -> PageView[LimitRequestView]:
    """Your requests for more of a limit, by id."""
    page = await requests.list_own_requests(pool, actor, status=status, limit=limit, cursor=cursor)
    return PageView[LimitRequestView].of(page, LimitRequestView.of)


@router.delete("/limit-requests/{limit_request_id}", status_code=204)
async def withdraw_own_limit_request(actor: LoggedIn, pool: AppPool, limit_request_id: ID) -> None:
    """Withdraws a request of yours that waits."""
    await requests.withdraw_request(pool, actor, limit_request_id)


@router.get("/admin/limit-requests")
async def list_limit_requests(
    actor: Reader,
    pool: AppPool,
    status: Annotated[RequestStatus | None, Query()] = None,
    limit: PageSize = 100,
    cursor: Cursor = None,
) -> PageView[LimitRequestView]:
    """The requests of all users, by id."""
    page = await requests.list_requests(pool, actor, status=status, limit=limit, cursor=cursor)
    return PageView[LimitRequestView].of(page, LimitRequestView.of)


@router.post("/admin/limit-requests/{limit_request_id}/{decision}")
async def decide_limit_request(
    actor: Admin,
    pool: AppPool,
    limit_request_id: ID,
    decision: Decision,
    body: LimitDecision | None = None,
) -> LimitRequestView:
    """Approving sets the limit to what was requested, or to the amount that is given; the user gets an e-mail."""
    given = body or LimitDecision()
    amount = given.given()
    decided = await requests.decide_request(
        pool,
        actor,
        limit_request_id,
        decision,
        amount=None if amount == AmountInput() else amount,
        reason=given.reason,
        confirmed=given.confirm,
    )
    return LimitRequestView.of(decided)
