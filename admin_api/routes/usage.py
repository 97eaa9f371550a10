"""`/api/v1/usage`"""

from typing import Annotated

from fastapi import APIRouter, Query

from admin_api.operations import usage
from admin_api.operations.pages import MOST_ID
from admin_api.routes.requests import ERRORS, Admin, AppPool, Cursor, PageSize
from admin_api.views.usage import UsageView

router = APIRouter(prefix="/api/v1/usage", tags=["usage"], responses=ERRORS)


@router.get("")
async def show_usage(
    actor: Admin,
    pool: AppPool,
    key: Annotated[int | None, Query(ge=1, le=MOST_ID, description="Only of this key, by id")] = None,
    limit: PageSize = 100,
    cursor: Cursor = None,
) -> UsageView:
    """Calls, newest first, and the totals of all of them."""
    return UsageView.of(await usage.show_usage(pool, actor, key_id=key, limit=limit, cursor=cursor))
