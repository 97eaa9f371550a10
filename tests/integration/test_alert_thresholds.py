"""Alert thresholds are settings: a change holds from the next check and repeats no alert."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from admin_client import check_error
from alerting import THRESHOLDS, limit_key, make_hook, send_all, thresholds_of, use
from conftest import Database
from factories import ADMIN, make_key
from notification_servers import WebhookServer
from typer.testing import CliRunner

from admin_api.cli.app import build_app
from admin_api.operations.notifications.alerts import raise_alerts
from admin_api.operations.runtime_settings import read_thresholds, update_settings
from admin_api.scheduler import alert_once
from gateway.storage import accounts_to_check
from gateway.storage.postgres import Pool

PATH = "/api/v1/admin/settings"


async def set_thresholds(pool: Pool, *thresholds: int) -> None:
    await update_settings(pool, ADMIN, {"alert_thresholds": list(thresholds)})


async def look(pool: Pool, hook: WebhookServer) -> list[int]:
    """One alert check; returns the thresholds that alerted."""
    before = len(hook.accepted)
    await alert_once(pool)
    await send_all(pool)
    return [json.loads(got.body)["data"]["threshold_percent"] for got in hook.accepted[before:]]


async def test_a_threshold_change_holds_from_the_next_check(pool: Pool) -> None:
    async with WebhookServer() as hook:
        await make_hook(pool, hook)
        key = await make_key(pool)
        await limit_key(pool, key, 1000)
        await use(pool, key, tokens=300)
        unset = await look(pool, hook)
        await set_thresholds(pool, 40, 90)
        reported = []
        for tokens in (50, 50, 150, 350):  # 35, 40, 55, 90 %
            await use(pool, key, tokens=tokens)
            reported.append(await look(pool, hook))
        await set_thresholds(pool)
        await use(pool, key, tokens=100)
        none = await look(pool, hook)

    assert unset == []
    assert reported == [[], [40], [], [90]]
    assert none == []


async def test_a_threshold_set_during_a_check_holds_for_later_usage(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await make_key(pool)
    await limit_key(pool, key, 1000)
    await set_thresholds(pool, 90)
    await alert_once(pool)
    take_accounts = accounts_to_check.take_accounts

    async def take_after_a_change_and_a_use(*asked: Any) -> set[int]:
        monkeypatch.setattr(accounts_to_check, "take_accounts", take_accounts)
        await set_thresholds(pool, 40, 90)
        await use(pool, key, tokens=500)
        return await take_accounts(*asked)

    monkeypatch.setattr(accounts_to_check, "take_accounts", take_after_a_change_and_a_use)
    await alert_once(pool)

    assert await thresholds_of(pool) == [40]


async def test_an_alert_is_not_repeated_after_a_threshold_change(pool: Pool) -> None:
    async with WebhookServer() as hook:
        await make_hook(pool, hook)
        key = await make_key(pool)
        await limit_key(pool, key, 1000)
        await use(pool, key, tokens=850)
        reported = [await look(pool, hook)]
        for thresholds in ((50, 80, 90), (60, 70, 80, 90), (50, 90), (50, 80, 90, 100), (95,)):
            await set_thresholds(pool, *thresholds)
            await use(pool, key, tokens=1)
            reported.append(await look(pool, hook))
        await use(pool, key, tokens=100)
        reported.append(await look(pool, hook))

    # Only what was newly reached; 60 and 70 are stored but not reported, as 80 was reported already.
    assert reported == [[80], [], [], [], [], [], [95]]
    assert await thresholds_of(pool) == [50, 60, 70, 80, 95]


async def test_a_removed_threshold_is_cleared_with_the_others(pool: Pool) -> None:
    async with WebhookServer() as hook:
        await make_hook(pool, hook)
        key = await make_key(pool)
        await limit_key(pool, key, 1000)
        await use(pool, key, tokens=850)
        reported = [await look(pool, hook)]
        await set_thresholds(pool, 100)
        await limit_key(pool, key, 2000)
        reported.append(await look(pool, hook))
        await set_thresholds(pool, 80, 100)
        await use(pool, key, tokens=800)
        reported.append(await look(pool, hook))

    assert reported == [[80], [], [80]]


async def test_an_old_threshold_of_one_limit_does_not_hide_a_new_one_of_another(pool: Pool) -> None:
    """A removed threshold was reached for one limit and would be the highest for another one."""
    async with WebhookServer() as hook:
        await make_hook(pool, hook)
        key = await make_key(pool)
        await limit_key(pool, key, 100)
        await use(pool, key, tokens=90)
        reported = [await look(pool, hook)]
        await set_thresholds(pool, 75)
        await limit_key(pool, key, 1, kind="requests")
        reported.append(await look(pool, hook))

    assert reported == [[80], [75]]


async def test_a_past_window_ignores_a_new_threshold_and_keeps_the_old_ones(pool: Pool) -> None:
    key = await make_key(pool)
    await limit_key(pool, key, 100, window="day")
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    await use(pool, key, tokens=85, at=midnight - timedelta(minutes=5))
    changed = midnight + timedelta(seconds=5)
    thresholds = {10: changed, 80: None}

    late = await raise_alerts(pool, thresholds, now=changed + timedelta(seconds=1))
    await use(pool, key, tokens=10, at=changed + timedelta(seconds=2))
    today = await raise_alerts(pool, thresholds, now=changed + timedelta(seconds=3))

    assert (late, today) == (1, 1)
    rows = await pool.fetch("SELECT threshold, window_start = $1 AS is_today FROM alerts ORDER BY id", midnight)
    assert [tuple(row) for row in rows] == [(80, False), (10, True)]


async def test_only_a_new_threshold_counts_from_its_change(pool: Pool) -> None:
    began = datetime.now(UTC)
    at_first = await read_thresholds(pool)  # type: ignore[arg-type]  # a pool can ask too
    await set_thresholds(pool, 80, 90)
    first = await read_thresholds(pool)  # type: ignore[arg-type]
    await set_thresholds(pool, 50, 80, 90)
    second = await read_thresholds(pool)  # type: ignore[arg-type]

    assert at_first == THRESHOLDS
    assert first[80] is None
    assert first[90] is not None
    assert second[80] is None
    assert second[90] == first[90]
    assert second[50] is not None
    assert began <= first[90] <= second[50] <= datetime.now(UTC)


@pytest.mark.parametrize("wrong", [[0], [1001], [50.5], ["50"], [True], None, 50, "50,80", list(range(1, 12))])
async def test_an_invalid_list_of_thresholds_is_refused(admin: httpx2.AsyncClient, wrong: object) -> None:
    check_error(await admin.put(PATH, json={"alert_thresholds": wrong}), 422, "validation_failed")

    assert (await admin.get(PATH)).json()["alert_thresholds"] == [50, 80, 100]


async def test_thresholds_are_sorted_deduplicated_and_audited(admin: httpx2.AsyncClient, pool: Pool) -> None:
    changed = await admin.put(PATH, json={"alert_thresholds": [90, 50, 90]})
    same = await admin.put(PATH, json={"alert_thresholds": [50, 90]})

    assert changed.json()["alert_thresholds"] == same.json()["alert_thresholds"] == [50, 90]
    rows = await pool.fetch("SELECT old::text, new::text FROM audit_logs WHERE action = 'settings.update'")
    assert [(json.loads(row["old"]), json.loads(row["new"])) for row in rows] == [
        ({"alert_thresholds": [50, 80, 100]}, {"alert_thresholds": [50, 90]})
    ]


async def test_the_command_sets_the_thresholds(pool: Pool, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITEMAAS_DATABASE_URL", database.app_url)
    shown = {}
    for value in ("60,75,100", "none"):
        command = ["settings", "set", "alert_thresholds", value]
        done = await asyncio.to_thread(CliRunner().invoke, build_app(["settings"]), command)
        assert done.exit_code == 0
        shown[value] = next(line for line in done.stdout.splitlines() if line.startswith("alert_thresholds"))

    assert shown == {value: f"alert_thresholds  {value}" for value in shown}
    assert await read_thresholds(pool) == {}  # type: ignore[arg-type]
