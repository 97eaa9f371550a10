"""The administrator's tour of the running demo: by HTTP alone, by `litemaas` alone, and by a generated client alone."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
from administrators import THRESHOLD, Administrator, ByCommand, ByHTTP, generated_client
from demo_process import DemoLiteLLM, DemoProcess
from gateways import wait_until
from notification_servers import WebhookServer
from usage_rows import EARLIEST, TODAY, make_usage_row, write_rows

from deploy.embedded.litellm import LiteLLM
from gateway.domain.money import usd_text
from gateway.storage.postgres import Pool, new_pool

WAYS: Final = ("http", "command", "client")
OPEN, RESTRICTED, PRICED = "demo-chat", "demo-chat-large", "vendor/demo-chat"
TOKENS: Final = 200
# USD for a million tokens of input and of output: each tour changes the price.
NEW_PRICES: Final = {"http": ("3.50", "14"), "command": ("4.50", "18"), "client": ("5.50", "22")}
# The deployment that each tour gives another name at LiteLLM.
RENAMED: Final = "split-chat"
LAST_MONTH_USD: Final = 1000
# An alert follows the usage that the ledger has, and a machine may be slow.
SOON_S: Final = 30.0


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    with DemoProcess(tmp_path_factory.mktemp("tours")) as running:
        yield running.state


@pytest.fixture
async def ledger(demo: dict[str, Any]) -> AsyncIterator[Pool]:
    async with new_pool(demo["env"]["LITEMAAS_DATABASE_URL"], size=2) as opened:
        yield opened


@pytest.fixture(params=WAYS)
async def way(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
async def administrator(way: str, demo: dict[str, Any], tmp_path: Path) -> AsyncIterator[Administrator]:
    token = demo["env"]["LITEMAAS_ADMIN_TOKEN"]
    if way == "command":
        yield ByCommand(os.environ | demo["env"])
    elif way == "client":
        document = tmp_path / "openapi.json"
        document.write_text(httpx2.get(f"{demo['admin_url']}/openapi.json", trust_env=False).text)
        async with generated_client(document, demo["admin_url"], token) as client:
            yield client
    else:
        headers = {"authorization": f"Bearer {token}"}
        async with httpx2.AsyncClient(base_url=demo["admin_url"], headers=headers, trust_env=False) as http:
            yield ByHTTP(http)


@pytest.fixture
async def gateway(demo: dict[str, Any]) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=f"{demo['gateway_url']}/v1", timeout=30, trust_env=False) as opened:
        yield opened


@dataclass(frozen=True, slots=True, kw_only=True)
class Tour:
    """The administrator, the gateway of the applications, and the receiver of alerts. Names begin with the way."""

    way: str
    administrator: Administrator
    gateway: httpx2.AsyncClient
    hook: WebhookServer
    ledger: Pool
    litellm: DemoLiteLLM

    @property
    def red(self) -> str:
        return f"{self.way}-red"

    @property
    def blue(self) -> str:
        return f"{self.way}-blue"

    def person(self, name: str) -> str:
        return f"{name}@{self.way}.example.org"

    async def ask(self, key: str, model: str = OPEN) -> httpx2.Response:
        """One call of an application."""
        asked = {"role": "user", "content": f"Hello [tokens={TOKENS}] [delay=0] [rate=0]"}
        body = {"model": model, "messages": [asked], "max_tokens": TOKENS}
        headers = {"authorization": f"Bearer {key}", "connection": "close"}
        return await self.gateway.post("/chat/completions", json=body, headers=headers)

    async def spent(self, by: str, since: datetime, until: datetime) -> dict[str, int]:
        """Nano-USD by name, of everybody."""
        groups = await self.administrator.usage_by(by, since=since.isoformat(), until=until.isoformat())
        return {group["name"]: group["cost_nano_usd"] for group in groups}


@pytest.fixture
async def tour(
    way: str, administrator: Administrator, gateway: httpx2.AsyncClient, ledger: Pool, demo: dict[str, Any]
) -> AsyncIterator[Tour]:
    async with WebhookServer() as hook:
        yield Tour(
            way=way,
            administrator=administrator,
            gateway=gateway,
            hook=hook,
            ledger=ledger,
            litellm=DemoLiteLLM(demo),
        )


@pytest.mark.timeout(600)
async def test_an_administrator_makes_the_tour(tour: Tour) -> None:
    teams = await two_teams_with_members(tour)
    subscriptions = await open_and_restricted_models(tour)
    keys = await keys_that_call(tour)
    budget = await a_budget_alerts_and_refuses(tour, keys)
    await a_boost_lets_calls_in(tour, keys, budget)
    await usage_of_last_month_by_team(tour, teams)
    await who_spent_most(tour)
    await a_price_changes(tour)
    await a_model_is_renamed(tour)
    await a_bulk_change(tour)
    await rotation_suspension_and_deactivation(tour, keys, subscriptions)
    await the_audit_log_has_it_all(tour)


async def two_teams_with_members(tour: Tour) -> dict[str, int]:
    made = {}
    for name in ("ana", "ben", "carla"):
        assert (await tour.administrator.create_user(tour.person(name)))["email"] == tour.person(name)
    for team, owner in ((tour.red, "ana"), (tour.blue, "carla")):
        made[team] = (await tour.administrator.create_team(team))["id"]
        member = await tour.administrator.add_member(team, tour.person(owner), role="owner")
        assert (member["email"], member["role"]) == (tour.person(owner), "owner")
    member = await tour.administrator.add_member(tour.red, tour.person("ben"), role="member")
    assert member["role"] == "member"
    return made


async def open_and_restricted_models(tour: Tour) -> dict[str, int]:
    """The restricted one waits for approval."""
    assert (await tour.administrator.restrict(RESTRICTED))["restricted"] is True
    opened = await tour.administrator.subscribe(OPEN, team=tour.red)
    asked = await tour.administrator.subscribe(RESTRICTED, team=tour.red)
    assert (opened["status"], asked["status"]) == ("active", "pending")
    assert [row["id"] for row in await tour.administrator.list_pending(tour.red)] == [asked["id"]]
    await tour.administrator.approve(asked["id"])
    assert await tour.administrator.list_pending(tour.red) == []
    for account in ({"team": tour.blue}, {"user": tour.person("carla")}):
        assert (await tour.administrator.subscribe(OPEN, **account))["status"] == "active"
    return {OPEN: opened["id"], RESTRICTED: asked["id"]}


async def keys_that_call(tour: Tour) -> dict[str, dict[str, Any]]:
    keys = {
        "red": await tour.administrator.create_key([OPEN, RESTRICTED], team=tour.red, name="red"),
        "blue": await tour.administrator.create_key([OPEN], team=tour.blue, name="blue"),
        "carla": await tour.administrator.create_key([OPEN], user=tour.person("carla"), name="carla"),
    }
    for key in keys.values():
        answer = await tour.ask(key["key"])
        assert answer.status_code == 200, answer.text
    assert (await tour.ask(keys["red"]["key"], RESTRICTED)).status_code == 200
    return keys


async def a_budget_alerts_and_refuses(tour: Tour, keys: dict[str, dict[str, Any]]) -> int:
    """A budget that is all used: it alerts, and the next call is refused. Returns its id."""

    async def both_are_recorded() -> bool:
        groups = await tour.administrator.usage_by("team", since=TODAY.isoformat(), until=_tomorrow(), team=tour.red)
        return bool(groups) and groups[0]["calls"] == 2

    await wait_until(both_are_recorded, "both calls in the ledger", timeout_s=SOON_S, pause_s=0.5)
    used = (await tour.spent("team", TODAY, TODAY + timedelta(days=1)))[tour.red]
    assert used > 0
    await tour.administrator.watch(tour.red, tour.hook.url)
    budget = await tour.administrator.set_budget(tour.red, usd_text(used))
    assert budget["amount_nano_usd"] == used

    async def are_alerted() -> bool:
        return {row["data"]["threshold_percent"] for row in received(tour)} >= {100}

    await wait_until(are_alerted, "the alert", timeout_s=SOON_S, pause_s=0.5)
    assert {row["data"]["account"] for row in received(tour)} == {tour.red}
    refused = await tour.ask(keys["red"]["key"], RESTRICTED)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "insufficient_quota")
    await a_refusal_is_explained(tour, refused)
    explained = await tour.administrator.explain(keys["red"]["id"], RESTRICTED)
    assert (explained["allowed"], explained["code"]) == (False, "insufficient_quota")
    assert (await tour.ask(keys["blue"]["key"])).status_code == 200
    return int(budget["id"])


async def a_refusal_is_explained(tour: Tour, refused: httpx2.Response) -> None:
    """By the request id that the caller has, once the gateway has written it."""
    found: list[dict[str, Any]] = []

    async def is_there() -> bool:
        found.extend(await tour.administrator.find_refusal(refused.headers["x-request-id"]))
        return bool(found)

    await wait_until(is_there, "the refusal", timeout_s=SOON_S, pause_s=0.5)
    assert (found[0]["code"], found[0]["account_name"]) == ("insufficient_quota", tour.red)
    assert found[0]["message"] == refused.json()["error"]["message"]


def received(tour: Tour) -> list[dict[str, Any]]:
    rows = [json.loads(got.body) for got in tour.hook.accepted]
    return [row for row in rows if row["type"] == THRESHOLD]


async def a_boost_lets_calls_in(tour: Tour, keys: dict[str, dict[str, Any]], budget: int) -> None:
    until = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    boosted = await tour.administrator.boost(budget, "5.00", until=until, reason="The launch.")
    assert boosted["amount_usd"] == "5"
    assert (await tour.administrator.explain(keys["red"]["id"], RESTRICTED))["allowed"] is True
    await wait_for_answer(tour, keys["red"]["key"], RESTRICTED)


async def usage_of_last_month_by_team(tour: Tour, teams: dict[str, int]) -> None:
    """Of calls that the ledger has: the blue team spent twice as much as the red one."""
    nano = LAST_MONTH_USD * 10**9
    for team, times in ((tour.red, 1), (tour.blue, 2)):
        row = make_usage_row(EARLIEST + timedelta(days=3), account_id=teams[team], cost_nano_usd=nano)
        await write_rows(tour.ledger, [row] + [_again(row, teams[team], nano) for _ in range(times - 1)])
    spent = await tour.spent("team", EARLIEST, TODAY.replace(day=1))
    assert (spent[tour.red], spent[tour.blue]) == (nano, 2 * nano)
    exported = await tour.administrator.export(tour.red)
    header, *lines = exported.splitlines()
    assert "cost_usd" in header
    assert sum(tour.red in line for line in lines) == len(lines) > 0


def _again(row: Any, team: int, nano: int) -> Any:
    return make_usage_row(row.started_at, account_id=team, cost_nano_usd=nano)


async def who_spent_most(tour: Tour) -> None:
    """Groups come dearest first."""
    groups = await tour.administrator.usage_by("team", since=EARLIEST.isoformat(), until=_tomorrow())
    costs = [group["cost_nano_usd"] for group in groups]
    names = [group["name"] for group in groups]
    assert costs == sorted(costs, reverse=True)
    assert names.index(tour.blue) < names.index(tour.red)


async def a_price_changes(tour: Tour) -> None:
    """From then on calls cost the new price; those before keep their cost."""
    key = await subscribed_key(tour, PRICED)
    assert (await tour.ask(key["key"], PRICED)).status_code == 200
    (earlier,) = await recorded_calls(tour, key, 1)
    input_usd, output_usd = NEW_PRICES[tour.way]
    price = await tour.administrator.set_price(PRICED, input_usd=input_usd, output_usd=output_usd)
    assert (float(price["input_per_million_usd"]), float(price["output_per_million_usd"])) == (
        float(input_usd),
        float(output_usd),
    )
    assert price["source"] == "admin"

    async def costs_the_new_price() -> bool:
        assert (await tour.ask(key["key"], PRICED)).status_code == 200
        calls = await recorded_calls(tour, key, len(rows) + 1)
        rows[:] = calls
        # A US dollar for a million tokens is 1000 nano-USD for one.
        cost = 1000 * (calls[0]["prompt_tokens"] * float(input_usd) + calls[0]["completion_tokens"] * float(output_usd))
        return bool(calls[0]["cost_nano_usd"] == cost)

    rows = [earlier]
    await wait_until(costs_the_new_price, "a call at the new price", timeout_s=SOON_S, pause_s=0.5)
    assert rows[-1] == earlier
    # Nor is there a correction of it, which sums would have.
    (group,) = await tour.administrator.usage_by("key", since=TODAY.isoformat(), until=_tomorrow(), key=key["id"])
    assert group["cost_nano_usd"] == sum(row["cost_nano_usd"] for row in rows)
    # Gateways hear of a change within moments; until then a call costs the price that they have.
    costs = [row["cost_nano_usd"] for row in rows]
    assert 0 < costs[-1] != costs[0]
    assert set(costs) == {costs[-1], costs[0]}


async def a_model_is_renamed(tour: Tour) -> None:
    """At LiteLLM, then here: the key goes on under the new name, and the old name is answered with the new one."""
    old, new = tour.litellm.name_of(RENAMED), f"{tour.way}-chat"
    key = await subscribed_key(tour, old)
    assert (await tour.ask(key["key"], old)).status_code == 200
    tour.litellm.rename(RENAMED, new)

    async def is_served() -> bool:
        return new in await asyncio.to_thread(tour.litellm.models)

    await wait_until(is_served, "LiteLLM's new name of the model", timeout_s=LiteLLM.TIMEOUT_S, pause_s=0.5)
    assert new in (await tour.administrator.sync_models())["added"]
    renamed = await tour.administrator.rename(old, new)
    assert (renamed["name"], renamed["keys"] >= 1, renamed["subscriptions"] >= 1) == (new, True, True)
    await wait_for_refusal(tour, key["key"], old)
    refused = await tour.ask(key["key"], old)
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "model_not_found")
    assert refused.json()["error"]["message"] == f"The model '{old}' is called '{new}' now."
    await wait_for_answer(tour, key["key"], new)
    calls = await recorded_calls(tour, key, 2)
    groups = await tour.administrator.usage_by("model", since=TODAY.isoformat(), until=_tomorrow(), key=key["id"])
    assert [(group["name"], group["calls"]) for group in groups] == [(new, len(calls))]


async def subscribed_key(tour: Tour, model: str) -> dict[str, Any]:
    """A key of the blue team, which has no budget."""
    assert (await tour.administrator.subscribe(model, team=tour.blue))["status"] == "active"
    return await tour.administrator.create_key([model], team=tour.blue, name=model)


async def recorded_calls(tour: Tour, key: dict[str, Any], number: int) -> list[dict[str, Any]]:
    """The calls of a key, newest first, once the ledger has so many."""
    rows: list[dict[str, Any]] = []

    async def are_there() -> bool:
        rows[:] = await tour.administrator.calls_of(key["id"])
        return len(rows) >= number

    await wait_until(are_there, f"{number} calls in the ledger", timeout_s=SOON_S, pause_s=0.5)
    return rows


async def a_bulk_change(tour: Tour) -> None:
    done = await tour.administrator.limit_keys(tour.red, rpm=100)
    assert (done["changes"], done["kind"], done["amount"]) == (1, "rpm", 100)


async def rotation_suspension_and_deactivation(
    tour: Tour, keys: dict[str, dict[str, Any]], subscriptions: dict[str, int]
) -> None:
    old, new = keys["red"]["key"], (await tour.administrator.rotate(keys["red"]["id"]))["key"]
    assert (await tour.ask(new)).status_code == 200
    await wait_for_refusal(tour, old)
    suspended = await tour.administrator.suspend(subscriptions[OPEN], reason="A look at the bill first.")
    assert (suspended["status"], suspended["reason"]) == ("suspended", "A look at the bill first.")
    await wait_for_refusal(tour, new)
    assert (await tour.ask(new, RESTRICTED)).status_code == 200
    assert (await tour.administrator.deactivate(tour.person("carla")))["status"] == "deactivated"
    await wait_for_refusal(tour, keys["carla"]["key"])
    # The team's own key is not theirs.
    assert (await tour.ask(keys["blue"]["key"])).status_code == 200


async def wait_for_refusal(tour: Tour, key: str, model: str = OPEN) -> None:
    async def is_refused() -> bool:
        return (await tour.ask(key, model)).status_code in (401, 403, 404)

    await wait_until(is_refused, "the refusal", timeout_s=5.0, pause_s=0.2)


async def wait_for_answer(tour: Tour, key: str, model: str) -> None:
    async def is_answered() -> bool:
        return (await tour.ask(key, model)).status_code == 200

    await wait_until(is_answered, "the answer", timeout_s=5.0, pause_s=0.2)


async def the_audit_log_has_it_all(tour: Tour) -> None:
    of_team = [row["action"] for row in await tour.administrator.audit(f"team:{tour.red}")]
    for action in ("team.create", "team.add_member", "subscription.approve", "key.create", "limit.boost", "key.rotate"):
        assert action in of_team, of_team
    (deactivated, *_) = await tour.administrator.audit(f"user:{tour.person('carla')}")
    assert deactivated["action"] == "user.update"
    assert deactivated["changes"] == ["status: active → deactivated"]
    assert deactivated["target_name"] == tour.person("carla")


def _tomorrow() -> str:
    return (TODAY + timedelta(days=1)).isoformat()
