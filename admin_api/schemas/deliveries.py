"""JSON of deliveries of notifications, without signing secrets."""

from datetime import datetime
from uuid import UUID

from pydantic import Field

from admin_api.schemas.shapes import View
from admin_api.storage.deliveries import Channel
from admin_api.storage.delivery_reports import Status


class DeliveryView(View):
    """One message to one webhook or e-mail address. `status` waiting: for the first try, or for the next one at
    `next_try_at`; failed: after the last try; dropped: out of date before it could be sent, `last_error` says why.
    `message_id` is sent as `webhook-id`, or in the Message-ID of an e-mail with one message."""

    id: int
    message_id: UUID
    channel: Channel
    status: Status
    event: str
    alert_id: int | None
    webhook_id: int | None
    url: str | None
    user_id: int | None
    email: str | None
    tries: int
    last_error: str | None
    last_status: int | None = Field(
        default=None, description="HTTP or SMTP status that the receiver last answered with"
    )
    last_answer: str | None = Field(default=None, description="First 200 characters of what it answered")
    next_try_at: datetime | None
    delivered_at: datetime | None
    failed_at: datetime | None
    dropped_at: datetime | None
    created_at: datetime
