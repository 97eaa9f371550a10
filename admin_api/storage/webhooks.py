"""Webhooks: where notifications go, with the encrypted secret that signs them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal, get_args

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor


# What is posted: the JSON of Standard Webhooks, or a chat message.
Format = Literal["standard", "slack", "teams"]
FORMATS: Final = get_args(Format)


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """`account_id` None: of all accounts. `secret` is encrypted."""

    id: int
    account_id: int | None
    account_name: str | None
    url: str
    events: list[str]
    format: Format
    secret: bytes = field(repr=False)
    enabled: bool
    created_by: str
    created_at: datetime
    updated_at: datetime


INSERT_WEBHOOK: Final = """
INSERT INTO webhooks (account_id, url, events, format, secret, created_by) VALUES ($1, $2, $3, $4, '', $5) RETURNING id
"""


async def insert_webhook(
    executor: "Executor",
    *,
    account_id: int | None,
    url: str,
    events: Sequence[str],
    form: Format,
    created_by: str,
) -> int:
    """Without its secret, which is encrypted for the id that this returns."""
    webhook_id: int = await executor.fetchval(INSERT_WEBHOOK, account_id, url, list(events), form, created_by)
    return webhook_id


REPLACE_ENCRYPTED: Final = """
UPDATE webhooks SET secret = $2, updated_at = now() WHERE id = $1
"""


async def update_secret(executor: "Executor", webhook_id: int, secret: bytes) -> None:
    """`secret` is encrypted."""
    await executor.execute(REPLACE_ENCRYPTED, webhook_id, secret)


UPDATE_WEBHOOK: Final = """
UPDATE webhooks SET url = $2, events = $3, format = $4, enabled = $5, updated_at = now() WHERE id = $1
"""


async def update_webhook(executor: "Executor", webhook: Webhook) -> None:
    """All but the secret."""
    await executor.execute(
        UPDATE_WEBHOOK, webhook.id, webhook.url, list(webhook.events), webhook.format, webhook.enabled
    )


_WEBHOOKS: Final = """
SELECT w.id, w.account_id, a.name AS account_name, w.url, w.events, w.format, w.secret, w.enabled, w.created_by,
    w.created_at, w.updated_at
FROM webhooks w LEFT JOIN accounts a ON a.id = w.account_id
"""
# Deliveries to it, which reference it, are inserted meanwhile all the same.
LOCK_WEBHOOK: Final = f"""
{_WEBHOOKS} WHERE w.id = $1 FOR NO KEY UPDATE OF w
"""


async def lock_webhook(executor: "Executor", webhook_id: int) -> Webhook | None:
    """Locked until the transaction ends."""
    row = await executor.fetchrow(LOCK_WEBHOOK, webhook_id)
    return Webhook(**row) if row else None


LIST_WEBHOOKS: Final = f"""
{_WEBHOOKS} WHERE w.id > $1 ORDER BY w.id LIMIT $2
"""


async def list_webhooks(executor: "Executor", *, after_id: int, limit: int) -> list[Webhook]:
    """By id, those after `after_id`."""
    return [Webhook(**row) for row in await executor.fetch(LIST_WEBHOOKS, after_id, limit)]


DELETE_WEBHOOK: Final = """
DELETE FROM webhooks WHERE id = $1
"""


async def delete_webhook(executor: "Executor", webhook_id: int) -> None:
    """With what still waits to be sent to it."""
    await executor.execute(DELETE_WEBHOOK, webhook_id)
