"""JSON of alerts and webhooks; only a new webhook has its secret."""

from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from admin_api.schemas.shapes import View
from admin_api.storage.webhooks import Format
from gateway.domain.limits import Kind, Level, amount_fields
from gateway.domain.windows import WindowKind

if TYPE_CHECKING:
    from admin_api.operations.notifications.webhooks import NewWebhook
    from admin_api.storage.alerts import Alert


class AlertView(View):
    """A window limit that reached `threshold_percent`. For kind cost `used` and `limit` are null; the fields that name
    the unit hold them. `forecast_at`: when the limit is reached at the rate so far; null: not within the window.
    `about` has the names at that time."""

    id: int
    account_id: int
    user_id: int | None
    level: Level
    kind: Kind
    window: WindowKind
    window_start: datetime
    window_end: datetime | None
    threshold_percent: int
    used: int | None
    limit: int | None
    used_usd: str | None = None
    limit_usd: str | None = None
    used_nano_usd: int | None = None
    limit_nano_usd: int | None = None
    forecast_at: datetime | None
    about: dict[str, Any]
    created_at: datetime
    cleared_at: datetime | None
    acknowledged_at: datetime | None
    acknowledged_by: str | None

    @classmethod
    def of(cls, alert: "Alert") -> Self:
        """One alert."""
        other: dict[str, Any] = {"threshold_percent": alert.threshold}
        other |= amount_fields("used", alert.kind, alert.used) | amount_fields("limit", alert.kind, alert.amount)
        fields = {name: getattr(alert, name) for name in cls.model_fields if hasattr(alert, name)}
        return cls(**fields | other)


class WebhookView(View):
    """A webhook; `account_id` null: for events of all accounts."""

    id: int
    account_id: int | None
    account_name: str | None
    url: str
    events: list[str]
    format: Format
    enabled: bool
    created_by: str
    created_at: datetime
    updated_at: datetime


class NewWebhookView(WebhookView):
    """A webhook with its signing secret, shown this once."""

    secret: str

    @classmethod
    def of(cls, made: "NewWebhook") -> Self:
        """One that was made, or given a new secret."""
        fields = {name: getattr(made.webhook, name) for name in WebhookView.model_fields}
        return cls(**fields, secret=made.secret)
