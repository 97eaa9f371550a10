"""`/api/v1/alerts`, and those of all accounts: `/api/v1/admin/alerts`."""

from typing import Annotated

from fastapi import APIRouter, Query

from admin_api.operations.notifications import alerts
from admin_api.routes.dependencies import ID, AppPool, Cursor, LoggedIn, PageSize, Reader
from admin_api.routes.responses import ERRORS
from admin_api.schemas.alerts import AlertView
from admin_api.schemas.shapes import PageView

router = APIRouter(prefix="/api/v1", tags=["alerts"], responses=ERRORS)
Acknowledged = Annotated[bool | None, Query(description="Only acknowledged ones, or only others")]


@router.get("/alerts")
async def list_own_alerts(
    actor: LoggedIn, pool: AppPool, acknowledged: Acknowledged = None, limit: PageSize = 100, cursor: Cursor = None
) -> PageView[AlertView]:
    """The caller's own, newest first: of their account, their keys and the teams they own."""
    page = await alerts.list_alerts(pool, actor, acknowledged=acknowledged, limit=limit, cursor=cursor)
    return PageView[AlertView].of(page, AlertView.of)


@router.get("/admin/alerts")
async def list_all_alerts(
    actor: Reader, pool: AppPool, acknowledged: Acknowledged = None, limit: PageSize = 100, cursor: Cursor = None
) -> PageView[AlertView]:
    """Those of all accounts, newest first."""
    page = await alerts.list_alerts(pool, actor, everybody=True, acknowledged=acknowledged, limit=limit, cursor=cursor)
    return PageView[AlertView].of(page, AlertView.of)


@router.post("/alerts/{alert_id}/acknowledge")
async def acknowledge_alert(actor: LoggedIn, pool: AppPool, alert_id: ID) -> AlertView:
    """Marks an alert as seen. Doing it again changes nothing."""
    return AlertView.of(await alerts.acknowledge_alert(pool, actor, alert_id))
