"""`/api/v1/refusals`."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import Field

from admin_api.operations.pagination import MAX_ID, MAX_ROWS
from admin_api.operations.usage import refusal_counts, refusals
from admin_api.operations.usage.overview import MAX_GROUPS
from admin_api.operations.usage.scope import MAX_WORDS, UsageFilter
from admin_api.routes.call_filters import CallFilters
from admin_api.routes.dependencies import AppPool, Cursor, LoggedIn, PageSize, TeamQuery, UserQuery
from admin_api.routes.responses import ERRORS
from admin_api.schemas.refusals import RefusalCountView, RefusalReportView, RefusedCallView
from admin_api.schemas.shapes import PageView
from admin_api.storage.usage.refusal_sums import RefusalsBy
from gateway.domain.rollup_ranges import Step

router = APIRouter(prefix="/api/v1/refusals", tags=["usage"], responses=ERRORS)


@router.get("")
async def list_refusals(
    actor: LoggedIn,
    pool: AppPool,
    since: Annotated[datetime | None, Query(description="From this time on; default: 30 days before until")] = None,
    until: Annotated[datetime | None, Query(description="Before this time; default: now")] = None,
    user: UserQuery = None,
    team: TeamQuery = None,
    key: Annotated[int | None, Query(ge=1, le=MAX_ID, description="Id of a key")] = None,
    model: Annotated[
        list[str] | None, Query(max_length=MAX_WORDS, description="Name of a model; may be repeated")
    ] = None,
    code: Annotated[str | None, Query(max_length=50, description="Error code, for example insufficient_quota")] = None,
    limit: PageSize = 100,
    cursor: Cursor = None,
) -> PageView[RefusalCountView]:
    """Refused calls by hour, newest first, of each key, model, limit and error code."""
    query = UsageFilter(since=since, until=until, user=user, team=team, key=key, models=model or ())
    page = await refusals.list_refusals(pool, actor, query, code=code, limit=limit, cursor=cursor)
    return PageView[RefusalCountView].model_validate(page)


class RefusalFilters(CallFilters):
    """Filters of refused calls."""

    code: str | None = Field(None, max_length=50, description="Error code, for example insufficient_quota")


class RefusalReportQuery(RefusalFilters):
    """Filters, the step of time, and number of groups."""

    step: Step | None = Field(None, description="In the time zone; default: by the length of the period")
    limit: int = Field(20, ge=1, le=MAX_GROUPS, description="Maximum groups shown separately")


class RefusedCallsQuery(RefusalFilters):
    """Filters, and a page."""

    limit: int = Field(100, ge=1, le=MAX_ROWS, description="Maximum rows of a page")
    cursor: str | None = Field(None, max_length=100, description="next_cursor of the page before")


@router.get("/report/{by}")
async def count_refusals(
    actor: LoggedIn, pool: AppPool, by: RefusalsBy, query: Annotated[RefusalReportQuery, Query()]
) -> RefusalReportView:
    """How many calls were refused over time, by error code, model, key, user or account."""
    report = await refusal_counts.count_refusals(
        pool, actor, query.as_filter(), by=by, step=query.step, code=query.code, limit=query.limit
    )
    return RefusalReportView.of(report)


@router.get("/calls")
async def list_refused_calls(
    actor: LoggedIn, pool: AppPool, query: Annotated[RefusedCallsQuery, Query()]
) -> PageView[RefusedCallView]:
    """The refused calls that are kept, newest first, as their callers were answered: of the last seven days, the first
    ten of each account and minute."""
    page = await refusals.list_refused_calls(
        pool, actor, query.as_filter(), code=query.code, limit=query.limit, cursor=query.cursor
    )
    return PageView[RefusedCallView].model_validate(page)


@router.get("/{request_id}")
async def show_refused_call(
    actor: LoggedIn,
    pool: AppPool,
    request_id: Annotated[str, Path(max_length=64, description="As in x-request-id of the answer")],
) -> RefusedCallView:
    """One refused call of the last seven days, as its caller was answered. The first ten of each account and minute are
    kept."""
    return RefusedCallView.model_validate(await refusals.find_refused_call(pool, actor, request_id))
