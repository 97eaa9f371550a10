"""Deliveries of notifications: list and retry, for admins."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

from admin_api.operations.actors import Actor, note, require_admin, require_reader
from admin_api.operations.notifications.outbox import LEASE, NO_MAIL_SERVER
from admin_api.operations.pagination import MAX_ID, Page, check_limit, page, parse_id_cursor
from admin_api.operations.validation import check_word, invalid
from admin_api.storage import delivery_reports as rows
from admin_api.storage.delivery_reports import STATUSES, DeliveryReport, Status
from gateway.domain.errors import GatewayError

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool


async def list_deliveries(
    pool: "Pool",
    actor: Actor,
    *,
    status: str | None = None,
    webhook: int | None = None,
    alert: int | None = None,
    limit: int = 100,
    cursor: str | None = None,
) -> Page[DeliveryReport]:
    """Newest first. `webhook` and `alert` are ids. All given filters must match."""
    require_reader(actor)
    check_limit(limit)
    before = parse_id_cursor(cursor, first=MAX_ID)
    for name, number in (("webhook", webhook), ("alert", alert)):
        if number is not None and not 0 < number <= MAX_ID:
            raise invalid(name, f"{name} must be an id, a number from 1.")
    wanted = None if status is None else cast("Status", check_word("status", status, STATUSES))
    async with pool.acquire() as connection:
        found = await rows.list_deliveries(
            connection, before_id=before, limit=limit + 1, status=wanted, webhook_id=webhook, alert_id=alert
        )
    return page(found, limit, lambda row: row.id)


async def retry_delivery(pool: "Pool", actor: Actor, delivery_id: int) -> DeliveryReport:
    """Retries a failed or waiting delivery now, with the same message id. Raises GatewayError `not_found`, or
    `conflict` if it was delivered or dropped, will be tried within a minute anyway, its webhook is disabled, or there
    is no mail server."""
    require_admin(actor)
    async with pool.acquire() as connection, connection.transaction():
        old = await rows.lock_delivery(connection, delivery_id) if 0 < delivery_id < MAX_ID else None
        if old is None:
            raise GatewayError("not_found", f"There is no delivery {delivery_id}.")
        if old.status == "delivered":
            raise GatewayError("conflict", "The delivery has already succeeded.", details={"status": old.status})
        if old.status == "dropped":
            raise GatewayError("conflict", f"It is out of date. {old.last_error}", details={"status": old.status})
        if old.is_held and old.channel == "email":
            raise GatewayError("conflict", NO_MAIL_SERVER, details={"status": old.status})
        if old.is_held:
            raise GatewayError("conflict", "The webhook is disabled. Enable it first.", details={"status": old.status})
        # Also during an attempt, which lasts as long as its lease.
        if old.next_try_at is not None and old.next_try_at <= datetime.now(UTC) + LEASE:
            raise GatewayError("conflict", "The next attempt is within a minute.", details={"status": old.status})
        await rows.mark_due(connection, old.id)
        before = {"status": old.status, "tries": old.tries}
        await note(connection, actor, "delivery.retry", "delivery", old.id, old=before, new={"status": "waiting"})
        new = await rows.lock_delivery(connection, old.id)
    if new is None:
        raise RuntimeError("a delivery that was locked is gone")
    return new
