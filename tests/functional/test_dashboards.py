"""Every query of the dashboards, by a real Prometheus that scrapes a gateway with workers and the admin API."""

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import aiohttp
import pytest
from admin_processes import start_admin_apis
from callers import CHAT, Caller, MakeCaller, chat_body
from factories import ADMIN, PEPPERS, make_team, make_user
from gateways import Backends, GatewayThread, wait_until
from prometheus_server import INTERVAL_S, Prometheus
from workers import Workers

from admin_api.operations import subscriptions
from admin_api.operations.keys import keys
from admin_api.operations.limits import limits
from admin_api.operations.limits.limits import LimitInput
from deploy.grafana.build import DASHBOARDS
from deploy.grafana.panels import Panel
from gateway.storage.postgres import Pool
from tests.monitoring.prometheus_package import PROMTOOL

TIMEOUT_S: Final = 60.0
# What Grafana puts in their place: all values, and at least four scrapes.
VARIABLES: Final = {"$__rate_interval": "30s", "$model": ".*", "$team": ".*"}
PANELS: Final = {(board.uid, panel.title): panel for board in DASHBOARDS for panel in board.panels}


@pytest.fixture
async def used_team(pool: Pool, gateway: GatewayThread, http: aiohttp.ClientSession) -> None:
    """A team with a limit, of which a call has used some: the admin API looks when it starts."""
    team = await make_team(pool, await make_user(pool))
    await subscriptions.create_subscription(pool, ADMIN, model="demo-chat", team=team.name)
    made = await keys.create_key(pool, ADMIN, PEPPERS, keys.KeyInput(models=["demo-chat"], team=team.name))
    about = LimitInput(kind="tokens", amount=1000, window="month")
    await limits.set_limit(pool, ADMIN, about, level="team", target=team.name, model=None, team=None)
    headers = {"authorization": f"Bearer {made.secret}"}
    async with http.post(gateway.url + CHAT, json=chat_body(), headers=headers) as answer:
        assert answer.status == 200

    async def is_written() -> bool:
        return bool(await pool.fetchval("SELECT count(*) FROM usage_logs WHERE account_id = $1", team.id))

    await wait_until(is_written, "the row of the team's call")


@pytest.fixture
async def monitored(
    backends: Backends, used_team: None, tmp_path: Path
) -> AsyncIterator[tuple[Workers, str, Prometheus]]:
    """A gateway with two workers, the address of an admin API, and the Prometheus that scrapes both."""
    gateway = Workers(backends, tmp_path, count=2, LITEMAAS_STATE_DIR=str(tmp_path / "state"))
    (admin,) = await start_admin_apis(
        tmp_path,
        count=1,
        database_url=backends.database.app_url,
        redis_url=backends.valkey.url(),
        litellm_url=backends.litellm_url,
        LITEMAAS_METRICS_TEAMS="5",
    )
    try:
        await gateway.start()
        targets = {
            "litemaas-gateway": gateway.program.metrics_url,
            "litemaas-admin": admin.metrics_url,
        }
        addresses = {job: url.removeprefix("http://").removesuffix("/metrics") for job, url in targets.items()}
        with Prometheus(tmp_path / "prometheus", addresses) as prometheus:
            yield gateway, admin.url, prometheus
    finally:
        gateway.program.stop()
        admin.stop()


async def use(caller: Caller, admin_url: str) -> None:
    """Calls that end well, calls that are refused, and requests to the admin API."""
    statuses = [
        (await caller.chat("Hello [tokens=3]")).status,
        (await caller.chat("Hello [tokens=3]", stream=True)).status,
        (await caller.chat("Hello", model="no-such-model")).status,
        (await caller.chat("Hello", user_secret_field=1)).status,
    ]
    assert statuses == [200, 200, 404, 400]
    async with caller.http.post(
        caller.url + CHAT, json=chat_body(), headers={"authorization": "Bearer sk-no"}
    ) as answer:
        assert answer.status == 401
    async with caller.http.get(f"{admin_url}/api/v1/models") as answer:
        assert answer.status == 401


async def empty_panels(prometheus: Prometheus, http: aiohttp.ClientSession) -> set[tuple[str, str]]:
    """Panels with a query that has no number. Every query is asked as Grafana asks it."""
    empty = set()
    for place, panel in PANELS.items():
        for query in panel.queries:
            if not await has_data(prometheus, http, panel, query.expr):
                empty.add(place)
    return empty


async def has_data(prometheus: Prometheus, http: aiohttp.ClientSession, panel: Panel, expr: str) -> bool:
    for name, value in VARIABLES.items():
        expr = expr.replace(name, value)
    if panel.kind == "stat":
        return bool(await prometheus.values(http, expr))
    now = time.time()
    about = {"query": expr, "start": str(now - 5), "end": str(now), "step": "1"}
    series = (await prometheus.ask(http, "query_range", **about))["result"]
    return any(value != "NaN" for one in series for _, value in one["values"])


async def test_every_query_of_the_dashboards_has_a_result_or_a_reason(
    monitored: tuple[Workers, str, Prometheus], make: MakeCaller, http: aiohttp.ClientSession
) -> None:
    gateway, admin_url, prometheus = monitored
    caller = (await make("demo-chat")).at(gateway.url)
    limited = (await make("demo-chat")).at(gateway.url)
    await limited.limit("requests", 0, window="day")
    without_reason = {place for place, panel in PANELS.items() if not panel.empty}
    empty = without_reason
    async with asyncio.timeout(TIMEOUT_S):
        while empty & without_reason:
            await use(caller, admin_url)
            assert (await limited.chat()).status == 429
            await asyncio.sleep(INTERVAL_S)
            empty = await empty_panels(prometheus, http)
    targets = (await prometheus.ask(http, "targets"))["activeTargets"]
    groups = (await prometheus.ask(http, "rules"))["groups"]

    assert ("team", "Every limit of the chosen teams") not in empty
    assert ("limits", "Refused by limits") not in empty
    assert [one["health"] for one in targets] == ["up", "up"]
    # The rules of the alerts too, on the same series.
    assert {rule["health"] for group in groups for rule in group["rules"]} == {"ok"}
    for target in targets:
        async with http.get(target["scrapeUrl"]) as answer:
            text = await answer.read()
        command = [PROMTOOL, "check", "metrics"]
        linted = await asyncio.to_thread(subprocess.run, command, input=text, capture_output=True, timeout=60)
        assert linted.stdout + linted.stderr == b""
