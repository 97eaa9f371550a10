"""`/api/v1/usage`."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import StreamingResponse
from pydantic import Field

from admin_api.operations.csv_formats import LOCALE
from admin_api.operations.pagination import MAX_ROWS
from admin_api.operations.usage import calls, exports, overview, reports
from admin_api.operations.usage.exports import Detail, Format
from admin_api.operations.usage.grouping import By
from admin_api.operations.usage.overview import MAX_GROUPS, OverviewInput
from admin_api.operations.usage.scope import MAX_WORDS
from admin_api.routes.call_filters import CallFilters
from admin_api.routes.dependencies import AppPool, AppUsageStore, LoggedIn
from admin_api.routes.responses import ERRORS
from admin_api.schemas import usage_files
from admin_api.schemas.usage import CallView, UsageView
from admin_api.schemas.usage_overview import UsageOverviewView, UsageWeekView
from admin_api.schemas.usage_reports import (
    UsageBreakdownView,
    UsagePercentilesView,
    UsageSeriesView,
    UsageSummaryView,
)
from admin_api.storage.usage.queries import Order
from gateway.domain.calls import Ending
from gateway.domain.error_classes import ErrorClass
from gateway.domain.ids import MAX_CLIENT_ID
from gateway.domain.rollup_ranges import Step

router = APIRouter(prefix="/api/v1/usage", tags=["usage"], responses=ERRORS)
FILES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The file, as a stream",
        "content": {"text/csv": {"schema": {"type": "string"}}, "application/json": {"schema": {"type": "array"}}},
    }
}


class Filters(CallFilters):
    """Filters of forwarded calls."""

    provider: str | None = Field(None, max_length=100, description="Provider of the models")
    ending: list[Ending] = Field([], max_length=MAX_WORDS, description="May be repeated")
    error_class: list[ErrorClass] = Field([], max_length=MAX_WORDS, description="May be repeated")

    def more_fields(self) -> dict[str, Any]:
        return {"provider": self.provider, "endings": self.ending, "error_classes": self.error_class}


class SeriesQuery(Filters):
    """Filters, and the step of a series."""

    step: Step = Field("day", description="In the time zone; weeks begin on Monday")


class BreakdownQuery(Filters):
    """Filters, and order and number of groups."""

    order: Order = Field("cost", description="Sort by this, largest first")
    limit: int = Field(100, ge=1, le=1000, description="Maximum groups shown separately")


class OverviewQuery(Filters):
    """Filters, the step of time, and what groups are divided by."""

    then_by: By | None = Field(None, description="The parts of each group; default: none")
    step: Step | None = Field(None, description="In the time zone; default: by the length of the period")
    order: Order = Field("cost", description="Sort groups and their parts by this, largest first")
    limit: int = Field(20, ge=1, le=MAX_GROUPS, description="Maximum groups shown separately")


class PercentilesQuery(Filters):
    """Filters, and groups."""

    by: By | None = Field(None, description="One row for each group; default: one for all calls")


class ExportQuery(Filters):
    """Filters, and format of the file."""

    format: Format = Field("csv", description="focus: FOCUS 1.2, as CSV")
    detail: Detail = Field("days", description="Sums by day of the time zone and all dimensions, or single calls")
    locale: str | None = Field(None, max_length=20, description=LOCALE)


class CallsQuery(Filters):
    """Filters, and a page. Without since, until and period all calls are listed that only a key or an id of the
    caller's own selects."""

    client_request_id: str | None = Field(
        None, max_length=MAX_CLIENT_ID, description="Only with this id, which the caller sent; beside it only a key"
    )
    limit: int = Field(100, ge=1, le=MAX_ROWS, description="Maximum rows of a page")
    cursor: str | None = Field(None, max_length=64, description="next_cursor of the page before")


@router.get("")
async def list_calls(actor: LoggedIn, pool: AppPool, query: Annotated[CallsQuery, Query()]) -> UsageView:
    """Calls that match all filters, newest first, with totals over all pages. Users see their own, owners of a team
    its calls; of the last 30 days without since, until and period."""
    return UsageView.of(
        await calls.show_calls(
            pool,
            actor,
            query.as_filter(),
            client_request_id=query.client_request_id,
            limit=query.limit,
            cursor=query.cursor,
        )
    )


@router.get("/calls/{request_id}")
async def show_call(
    actor: LoggedIn,
    pool: AppPool,
    request_id: Annotated[str, Path(max_length=64, description="As in x-request-id of the answer")],
) -> CallView:
    """One forwarded call, what it cost, and which limits count such calls."""
    return CallView.of_call(await calls.find_call(pool, actor, request_id))


@router.get("/summary")
async def summarize_usage(
    actor: LoggedIn, pool: AppPool, store: AppUsageStore, query: Annotated[Filters, Query()]
) -> UsageSummaryView:
    """Calls, tokens, cost, success and latency of the whole range."""
    return UsageSummaryView.from_summary(await reports.summarize(pool, actor, query.as_filter(), store=store))


@router.get("/series")
async def read_usage_series(
    actor: LoggedIn, pool: AppPool, store: AppUsageStore, query: Annotated[SeriesQuery, Query()]
) -> UsageSeriesView:
    """The same as a time series by hours, days, weeks or months."""
    return UsageSeriesView.of(await reports.read_series(pool, actor, query.as_filter(), step=query.step, store=store))


@router.get("/breakdown/{by}")
async def break_down_usage(
    actor: LoggedIn, pool: AppPool, store: AppUsageStore, by: By, query: Annotated[BreakdownQuery, Query()]
) -> UsageBreakdownView:
    """The same by model, provider, key, user, account, team, ending or error class."""
    found = await reports.break_down(
        pool, actor, query.as_filter(), by=by, order=query.order, limit=query.limit, store=store
    )
    return UsageBreakdownView.of(found)


@router.get("/overview/{by}")
async def read_usage_overview(
    actor: LoggedIn, pool: AppPool, store: AppUsageStore, by: By, query: Annotated[OverviewQuery, Query()]
) -> UsageOverviewView:
    """The largest groups with their parts, over time and beside the period before, in one consistent answer. The period
    before is as long: months of a period of whole months, else days; of a period that still runs, as much as passed."""
    question = OverviewInput(by=by, then_by=query.then_by, order=query.order, step=query.step, limit=query.limit)
    return UsageOverviewView.of(await overview.read_overview(pool, actor, query.as_filter(), question, store=store))


@router.get("/week")
async def read_usage_week(
    actor: LoggedIn, pool: AppPool, store: AppUsageStore, query: Annotated[Filters, Query()]
) -> UsageWeekView:
    """By day of the week and hour of the time zone."""
    return UsageWeekView.of(await overview.read_week(pool, actor, query.as_filter(), store=store))


@router.get("/percentiles")
async def measure_latencies(
    actor: LoggedIn, pool: AppPool, store: AppUsageStore, query: Annotated[PercentilesQuery, Query()]
) -> UsagePercentilesView:
    """Percentiles of the duration of calls and of the time to the first byte, within 5 %."""
    found = await reports.measure_latencies(pool, actor, query.as_filter(), by=query.by, store=store)
    return UsagePercentilesView.of(found)


@router.get("/export", response_class=StreamingResponse, responses=FILES)
async def export_usage(actor: LoggedIn, pool: AppPool, query: Annotated[ExportQuery, Query()]) -> StreamingResponse:
    """A file of any size, as a stream."""
    export = await exports.export_usage(
        pool, actor, query.as_filter(), file_format=query.format, detail=query.detail, locale=query.locale
    )
    return StreamingResponse(
        usage_files.parts_of(export),
        media_type=usage_files.MEDIA_TYPES[export.file_format],
        headers={"content-disposition": f'attachment; filename="{usage_files.name_of(export)}"'},
    )
