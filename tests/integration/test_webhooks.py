"""Webhooks: created with a secret that is shown once and stored encrypted."""

import httpx2
import pytest
from admin_client import SECRET_KEYS, check_error
from alerting import send_due
from factories import ADMIN, make_user

from admin_api.encryption import SecretKeys
from admin_api.operations.notifications.channels import Sender
from admin_api.operations.notifications.webhook_urls import WebhookURLRules
from admin_api.operations.notifications.webhooks import create_webhook
from gateway.storage.postgres import Pool

KEYS = SecretKeys.parse(SECRET_KEYS)
INPUT = {"url": "https://hooks.example.com/x", "events": ["limit.threshold_reached"]}


async def test_the_secret_of_a_webhook_is_shown_once(admin: httpx2.AsyncClient, pool: Pool) -> None:
    user = await make_user(pool)
    made = await admin.post("/api/v1/webhooks", json=INPUT | {"user": user.email})
    body = made.json()
    path = f"/api/v1/webhooks/{body['id']}"

    listed = await admin.get("/api/v1/webhooks")
    changed = await admin.patch(path, json={"enabled": False})
    renewed = await admin.post(f"{path}/secret")
    removed = await admin.delete(path)

    assert (made.status_code, renewed.status_code, removed.status_code) == (201, 200, 204)
    assert body["secret"].startswith("whsec_")
    assert body["account_id"] == user.account_id
    assert renewed.json()["secret"] != body["secret"]
    for answer in (listed, changed):
        assert "secret" not in answer.text
    written = await pool.fetch("SELECT action, old::text, new::text FROM audit_logs WHERE action LIKE 'webhook.%'")
    assert len(written) == 4
    assert not any("whsec_" in str(tuple(row)) for row in written)


@pytest.mark.parametrize(
    "fields",
    [INPUT | {"url": "http://hooks.example.com"}, INPUT | {"events": []}, INPUT | {"events": ["nothing"]},
     INPUT | {"user": "1", "team": "1"}],
)  # fmt: skip
async def test_an_invalid_webhook_is_refused(admin: httpx2.AsyncClient, fields: dict[str, object]) -> None:
    check_error(await admin.post("/api/v1/webhooks", json=fields), 422, "validation_failed")


async def test_a_message_to_a_private_address_is_not_sent(pool: Pool) -> None:
    fields = {"url": "https://localhost:1/x", "events": ["subscription.denied"]}
    await create_webhook(pool, ADMIN, KEYS, WebhookURLRules(), **fields)  # type: ignore[arg-type]  # a wish
    await pool.execute(
        "INSERT INTO deliveries (channel, webhook_id, event, payload) SELECT 'webhook', id, 'x', '{}' FROM webhooks"
    )

    assert await send_due(pool, Sender(keys=KEYS)) == 0
    assert "not public" in await pool.fetchval("SELECT last_error FROM deliveries")
