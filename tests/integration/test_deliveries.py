"""Admins see the state of deliveries and can repeat failed ones."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from admin_client import LOGIN, SECRET_KEYS, check_error, settings_for
from alerting import KEYS, RULES, SENDER, limit_key, make_hook, send_all, send_due, use
from conftest import Database
from factories import make_key
from notification_servers import WebhookServer
from test_alerts import explain
from typer.testing import CliRunner

from admin_api.cli.app import build_app
from admin_api.main import create_app
from admin_api.operations.notifications.alerts import raise_alerts
from admin_api.operations.notifications.channels import Sender
from admin_api.operations.notifications.outbox import Outbox
from admin_api.storage.delivery_reports import LIST_DELIVERIES
from gateway.storage.postgres import Pool

PATH = "/api/v1/admin/deliveries"
# One more attempt, after an hour.
PATIENT = Sender(keys=KEYS, rules=RULES, pauses=(timedelta(hours=1),))
HASTY = Sender(keys=KEYS, rules=RULES, pauses=())


@pytest.fixture
async def hook() -> AsyncIterator[WebhookServer]:
    async with WebhookServer() as server:
        yield server


@pytest.fixture
async def admin(database: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx2.AsyncClient]:
    """It sends nothing by itself, and looks for alerts only when it starts."""

    async def nothing(*_: object) -> None: ...

    monkeypatch.setattr(Outbox, "send_due", nothing)
    app = create_app(settings_for(database.app_url, alert_interval_s=3600))
    transport = httpx2.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://admin", headers=LOGIN) as opened,
    ):
        yield opened


async def alert(pool: Pool) -> int:
    """One alert with its messages, and nothing else in the outbox; its id."""
    key = await make_key(pool)
    await pool.execute("DELETE FROM deliveries")
    await limit_key(pool, key, 100)
    await use(pool, key, tokens=90)
    assert await raise_alerts(pool, {80: None}) == 1
    return int(await pool.fetchval("SELECT max(id) FROM alerts"))


async def listed(admin: httpx2.AsyncClient, **only: Any) -> list[dict[str, Any]]:
    answer = await admin.get(PATH, params=only)
    assert answer.status_code == 200, answer.text
    rows: list[dict[str, Any]] = answer.json()["rows"]
    return rows


async def test_every_delivery_state_is_shown_with_reason_and_time(
    admin: httpx2.AsyncClient, pool: Pool, hook: WebhookServer
) -> None:
    await make_hook(pool, hook)
    webhook = await pool.fetchval("SELECT id FROM webhooks")
    alert_id = await alert(pool)
    seen = {}
    hook.statuses = [500, 503]
    for name, sender in (("failed once", PATIENT), ("failed", HASTY), ("delivered", SENDER)):
        await send_due(pool, sender)
        (seen[name],) = await listed(admin, webhook=webhook)
        # Makes the next attempt due, or adds one.
        await pool.execute("UPDATE deliveries SET next_try_at = now(), gave_up_at = NULL WHERE channel = 'webhook'")
    mails = [row for row in await listed(admin) if row["channel"] == "email"]

    about = {"event": "limit.threshold_reached", "alert_id": alert_id, "url": hook.url, "email": None}
    assert all(about.items() <= row.items() for row in seen.values())
    once, failed, delivered = seen.values()
    assert (once["status"], once["tries"], once["last_error"]) == (
        "waiting", 1, "The receiver answered with status 500."
    )  # fmt: skip
    assert once["next_try_at"] > once["created_at"]
    assert (failed["status"], failed["tries"], failed["next_try_at"]) == ("failed", 2, None)
    assert failed["failed_at"] is not None
    assert "503" in failed["last_error"]
    assert (delivered["status"], delivered["tries"], delivered["last_error"]) == ("delivered", 3, None)
    assert delivered["delivered_at"] is not None
    assert delivered["message_id"] == hook.accepted[0].headers["webhook-id"]
    # No mail server is configured.
    assert [(row["status"], row["tries"], row["alert_id"]) for row in mails] == [("waiting", 0, alert_id)]
    assert "whsec_" not in json.dumps([*seen.values(), *mails])


async def test_delivery_filters_and_pages_work(admin: httpx2.AsyncClient, pool: Pool, hook: WebhookServer) -> None:
    async with WebhookServer() as bad:
        await make_hook(pool, hook)
        await make_hook(pool, bad)
        bad.statuses = [500] * 9
        key = await make_key(pool)
        await pool.execute("DELETE FROM deliveries")
        await limit_key(pool, key, 100)
        for tokens in (50, 30):
            await use(pool, key, tokens=tokens)
            await raise_alerts(pool, {50: None, 80: None})
            await send_all(pool, HASTY)
        good_id, bad_id = [row["id"] for row in await pool.fetch("SELECT id FROM webhooks ORDER BY id")]
        first, second = [row["id"] for row in await pool.fetch("SELECT id FROM alerts ORDER BY id")]

    by_status = {status: await listed(admin, status=status) for status in ("waiting", "delivered", "failed")}
    assert {status: [row["webhook_id"] for row in rows] for status, rows in by_status.items()} == {
        "waiting": [None] * 2, "delivered": [good_id] * 2, "failed": [bad_id] * 2
    }  # fmt: skip
    assert [(row["status"], row["alert_id"]) for row in await listed(admin, webhook=bad_id)] == [
        ("failed", second), ("failed", first)
    ]  # fmt: skip
    assert len(await listed(admin, alert=second)) == 3
    assert len(await listed(admin, alert=second, webhook=bad_id, status="failed")) == 1
    assert await listed(admin, alert=second, webhook=bad_id, status="delivered") == []
    ids, cursor = [], None
    while True:
        page = (await admin.get(PATH, params={"limit": 1} | ({"cursor": cursor} if cursor else {}))).json()
        ids += [row["id"] for row in page["rows"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert ids == sorted(ids, reverse=True)
    assert len(set(ids)) == 6
    check_error(await admin.get(PATH, params={"status": "lost"}), 422, "validation_failed")


async def test_a_failed_delivery_is_sent_again_with_the_same_id(
    admin: httpx2.AsyncClient, pool: Pool, hook: WebhookServer
) -> None:
    await make_hook(pool, hook)
    await alert(pool)
    hook.statuses = [500, 500]
    await send_all(pool, HASTY)
    (failed,) = await listed(admin, status="failed")
    path = f"{PATH}/{failed['id']}/retry"

    again = await admin.post(path)
    await send_all(pool, HASTY)
    (still,) = await listed(admin, status="failed")
    await admin.post(path)
    await send_all(pool, HASTY)

    assert (again.status_code, again.json()["status"], again.json()["failed_at"]) == (200, "waiting", None)
    assert still["tries"] == 2
    assert [got.status for got in hook.got] == [500, 500, 204]
    assert len({got.headers["webhook-id"] for got in hook.got}) == 1
    check_error(await admin.post(path), 409, "conflict")
    check_error(await admin.post(f"{PATH}/{failed['id'] + 1000}/retry"), 404, "not_found")
    written = await pool.fetch("SELECT target_id FROM audit_logs WHERE action = 'delivery.retry'")
    assert [row["target_id"] for row in written] == [str(failed["id"])] * 2


async def test_a_waiting_delivery_is_sent_now_and_one_in_progress_is_not(
    admin: httpx2.AsyncClient, pool: Pool, hook: WebhookServer
) -> None:
    await make_hook(pool, hook)
    await alert(pool)
    delivery = await pool.fetchval("SELECT id FROM deliveries WHERE channel = 'webhook'")
    path = f"{PATH}/{delivery}/retry"
    new = await admin.post(path)
    hook.statuses = [500]
    await send_due(pool, PATIENT)
    waits = await send_due(pool, PATIENT)
    long = await admin.post(path)
    # Takes it as a sender does.
    await pool.execute("UPDATE deliveries SET next_try_at = now() + interval '60 seconds'")
    leased = await admin.post(path)
    await pool.execute("UPDATE deliveries SET next_try_at = now()")
    sent = await send_due(pool, PATIENT)

    check_error(new, 409, "conflict")
    check_error(leased, 409, "conflict")
    assert (waits, long.status_code, sent) == (0, 200, 1)


async def test_deliveries_of_a_disabled_webhook_are_not_shown_as_scheduled(
    admin: httpx2.AsyncClient, pool: Pool, hook: WebhookServer
) -> None:
    await make_hook(pool, hook)
    await alert(pool)
    hook.statuses = [500]
    await send_all(pool, HASTY)
    (failed,) = await listed(admin, status="failed")
    path = f"{PATH}/{failed['id']}/retry"
    await pool.execute("UPDATE webhooks SET enabled = false")
    held = await admin.post(path)
    await pool.execute("UPDATE webhooks SET enabled = true")
    enabled = await admin.post(path)
    await send_all(pool, HASTY)

    check_error(held, 409, "conflict")
    assert "Enable it" in held.text
    assert enabled.status_code == 200
    assert [got.status for got in hook.got] == [500, 204]


async def test_each_delivery_filter_reads_an_index_and_only_a_page(pool: Pool, database: Database) -> None:
    await alert(pool)
    await pool.execute("""
        INSERT INTO webhooks (url, events, secret, created_by)
            SELECT 'https://hooks.example.com/' || n, '{}', 'x', 'seed' FROM generate_series(1, 200) AS n;
        INSERT INTO deliveries (channel, webhook_id, event, payload, delivered_at, gave_up_at, alert_id)
            SELECT 'webhook', w.id, 'x', '{}', CASE WHEN n % 50 > 1 THEN now() END, CASE WHEN n % 50 = 1 THEN now() END,
                   CASE WHEN n = 7 THEN (SELECT max(id) FROM alerts) END
            FROM webhooks w, generate_series(1, 100) AS n""")
    await pool.execute("ANALYZE deliveries")
    webhook = await pool.fetchval("SELECT max(id) FROM webhooks")
    alert_id = await pool.fetchval("SELECT max(id) FROM alerts")
    asked = {
        "deliveries_waiting": ("waiting", None, None),
        "deliveries_failed": ("failed", None, None),
        "deliveries_dropped": ("dropped", None, None),
        "deliveries_webhook": (None, webhook, None),
        "deliveries_alert": (None, None, alert_id),
        "deliveries_pkey": ("delivered", None, None),
    }

    async with pool.acquire() as connection:
        for index, only in asked.items():
            plan = await explain(connection, LIST_DELIVERIES, 2**62, *only, 100)  # type: ignore[arg-type]  # a proxy
            assert index in json.dumps(plan), (index, plan)


async def test_deliveries_of_a_disabled_webhook_are_sent_once_it_is_enabled(
    admin: httpx2.AsyncClient, pool: Pool, hook: WebhookServer
) -> None:
    await make_hook(pool, hook)
    await alert(pool)
    path = "/api/v1/webhooks/1"

    await admin.patch(path, json={"enabled": False})
    disabled = await send_all(pool, SENDER)
    (waiting,) = (await admin.get(PATH, params={"webhook": 1})).json()["rows"]
    await admin.patch(path, json={"enabled": True})
    enabled = await send_all(pool, SENDER)

    assert (disabled, waiting["status"], waiting["tries"]) == (0, "waiting", 0)
    assert (enabled, len(hook.accepted)) == (1, 1)


async def test_commands_manage_webhooks_and_alerts(
    pool: Pool, database: Database, hook: WebhookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = {"DATABASE_URL": database.app_url, "SECRET_KEYS": SECRET_KEYS, "WEBHOOK_ALLOW_HTTP": "true"}
    env["WEBHOOK_NETWORKS"] = "127.0.0.0/8"
    for name, value in env.items():
        monkeypatch.setenv(f"LITEMAAS_{name}", value)

    async def run(*command: str) -> Any:
        done = await asyncio.to_thread(CliRunner().invoke, build_app([command[0]]), command)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout) if "--json" in command else done.stdout

    event = "limit.threshold_reached"
    made = await run("webhooks", "create", "--url", hook.url, "--event", event, "--json")
    webhook = str(made["id"])
    off = await run("webhooks", "update", webhook, "--disable", "--event", event, "--event", "subscription.pending")
    on = await run("webhooks", "update", webhook, "--enable", "--json")
    alert_id = await alert(pool)
    assert await send_all(pool, Sender(keys=KEYS, rules=RULES)) == 1
    renewed = await run("webhooks", "renew-secret", webhook, "--json")
    listed = await run("webhooks", "list", "--json")
    open_ones = await run("alerts", "list", "--open", "--json")
    seen = await run("alerts", "acknowledge", str(alert_id), "--json")
    still_open = await run("alerts", "list", "--open", "--json")
    await run("webhooks", "delete", webhook)

    assert "is disabled" in off
    assert (on["enabled"], on["events"]) == (True, [event, "subscription.pending"])
    assert "secret" not in on
    assert made["secret"] != renewed["secret"]
    assert [row["id"] for row in listed["rows"]] == [made["id"]]
    assert "secret" not in listed["rows"][0]
    assert [row["id"] for row in open_ones["rows"]][:1] == [alert_id]
    assert seen["acknowledged_by"].startswith("cli:")
    assert alert_id not in [row["id"] for row in still_open["rows"]]
    assert await pool.fetchval("SELECT count(*) FROM webhooks") == 0


async def test_commands_list_and_retry_deliveries(
    pool: Pool, database: Database, hook: WebhookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_hook(pool, hook)
    await alert(pool)
    hook.statuses = [500]
    await send_all(pool, HASTY)
    monkeypatch.setenv("LITEMAAS_DATABASE_URL", database.app_url)

    async def run(*command: str) -> Any:
        done = await asyncio.to_thread(
            CliRunner().invoke, build_app(["deliveries"]), ["deliveries", *command, "--json"]
        )
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    (failed,) = (await run("list", "--status", "failed"))["rows"]
    again = await run("retry", str(failed["id"]))

    assert (failed["url"], again["status"]) == (hook.url, "waiting")
    assert await send_all(pool, HASTY) == 1
