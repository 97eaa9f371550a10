"""`/api/v1/refusals`."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query

from admin_api.operations.pagination import MAX_ID
from admin_api.operations.usage import refusals
from admin_api.operations.usage.scope import MAX_WORDS, UsageFilter
from admin_api.routes.dependencies import AppPool, Cursor, LoggedIn, PageSize, TeamQuery, UserQuery
from admin_api.routes.responses import ERRORS
from admin_api.schemas.refusals import RefusalCountView, RefusedCallView
from admin_api.schemas.shapes import PageView

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


@router.get("/{request_id}")
async def show_refused_call(
    actor: LoggedIn,
    pool: AppPool,
    request_id: Annotated[str, Path(max_length=64, description="As in x-request-id of the answer")],
) -> RefusedCallView:
    """One refused call of the last seven days, as its caller was answered. The first ten of each account and minute are
    kept."""
    return RefusedCallView.model_validate(await refusals.find_refused_call(pool, actor, request_id))
