"""`/api/v1/admin/usage-store`."""

from typing import Annotated

from fastapi import APIRouter, Query

from admin_api.operations.maintenance import usage_store
from admin_api.routes.dependencies import AppClickHouse, AppPool, Reader
from admin_api.routes.responses import ERRORS
from admin_api.schemas.usage_store import UsageStoreCheckView, UsageStoreView

router = APIRouter(prefix="/api/v1/admin/usage-store", tags=["ledger"], responses=ERRORS)


@router.get("")
async def show_usage_store(actor: Reader, pool: AppPool, clickhouse: AppClickHouse) -> UsageStoreView:
    """How far ClickHouse is, if there is one."""
    return UsageStoreView.of(await usage_store.read_status(pool, actor, clickhouse))


@router.get("/verify")
async def verify_usage_store(
    actor: Reader,
    pool: AppPool,
    clickhouse: AppClickHouse,
    days: Annotated[
        int, Query(ge=1, le=usage_store.MAX_DAYS, description="Number of UTC days, up to and including today")
    ] = 31,
) -> UsageStoreCheckView:
    """Compares every sum in ClickHouse with the rollups. Calls of the last seconds may differ."""
    return UsageStoreCheckView.of(await usage_store.verify_usage_store(pool, actor, clickhouse, days=days))
