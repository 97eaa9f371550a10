"""`/api/v1/admin/deliveries`."""

from typing import Annotated

from fastapi import APIRouter, Query

from admin_api.operations.notifications import deliveries
from admin_api.operations.pagination import MAX_ID
from admin_api.routes.dependencies import ID, Admin, AppPool, Cursor, PageSize, Reader
from admin_api.routes.responses import ERRORS
from admin_api.schemas.deliveries import DeliveryView
from admin_api.schemas.shapes import PageView
from admin_api.storage.delivery_reports import Status

router = APIRouter(prefix="/api/v1/admin/deliveries", tags=["alerts"], responses=ERRORS)


@router.get("")
async def list_deliveries(
    actor: Reader,
    pool: AppPool,
    status: Annotated[Status | None, Query()] = None,
    webhook: Annotated[int | None, Query(ge=1, le=MAX_ID, description="Id of a webhook")] = None,
    alert: Annotated[int | None, Query(ge=1, le=MAX_ID, description="Id of an alert")] = None,
    limit: PageSize = 100,
    cursor: Cursor = None,
) -> PageView[DeliveryView]:
    """Notifications sent to webhooks and by e-mail, newest first. They are kept for 30 days."""
    page = await deliveries.list_deliveries(
        pool, actor, status=status, webhook=webhook, alert=alert, limit=limit, cursor=cursor
    )
    return PageView[DeliveryView].model_validate(page)


@router.post("/{delivery_id}/retry")
async def retry_delivery(actor: Admin, pool: AppPool, delivery_id: ID) -> DeliveryView:
    """Tries now again, under the same id: a delivery that failed, or whose next try is more than a minute away."""
    return DeliveryView.model_validate(await deliveries.retry_delivery(pool, actor, delivery_id))
