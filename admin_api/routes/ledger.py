"""`/api/v1/admin/ledger`."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query
from pydantic import Field

from admin_api.operations.limits.parsing import parse_decimal
from admin_api.operations.maintenance import ledger, new_prices
from admin_api.operations.maintenance.repricing import reprice_call as reprice_one_call
from admin_api.routes.dependencies import Admin, AppPool, Body, Moment, Reader
from admin_api.routes.responses import ERRORS
from admin_api.schemas.explanations import LedgerCheckView
from admin_api.schemas.ledger import ClosedDaysView, RepricedView
from admin_api.schemas.prices import NewPricesView

router = APIRouter(prefix="/api/v1/admin/ledger", tags=["ledger"], responses=ERRORS)
Days = Annotated[int, Query(ge=1, le=ledger.MAX_DAYS, description="Number of UTC days, up to and including today")]


class CostOfCall(Body):
    """What one call is to cost."""

    cost_usd: Annotated[str, Field(max_length=64, description="A decimal number of USD as text")]
    reason: Annotated[
        str, Field(min_length=1, max_length=1000, description="Kept with the correction and the audit row")
    ]


class Period(Body):
    """Calls of a model that began in a time."""

    model: Annotated[str, Field(max_length=255)]
    since: Moment
    until: Annotated[Moment | None, Field(description="Exclusive; now if left out")] = None


class Repricing(Period):
    """Calls to be priced again."""

    reason: Annotated[str, Field(min_length=1, max_length=1000, description="Kept with the corrections and audit rows")]


@router.get("/verify")
async def verify_ledger(actor: Reader, pool: AppPool, days: Days = 31) -> LedgerCheckView:
    """Compares the ledger's rows with their rollups."""
    return LedgerCheckView.of(await ledger.verify_ledger(pool, actor, days=days))


@router.get("/seals")
async def verify_closed_days(
    actor: Reader,
    pool: AppPool,
    days: Days = 31,
    anchor: Annotated[
        str | None, Query(max_length=100, description="DAY:HASH, as it was shown before and you noted it elsewhere")
    ] = None,
) -> ClosedDaysView:
    """Checks the seals of all days, and the rows of sealed days among the last ones."""
    return ClosedDaysView.of(await ledger.verify_closed_days(pool, actor, days=days, anchor=anchor))


@router.post("/calls/{request_id}/reprice")
async def reprice_call(
    actor: Admin, pool: AppPool, request_id: Annotated[UUID, Path(description="Id of the call")], body: CostOfCall
) -> RepricedView:
    """Changes what a call is charged. The row stays; a correction counts the difference from now on."""
    cost = parse_decimal("cost_usd", body.cost_usd)
    return RepricedView.of(await reprice_one_call(pool, actor, request_id, cost=cost, reason=body.reason))


@router.post("/reprice/preview")
async def preview_repricing(actor: Admin, pool: AppPool, body: Period) -> NewPricesView:
    """How many calls would be priced again by the prices of their time, and what they cost before and after."""
    return NewPricesView.of(
        await new_prices.preview_new_prices(pool, actor, body.model, since=body.since, until=body.until)
    )


@router.post("/reprice")
async def reprice_calls(actor: Admin, pool: AppPool, body: Repricing) -> NewPricesView:
    """Prices the calls of a time again by the prices of their time. Repeated, it changes nothing."""
    done = await new_prices.apply_new_prices(
        pool, actor, body.model, since=body.since, until=body.until, reason=body.reason
    )
    return NewPricesView.of(done)
