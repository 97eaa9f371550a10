"""`/api/v1/usage`"""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from admin_api.operations.pagination import MAX_ID
from admin_api.operations.usage import calls, exports, reports
from admin_api.operations.usage.exports import Detail, Format
from admin_api.operations.usage.reports import By
from admin_api.operations.usage.scope import MAX_WORDS, UsageFilter
from admin_api.routes.dependencies import AppPool, Cursor, LoggedIn, PageSize, Reader
from admin_api.routes.responses import ERRORS
from admin_api.schemas import usage_files
from admin_api.schemas.usage import UsageView
from admin_api.schemas.usage_reports import (
    UsageBreakdownView,
    UsagePercentilesView,
    UsageSeriesView,
    UsageSummaryView,
)
from admin_api.storage.usage.queries import Order
from gateway.domain.calls import Ending
from gateway.domain.error_classes import ErrorClass
from gateway.domain.rollup_ranges import Step

router = APIRouter(prefix="/api/v1/usage", tags=["usage"], responses=ERRORS)
FILES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The file, sent as it is read",
        "content": {"text/csv": {"schema": {"type": "string"}}, "application/json": {"schema": {"type": "array"}}},
    }
}


class Filters(BaseModel):
    """All that is given must be true of a call."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    since: datetime | None = Field(None, description="From then on; 30 days before until, if left out")
    until: datetime | None = Field(None, description="Before then; now, if left out")
    time_zone: str | None = Field(None, max_length=64, description="IANA name; of the account, if left out")
    user: str | None = Field(None, max_length=254, description="E-mail address or id of a user")
    team: str | None = Field(None, max_length=254, description="Name or id of a team")
    key: int | None = Field(None, ge=1, le=MAX_ID, description="Id of a key")
    model: list[str] = Field([], max_length=MAX_WORDS, description="Name of a model; may be repeated")
    provider: str | None = Field(None, max_length=100, description="Provider of the models")
    ending: list[Ending] = Field([], max_length=MAX_WORDS, description="May be repeated")
    error_class: list[ErrorClass] = Field([], max_length=MAX_WORDS, description="May be repeated")

    def as_filter(self) -> UsageFilter:
        """As operations take it."""
        return UsageFilter(
            since=self.since,
            until=self.until,
            time_zone=self.time_zone,
            user=self.user,
            team=self.team,
            key=self.key,
            models=self.model,
            provider=self.provider,
            endings=self.ending,
            error_classes=self.error_class,
        )


class SeriesQuery(Filters):
    """A series also has a step."""

    step: Step = Field("day", description="Of the time zone; weeks begin on Monday")


class BreakdownQuery(Filters):
    """A breakdown also has an order and an end."""

    order: Order = Field("cost", description="Greatest first, by this")
    limit: int = Field(100, ge=1, le=1000, description="Most groups told one by one")


class PercentilesQuery(Filters):
    """Percentiles may be of groups."""

    by: By | None = Field(None, description="One row for each; all together, if left out")


class ExportQuery(Filters):
    """A file also has a form."""

    format: Format = Field("csv", description="focus: FOCUS 1.2, as CSV")
    detail: Detail = Field("days", description="Sums by UTC day and everything else, or single calls")


@router.get("")
async def show_usage(
    actor: Reader,
    pool: AppPool,
    key: Annotated[int | None, Query(ge=1, le=MAX_ID, description="Only of this key, by id")] = None,
    limit: PageSize = 100,
    cursor: Cursor = None,
) -> UsageView:
    """Calls, newest first, and the totals of all of them."""
    return UsageView.of(await calls.show_usage(pool, actor, key_id=key, limit=limit, cursor=cursor))


@router.get("/summary")
async def summarize(actor: LoggedIn, pool: AppPool, query: Annotated[Filters, Query()]) -> UsageSummaryView:
    """All of it in one: calls, tokens, cost, success, latency."""
    return UsageSummaryView.from_summary(await reports.summarize(pool, actor, query.as_filter()))


@router.get("/series")
async def trace(actor: LoggedIn, pool: AppPool, query: Annotated[SeriesQuery, Query()]) -> UsageSeriesView:
    """The same by hours, days, weeks or months."""
    return UsageSeriesView.of(await reports.read_series(pool, actor, query.as_filter(), step=query.step))


@router.get("/breakdown/{by}")
async def break_down(
    actor: LoggedIn, pool: AppPool, by: By, query: Annotated[BreakdownQuery, Query()]
) -> UsageBreakdownView:
    """The same by model, provider, key, user, account, team, ending or class of error."""
    found = await reports.break_down(pool, actor, query.as_filter(), by=by, order=query.order, limit=query.limit)
    return UsageBreakdownView.of(found)


@router.get("/percentiles")
async def measure_latencies(
    actor: LoggedIn, pool: AppPool, query: Annotated[PercentilesQuery, Query()]
) -> UsagePercentilesView:
    """Percentiles of the whole call and of its first byte, within 5 %."""
    found = await reports.measure_latencies(pool, actor, query.as_filter(), by=query.by)
    return UsagePercentilesView.of(found)


@router.get("/export", response_class=StreamingResponse, responses=FILES)
async def export_usage(actor: LoggedIn, pool: AppPool, query: Annotated[ExportQuery, Query()]) -> StreamingResponse:
    """A file, sent as it is read, of any size."""
    export = await exports.export_usage(pool, actor, query.as_filter(), file_format=query.format, detail=query.detail)
    return StreamingResponse(
        usage_files.parts_of(export),
        media_type=usage_files.MEDIA_TYPES[export.file_format],
        headers={"content-disposition": f'attachment; filename="{usage_files.name_of(export)}"'},
    )
