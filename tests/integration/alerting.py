"""Shared by tests of alerts: usage as a gateway writes it, limits of a key, webhooks, and a sender without pauses."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from itertools import count
from typing import Any

from factories import ADMIN, READER
from notification_servers import WebhookServer
from usage_rows import write_rows

from admin_api.encryption import SecretKeys
from admin_api.operations.keys.keys import NewKey
from admin_api.operations.limits import limits
from admin_api.operations.limits.limits import LimitInput
from admin_api.operations.notifications.alerts import list_alerts
from admin_api.operations.notifications.channels import Sender
from admin_api.operations.notifications.outbox import Outbox
from admin_api.operations.notifications.webhook_urls import WebhookURLRules
from admin_api.operations.notifications.webhooks import create_webhook
from gateway.domain.ids import uuid7
from gateway.domain.usage_rows import UsageRow
from gateway.storage.postgres import Pool

KEYS = SecretKeys.parse("1:" + "0123456789abcdef" * 4)
THRESHOLDS = dict.fromkeys((50, 80, 100))
RULES = WebhookURLRules(allow_http=True, networks=(ip_network("127.0.0.0/8"),))
AT_ONCE = tuple(timedelta(0) for _ in range(8))
SENDER = Sender(keys=KEYS, rules=RULES, pauses=AT_ONCE)
_numbers = count(1)


async def use(pool: Pool, key: NewKey, *, tokens: int = 0, at: datetime | None = None, **changes: Any) -> None:
    """Writes one call of the key to the ledger, as a gateway does."""
    moment = at or datetime.now(UTC)
    # Half a millisecond may be rounded here one way and by the database the other.
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    subscription = await pool.fetchrow(
        "SELECT s.id, s.model_id FROM subscriptions s JOIN api_key_models m USING (model_id) "
        "WHERE s.account_id = $1 AND m.api_key_id = $2",
        key.row.account_id,
        key.row.id,
    )
    assert subscription is not None
    about: dict[str, Any] = {
        "request_id": uuid7(round(moment.timestamp() * 1000), next(_numbers).to_bytes(10, "big")),
        "started_at": moment, "account_id": key.row.account_id, "user_id": key.row.user_id,
        "api_key_id": key.row.id, "subscription_id": subscription["id"], "model_id": subscription["model_id"],
        "model_asked": "small", "model_served": None, "endpoint": "chat_completions", "streamed": False,
        "status": 200, "ending": "completed", "prompt_tokens": tokens, "completion_tokens": 0, "cached_tokens": 0,
        "cache_write_tokens": 0, "reasoning_tokens": 0, "cost_nano_usd": 0, "price_id": None,
        "litellm_cost_nano_usd": None, "counted_requests": 1, "counted_tokens": tokens, "counted_nano_usd": 0,
        "first_byte_ms": 1, "total_ms": 1, "estimated": False, "estimated_why": None, "error_code": None,
    }  # fmt: skip
    await write_rows(pool, [UsageRow(**(about | changes))])


async def limit_key(pool: Pool, key: NewKey, amount: int | None, *, kind: str = "tokens", **fields: Any) -> None:
    """A limit of the key by the month."""
    about = LimitInput(kind=kind, amount=amount, window=fields.pop("window", "month"), **fields)
    await limits.set_limit(pool, ADMIN, about, level="key", target=str(key.row.id), model=None, team=None)


async def thresholds_of(pool: Pool) -> list[int]:
    rows = (await list_alerts(pool, READER, everybody=True)).rows
    return sorted(row.threshold for row in rows)


async def make_hook(pool: Pool, hook: WebhookServer) -> str:
    events = ["limit.threshold_reached", "subscription.denied"]
    return (await create_webhook(pool, ADMIN, KEYS, RULES, url=hook.url, events=events)).secret


async def send_due(pool: Pool, sender: Sender) -> int:
    """One attempt of each due delivery within the maximum in flight; returns how many arrived."""
    outbox = Outbox(pool, sender)
    await outbox.begin_due()
    await outbox.close(grace_s=30)
    return outbox.delivered


async def send_all(pool: Pool, sender: Sender = SENDER) -> int:
    """Sends until nothing is due."""
    sent = 0
    for _ in range(20):
        sent += await send_due(pool, sender)
    return sent
