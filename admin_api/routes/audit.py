"""`/api/v1/admin/audit` and `/api/v1/users/me/activity`, both read-only."""

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse

from admin_api.operations import audit
from admin_api.operations.audit_rows import AuditEntry
from admin_api.operations.csv_formats import LOCALE, csv_format_of
from admin_api.operations.pagination import Page
from admin_api.routes.dependencies import AppPool, Cursor, LoggedIn, Moment, PageSize, Reader
from admin_api.routes.responses import ERRORS
from admin_api.schemas.audit import AuditView, FileFormat, as_csv, as_json
from admin_api.schemas.shapes import PageView
from gateway.storage.audit import AuditFilter

router = APIRouter(prefix="/api/v1/admin/audit", tags=["audit"], responses=ERRORS)
activity_router = APIRouter(prefix="/api/v1/users/me", tags=["audit"], responses=ERRORS)


Word = Annotated[str | None, Query(max_length=254)]
FILES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/csv": {"schema": {"type": "string"}}, "application/json": {"schema": {"type": "array"}}}}
}


def filter_of(
    about: Annotated[
        str | None,
        Query(
            max_length=300,
            description="All rows about one thing, as user:ana@example.org, team:red, key:7 or model:small",
        ),
    ] = None,
    actor_name: Annotated[
        str | None,
        Query(alias="actor", max_length=254, description="Name, as in the rows; without cli: also by commands"),
    ] = None,
    action: Annotated[str | None, Query(max_length=254, description="For example subscription.approve")] = None,
    target_kind: Word = None,
    target_id: Word = None,
    request_id: Annotated[UUID | None, Query(description="x-request-id of the answer")] = None,
    since: Annotated[Moment | None, Query(description="From this time on")] = None,
    until: Annotated[Moment | None, Query(description="Before this time")] = None,
) -> AuditFilter:
    """Rows must match all filters that are given."""
    return AuditFilter(
        about=about,
        actor=actor_name,
        action=action,
        target_kind=target_kind,
        target_id=target_id,
        request_id=request_id,
        since=since,
        until=until,
    )


Only = Annotated[AuditFilter, Depends(filter_of)]


@router.get("")
async def list_audit(
    actor: Reader, pool: AppPool, only: Only, limit: PageSize = 100, cursor: Cursor = None
) -> PageView[AuditView]:
    """Every change by anyone, newest first."""
    return _page(await audit.list_audit(pool, actor, only, limit=limit, cursor=cursor))


@router.get("/export", response_class=StreamingResponse, responses=FILES)
async def export_audit(
    actor: Reader,
    pool: AppPool,
    only: Only,
    format: Annotated[FileFormat, Query()] = "csv",
    locale: Annotated[str | None, Query(max_length=20, description=LOCALE)] = None,
) -> StreamingResponse:
    """All rows as a file, newest first."""
    csv_format = csv_format_of(locale)
    parts = audit.read_parts(pool, actor, only)
    # Read before the answer begins, so that a failure is an error and not half a file.
    first = await anext(parts)
    rows = _begin_with(first, parts)
    body = as_csv(rows, csv_format) if format == "csv" else as_json(rows)
    media_type = "text/csv" if format == "csv" else "application/json"
    headers = {"content-disposition": f'attachment; filename="audit.{format}"', "cache-control": "no-store"}
    return StreamingResponse(body, media_type=media_type, headers=headers)


async def _begin_with(
    first: Sequence[AuditEntry], rest: AsyncIterator[Sequence[AuditEntry]]
) -> AsyncIterator[Sequence[AuditEntry]]:
    yield first
    async for part in rest:
        yield part


@activity_router.get("/activity")
async def list_own_activity(
    actor: LoggedIn, pool: AppPool, limit: PageSize = 100, cursor: Cursor = None
) -> PageView[AuditView]:
    """The caller's own changes, newest first."""
    return _page(await audit.list_activity(pool, actor, limit=limit, cursor=cursor))


def _page(found: Page[AuditEntry]) -> PageView[AuditView]:
    return PageView[AuditView].of(found, AuditView.of)
