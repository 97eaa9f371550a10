"""Webhooks: made with a secret that is shown once and kept sealed."""

import json

import httpx2
import pytest
from admin_client import check_error
from factories import ADMIN, make_user
from typer.testing import CliRunner

from admin_api.cli.app import build_app
from admin_api.operations.receivers import ReceiverRules
from admin_api.operations.send import PURPOSE, Sender, send_due
from admin_api.operations.webhooks import create_webhook, rotate_secrets
from admin_api.seals import SealError, SecretKeys
from gateway.storage.postgres import Pool

ONE, TWO = "1:" + "0123456789abcdef" * 4, "2:" + "fedcba9876543210" * 4
OLD, BOTH, NEW = (SecretKeys.parse(text) for text in (ONE, f"{ONE},{TWO}", TWO))
WISH = {"url": "https://hooks.example.com/x", "events": ["limit.threshold_reached"]}


async def make(pool: Pool, keys: SecretKeys = OLD) -> str:
    wish = {"url": "https://hooks.example.com/x", "events": ["subscription.denied"]}
    return (await create_webhook(pool, ADMIN, keys, ReceiverRules(), **wish)).secret  # type: ignore[arg-type]  # a wish


async def open_all(pool: Pool, keys: SecretKeys) -> list[str]:
    rows = await pool.fetch("SELECT id, secret FROM webhooks ORDER BY id")
    return [keys.open(row["secret"], purpose=PURPOSE, row=row["id"]) for row in rows]


async def test_the_secret_is_shown_once(admin: httpx2.AsyncClient, pool: Pool) -> None:
    user = await make_user(pool)
    made = await admin.post("/api/v1/webhooks", json=WISH | {"user": user.email})
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
    "wish",
    [WISH | {"url": "http://hooks.example.com"}, WISH | {"events": []}, WISH | {"events": ["nothing"]},
     WISH | {"user": "1", "team": "1"}],
)  # fmt: skip
async def test_a_wrong_wish_is_refused(admin: httpx2.AsyncClient, wish: dict[str, object]) -> None:
    check_error(await admin.post("/api/v1/webhooks", json=wish), 422, "validation_failed")


async def test_without_a_key_nothing_is_kept_and_the_message_says_what_to_set(pool: Pool) -> None:
    with pytest.raises(Exception, match="LITEMAAS_SECRET_KEYS"):
        await make(pool, None)  # type: ignore[arg-type]  # that is the point

    assert await pool.fetchval("SELECT count(*) FROM webhooks") == 0


async def test_rotation_seals_all_anew_and_the_old_key_may_go(pool: Pool) -> None:
    made = [await make(pool), await make(pool), await make(pool, BOTH)]

    assert await rotate_secrets(pool, ADMIN, BOTH) == 2
    assert await rotate_secrets(pool, ADMIN, BOTH) == 0
    assert await open_all(pool, NEW) == made


async def test_rotation_with_a_wrong_key_changes_nothing(pool: Pool) -> None:
    made = [await make(pool), await make(pool)]

    with pytest.raises(SealError, match="version 1"):
        await rotate_secrets(pool, ADMIN, NEW)

    assert await open_all(pool, OLD) == made


async def test_the_command_rotates(pool: Pool, database: object, monkeypatch: pytest.MonkeyPatch) -> None:
    await make(pool)
    monkeypatch.setenv("LITEMAAS_DATABASE_URL", database.app_url)  # type: ignore[attr-defined]  # a Database
    monkeypatch.setenv("LITEMAAS_SECRET_KEYS", f"{ONE},{TWO}")
    import asyncio

    done = await asyncio.to_thread(CliRunner().invoke, build_app(["secrets"]), ["secrets", "rotate", "--json"])

    assert (done.exit_code, json.loads(done.stdout)) == (0, {"sealed_anew": 1})


async def test_a_message_to_a_private_address_is_not_sent(pool: Pool) -> None:
    wish = {"url": "https://localhost:1/x", "events": ["subscription.denied"]}
    await create_webhook(pool, ADMIN, OLD, ReceiverRules(), **wish)  # type: ignore[arg-type]  # a wish
    await pool.execute(
        "INSERT INTO deliveries (channel, webhook_id, event, payload) SELECT 'webhook', id, 'x', '{}' FROM webhooks"
    )

    assert await send_due(pool, Sender(keys=OLD)) == 0
    assert "private" in await pool.fetchval("SELECT last_error FROM deliveries")
