"""What the admin API's metrics say of messages, syncs, its periodic tasks and the teams nearest to their limits."""

import asyncio
import platform
import time
from datetime import timedelta
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import pytest
from admin_client import settings_for
from alerting import use
from conftest import Database
from factories import ADMIN, PEPPERS, make_model, make_team, make_user
from gateways import wait_until
from loopback_servers import LiteLLMInfoServer

from admin_api import metrics, scheduler
from admin_api.main import create_app
from admin_api.operations import subscriptions
from admin_api.operations.keys import keys
from admin_api.operations.limits import limits
from admin_api.operations.limits.limits import LimitInput
from admin_api.operations.maintenance.measurements import measure, measure_teams
from gateway.domain.errors import GatewayError
from gateway.storage.accounts_to_check import ALERTS_LOCK
from gateway.storage.postgres import Pool


def value(name: str, **labels: str) -> float | None:
    return metrics.REGISTRY.get_sample_value(name, labels)


def team_shares() -> dict[tuple[str, str, str], float]:
    """By team, kind and window."""
    return {
        (sample.labels["team"], sample.labels["kind"], sample.labels["window"]): sample.value
        for family in metrics.TEAM_USE.collect()
        for sample in family.samples
    }


@pytest.fixture(autouse=True)
async def _no_team_is_left(pool: Pool) -> Any:
    yield
    await measure_teams(pool, 0)
    assert team_shares() == {}


async def insert_delivery(pool: Pool, *, hook: int | None = None, user: int | None = None, **columns: Any) -> None:
    about = {"channel": "webhook" if hook else "email", "webhook_id": hook, "user_id": user, "event": "e"} | columns
    names = list(about)
    await pool.execute(
        f"INSERT INTO deliveries ({', '.join(names)}, payload) "  # noqa: S608  names of this file
        f"VALUES ({', '.join(f'${n}' for n in range(1, len(names) + 1))}, '{{}}')",
        *about.values(),
    )


async def insert_hook(pool: Pool, *, enabled: bool) -> int:
    hook_id: int = await pool.fetchval(
        "INSERT INTO webhooks (url, events, secret, created_by, enabled) "
        "VALUES ('https://example.org/', '{}', '', 'a', $1) RETURNING id",
        enabled,
    )
    return hook_id


async def test_a18_messages_that_wait_or_were_given_up_are_counted_by_channel(pool: Pool) -> None:
    user = await make_user(pool)
    enabled, disabled = await insert_hook(pool, enabled=True), await insert_hook(pool, enabled=False)
    now = await pool.fetchval("SELECT now()")
    hour, day = now - timedelta(hours=1), now - timedelta(days=1)
    await insert_delivery(pool, hook=enabled, created_at=hour)
    await insert_delivery(pool, hook=enabled, created_at=now)
    await insert_delivery(pool, hook=disabled, created_at=day)
    await insert_delivery(pool, hook=enabled, created_at=day, gave_up_at=now)
    await insert_delivery(pool, hook=enabled, created_at=day, delivered_at=now)
    await insert_delivery(pool, user=user.id, created_at=day)

    await measure(pool, sends_mail=True, syncs=False)

    assert value("litemaas_deliveries_waiting", channel="webhook") == 3
    assert value("litemaas_deliveries_failed", channel="webhook") == 1
    assert value("litemaas_deliveries_waiting", channel="email") == 1
    assert value("litemaas_deliveries_failed", channel="email") == 0
    oldest = {channel: value("litemaas_deliveries_oldest_seconds", channel=channel) for channel in ("webhook", "email")}
    assert 3600 <= (oldest["webhook"] or 0) < 7200
    assert (oldest["email"] or 0) >= 86_400

    # Nobody can send it: that is no delay.
    await measure(pool, sends_mail=False, syncs=False)
    assert value("litemaas_deliveries_oldest_seconds", channel="email") == 0
    assert value("litemaas_deliveries_waiting", channel="email") == 1


async def test_a18_the_last_sync_is_the_last_without_a_problem(pool: Pool) -> None:
    began = time.time()
    await measure(pool, sends_mail=True, syncs=True)
    never = value("litemaas_model_sync_timestamp_seconds") or 0
    await pool.execute(
        "INSERT INTO model_syncs (at, actor, problem, report) VALUES "
        "(now() - interval '2 hours', 'a', NULL, '{}'), (now() - interval '1 hour', 'a', 'empty', '{}')"
    )
    await measure(pool, sends_mail=True, syncs=True)

    # Late by the time since the start of the program.
    assert 0 < never <= began
    age_s = time.time() - (value("litemaas_model_sync_timestamp_seconds") or 0)
    assert 7200 <= age_s < 10_000


async def run_task(name: str, work: Any) -> None:
    """Once, as the program repeats it."""
    ran = asyncio.Event()

    async def once() -> object:
        try:
            return await work()
        finally:
            ran.set()

    task = asyncio.create_task(scheduler.repeat(name, once, interval_s=60))
    await ran.wait()
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def hour_ago(monkeypatch: pytest.MonkeyPatch) -> float:
    """The start of a task lies an hour back; its end is now."""
    began = time.time() - 3600
    moments = iter([began])
    monkeypatch.setattr(scheduler, "time", SimpleNamespace(time=lambda: next(moments, began + 3600)))
    return began


async def test_a18_a_task_shows_when_it_ended_well_and_how_often_it_failed(hour_ago: float) -> None:
    async def works() -> None: ...

    async def fails() -> None:
        raise GatewayError("upstream_unavailable", "LiteLLM is away.")

    await run_task("good task", works)
    assert value("litemaas_admin_task_timestamp_seconds", task="good_task") == hour_ago + 3600
    assert value("litemaas_admin_task_failures_total", task="good_task") == 0


async def test_a18_a_task_that_fails_is_late_since_its_start(hour_ago: float) -> None:
    async def fails() -> None:
        raise GatewayError("upstream_unavailable", "LiteLLM is away.")

    await run_task("bad task", fails)
    assert value("litemaas_admin_task_timestamp_seconds", task="bad_task") == hour_ago
    assert value("litemaas_admin_task_failures_total", task="bad_task") == 1


async def test_a18_a_pass_that_another_replica_runs_is_not_this_ones(pool: Pool, hour_ago: float) -> None:
    async with pool.acquire() as other, other.transaction():
        await other.execute("SELECT pg_advisory_xact_lock($1)", ALERTS_LOCK)
        await run_task("alerts elsewhere", lambda: scheduler.alert_once(pool))

    assert value("litemaas_admin_task_timestamp_seconds", task="alerts_elsewhere") == hour_ago


async def make_used_team(pool: Pool, name: str, used: int, **amounts: int) -> None:
    """A team with monthly limits that used so many tokens in one call."""
    member = await make_user(pool)
    team = await make_team(pool, member, name=name)
    model = await make_model(pool, f"model-of-{name}")
    await subscriptions.create_subscription(pool, ADMIN, model=model, team=team.name)
    key = await keys.create_key(pool, ADMIN, PEPPERS, keys.KeyInput(models=[model], team=team.name))
    for kind, amount in amounts.items():
        about = LimitInput(kind=kind, amount=amount, window="month")
        await limits.set_limit(pool, ADMIN, about, level="team", target=team.name, model=None, team=None)
    # A limit of the key is none of the team.
    about = LimitInput(kind="tokens", amount=1, window="month")
    await limits.set_limit(pool, ADMIN, about, level="key", target=str(key.row.id), model=None, team=None)
    await use(pool, key, tokens=used)


async def test_a18_the_teams_nearest_to_a_limit_are_a_metric_where_it_is_on(pool: Pool) -> None:
    await make_used_team(pool, "half", 500, tokens=1000, requests=100)
    await make_used_team(pool, "over", 1200, tokens=1000)
    await make_used_team(pool, "little", 10, tokens=1000)

    await measure_teams(pool, 2)
    assert team_shares() == {
        ("half", "tokens", "month"): 0.5,
        ("half", "requests", "month"): 0.01,
        ("over", "tokens", "month"): 1.2,
    }

    await measure_teams(pool, 1)
    assert team_shares() == {("over", "tokens", "month"): 1.2}

    # A team that is suspended uses nothing.
    await pool.execute("UPDATE accounts SET status = 'suspended' WHERE name = 'over'")
    await measure_teams(pool, 1)
    assert set(team_shares()) == {("half", "tokens", "month"), ("half", "requests", "month")}


async def test_a18_a_running_admin_api_measures(database: Database, pool: Pool) -> None:
    await make_used_team(pool, "half", 500, tokens=1000)
    async with LiteLLMInfoServer() as litellm:
        litellm.answer(
            '{"data":[{"model_name":"model-of-half","litellm_params":{"model":"openai/m"},"model_info":{}}]}'
        )
        settings = settings_for(database.app_url, litellm.url, model_sync_interval_s=3600, metrics_teams=10)
        app = create_app(settings)
        began = time.time()
        async with app.router.lifespan_context(app):

            async def is_measured() -> bool:
                await measure(pool, sends_mail=False, syncs=True)
                return bool(team_shares()) and (value("litemaas_model_sync_timestamp_seconds") or 0) >= began - 1

            await wait_until(is_measured, "the teams and the sync", pause_s=0.2)
        tasks = ("alerts", "model_sync", "measurements", "team_measurements", "messages", "expiry", "cleaning")
        assert [
            task for task in tasks if (value("litemaas_admin_task_timestamp_seconds", task=task) or 0) < began
        ] == []

    text = metrics.scrape().decode()
    assert f'litemaas_build_info{{python="{platform.python_version()}",version="{version("litemaas")}"}} 1.0' in text
    assert (value("process_resident_memory_bytes") or 0) > 0
    assert team_shares() == {("half", "tokens", "month"): 0.5}


async def test_a18_names_of_teams_are_in_no_metric_unless_it_is_switched_on(database: Database, pool: Pool) -> None:
    await make_used_team(pool, "half", 500, tokens=1000)
    app = create_app(settings_for(database.app_url))
    before = time.time()
    async with app.router.lifespan_context(app):

        async def is_measured() -> bool:
            return (value("litemaas_admin_task_timestamp_seconds", task="measurements") or 0) > before

        await wait_until(is_measured, "the measurements")

    assert (value("litemaas_admin_task_timestamp_seconds", task="team_measurements") or 0) < before
    assert 'team="half"' not in metrics.scrape().decode()
