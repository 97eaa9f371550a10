"""E-mails to admins about what waits for their approval, subscriptions and more of a limit: a digest, not one for each
request."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from admin_api.operations.runtime_settings import read_settings
from admin_api.storage import deliveries, pending_requests, runtime_settings

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

EVENT: Final = "requests.pending"
# Requests often come several at a time: the first one waits this long for others.
COLLECTED: Final = timedelta(seconds=60)
MAX_LISTED: Final = 50
# The last e-mail: when it was written, and the newest request in it. Stored with the settings, but no setting itself.
REPORTED: Final = "pending_requests_reported"


async def mail_pending_requests(pool: "Pool", now: datetime | None = None) -> int:
    """Writes one e-mail to each admin if requests have come since the last one, and that was long enough ago. Returns
    the number of requests in it; 0 if none was written."""
    now = now or datetime.now(UTC)
    async with pool.acquire() as connection, connection.transaction():
        hours = (await read_settings(connection)).pending_requests_email_hours
        if hours is None or not await pending_requests.try_lock(connection):
            return 0
        last = (await runtime_settings.list_settings(connection)).get(REPORTED)
        found = await pending_requests.count_pending(connection, since=_moment(last, "until"))
        if found.first_new is None or found.last_new is None or found.first_new > now - COLLECTED:
            return 0
        written_at = _moment(last, "at")
        if written_at is not None and written_at > now - timedelta(hours=hours):
            return 0
        listed = await pending_requests.list_pending(connection, limit=MAX_LISTED)
        rows = [
            {
                "subscription_id": row.subscription_id,
                "limit_request_id": row.limit_request_id,
                "limit_id": row.limit_id,
                "account": row.account,
                "model": row.model,
                "since": row.since.isoformat(),
            }
            for row in listed
        ]
        await deliveries.insert_for_admins(connection, event=EVENT, payload={"count": found.count, "requests": rows})
        reported = {"at": now.isoformat(), "until": found.last_new.isoformat()}
        await runtime_settings.upsert_settings(connection, {REPORTED: reported})
        return found.count


def _moment(last: Any, name: str) -> datetime | None:
    return None if last is None else datetime.fromisoformat(last[name])
