"""Money always comes with its unit: 10 USD must never become 10 nano-USD (A1)."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from alerting import THRESHOLDS, limit_key, make_hook, send_all, use
from command_line import CommandLine
from conftest import Database
from factories import ADMIN, READER, make_key, make_model, make_subscription, make_team, make_user
from notification_servers import WebhookServer

from admin_api.operations.limits.limits import LimitInput, set_limit
from admin_api.operations.limits.states import LimitWithState
from admin_api.operations.notifications.alerts import list_alerts, raise_alerts
from admin_api.schemas.alerts import AlertView
from admin_api.schemas.explanations import DriftView
from admin_api.schemas.limits import LimitWithStateView
from gateway.domain.limits import Kind, amount_fields
from gateway.storage.counters.drift import Drift
from gateway.storage.postgres import Pool

LIMITS = "/api/v1/limits"
BULK = "/api/v1/admin/limits"
SETTINGS = "/api/v1/admin/settings"
LATER = "2099-01-31T12:00:00Z"


@pytest.fixture
async def hook() -> AsyncIterator[WebhookServer]:
    async with WebhookServer() as server:
        yield server


@pytest.fixture
def command_line(database: Database) -> CommandLine:
    return CommandLine({"LITEMAAS_DATABASE_URL": database.app_url})


async def budgets(pool: Pool) -> list[int]:
    rows = await pool.fetch("SELECT amount FROM limits WHERE kind = 'cost' ORDER BY expires_at IS NOT NULL, id")
    return [row["amount"] for row in rows]


@pytest.fixture
async def teams(pool: Pool) -> list[dict[str, Any]]:
    """Budgets to be set on two teams."""
    owner = await make_user(pool)
    made = [await make_team(pool, owner, name=name) for name in ("red", "blue")]
    return [{"level": "team", "id": team.id, "kind": "cost", "window": "month"} for team in made]


def check_refused(answer: httpx2.Response, *, field: str, words: tuple[str, ...]) -> None:
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["details"]["fields"][0]["field"]) == (
        422,
        "validation_failed",
        field,
    )
    assert [word for word in words if word not in error["message"]] == []


@pytest.mark.parametrize("amount", [10, 0])
async def test_a1_a_number_of_money_without_its_unit_is_refused_everywhere(
    admin: httpx2.AsyncClient, pool: Pool, teams: list[dict[str, Any]], amount: int
) -> None:
    budget = (await admin.put(LIMITS, json=teams[0] | {"amount_usd": "25.00"})).json()
    many = {"level": "team", "kind": "cost", "window": "month", "amount": amount}
    boost = {"amount": amount, "expires_at": LATER, "reason": "launch"}

    answers = [
        await admin.put(LIMITS, json=teams[0] | {"amount": amount}),
        await admin.post(f"{BULK}/preview", json=many),
        await admin.post(f"{BULK}/apply", json=many | {"token": "0" * 64}),
        await admin.post(f"{BULK}/{budget['id']}/boost", json=boost),
    ]

    for answer in answers:
        check_refused(answer, field="amount", words=("amount_usd", "amount_nano_usd"))
    assert await budgets(pool) == [25 * 10**9]


async def test_a1_an_owner_names_the_unit_too(admin: httpx2.AsyncClient, pool: Pool) -> None:
    key = (await make_key(pool)).row
    budget = {"level": "key", "id": key.id, "kind": "cost", "window": "month"}

    check_refused(await admin.put(LIMITS, json=budget | {"amount": 5}), field="amount", words=("amount_usd",))
    made = (await admin.put(LIMITS, json=budget | {"amount_usd": "5"})).json()

    assert (made["amount"], made["amount_usd"], made["amount_nano_usd"]) == (None, "5", 5 * 10**9)


@pytest.mark.parametrize("unit", ["amount_usd", "amount_nano_usd"])
async def test_a1_a_count_in_a_unit_of_money_is_refused(
    admin: httpx2.AsyncClient, teams: list[dict[str, Any]], unit: str
) -> None:
    amount = {unit: "5" if unit == "amount_usd" else 5}

    check_refused(await admin.put(LIMITS, json=teams[0] | {"kind": "tokens"} | amount), field=unit, words=("cost",))


async def test_a1_a_boost_in_usd_is_that_many_usd(
    admin: httpx2.AsyncClient, command_line: CommandLine, pool: Pool, teams: list[dict[str, Any]]
) -> None:
    budget = (await admin.put(LIMITS, json=teams[0] | {"amount_usd": "25.00"})).json()
    on = ("limits", "boost", str(budget["id"]), "--expires-at", LATER, "--reason", "launch")

    bare = await command_line.run(*on, "--amount", "50")
    tiny = await command_line.run(*on, "--amount-nano-usd", "50")
    done = await command_line.run(*on, "--amount-usd", "50")

    assert (bare.code, "amount_usd" in bare.err, "amount_nano_usd" in bare.err) == (1, True, True)
    assert (tiny.code, "--confirm" in tiny.err) == (1, True)
    assert (done.code, "50 USD" in done.out) == (0, True)
    assert await budgets(pool) == [25 * 10**9, 50 * 10**9]


@pytest.mark.parametrize(
    ("old", "new", "doubtful"),
    [
        ("25", "0.02", True),
        ("0.02", "25", True),
        ("25", "0.025", False),
        ("0.025", "25", False),
        ("25", "0", False),
        ("0", "25", False),
    ],
)
async def test_a1_a_change_by_more_than_a_thousandfold_needs_a_confirmation(
    admin: httpx2.AsyncClient, pool: Pool, teams: list[dict[str, Any]], *, old: str, new: str, doubtful: bool
) -> None:
    for team in teams:
        before = (await admin.put(LIMITS, json=team | {"amount_usd": old})).json()
    one = teams[0] | {"amount_usd": new}
    many = {"level": "team", "kind": "cost", "window": "month", "amount_usd": new}
    boost = {"amount_usd": new, "expires_at": LATER, "reason": "launch"}
    preview = (await admin.post(f"{BULK}/preview", json=many)).json()
    token = {"token": preview["token"]}

    assert [(row["amount_usd"], row["new_amount_usd"], row["amount"]) for row in preview["rows"]] == [
        (old, new, None)
    ] * 2
    assert (preview["amount_usd"], preview["doubtful"]) == (new, 2 if doubtful else 0)
    if doubtful:
        kept = await budgets(pool)
        for answer in (
            await admin.put(LIMITS, json=one),
            await admin.post(f"{BULK}/apply", json=many | token),
            await admin.post(f"{BULK}/{before['id']}/boost", json=boost),
        ):
            check_refused(answer, field="confirm", words=("thousandfold", "confirm"))
        assert await budgets(pool) == kept
    sure = {"confirm": True} if doubtful else {}
    # A boost that lowers is confirmed, whatever the factor.
    lower = {"confirm": True} if float(new) < float(old) else {}
    assert (await admin.post(f"{BULK}/{before['id']}/boost", json=boost | sure | lower)).status_code == 201
    preview = (await admin.post(f"{BULK}/preview", json=many)).json()
    assert (await admin.post(f"{BULK}/apply", json=many | sure | {"token": preview["token"]})).status_code == 200
    nano = int(float(new) * 10**9)
    assert await budgets(pool) == [nano, nano, nano]


async def test_a1_a_setting_is_set_by_the_name_it_is_shown_by(
    admin: httpx2.AsyncClient, command_line: CommandLine
) -> None:
    name = "key_default_monthly_cost_usd"
    done = await command_line.run("settings", "set", name, "25.00")
    tiny = await command_line.run("settings", "set", "key_default_monthly_cost_nano_usd", "25")
    by_http = await admin.put(SETTINGS, json={name: "0.01"})

    assert (done.code, f"{name}  25\n" in done.out) == (0, True), done.err
    assert (tiny.code, "--confirm" in tiny.err, "25 USD" in tiny.err) == (1, True, True)
    check_refused(by_http, field="confirm", words=(name, "from 25 USD to 0.01 USD"))
    assert (await admin.get(SETTINGS)).json()[name] == "25"
    sure = await command_line.run("settings", "set", name, "0.01", "--confirm")
    assert (sure.code, f"{name}  0.01\n" in sure.out) == (0, True), sure.err


async def test_a1_the_preview_of_the_cli_shows_old_and_new_with_their_unit(
    admin: httpx2.AsyncClient, command_line: CommandLine, teams: list[dict[str, Any]]
) -> None:
    await admin.put(LIMITS, json=teams[0] | {"amount_usd": "25.00"})
    on = ("limits", "set-many", "--level", "team", "--kind", "cost", "--window", "month")

    shown = await command_line.run(*on, "--amount-usd", "0.01")
    token = shown.out.split("--token ")[1].split()[0]
    refused = await command_line.run(*on, "--amount-usd", "0.01", "--token", token)
    done = await command_line.run(*on, "--amount-usd", "0.01", "--token", token, "--confirm", "--json")

    assert ("25 USD" in shown.out, "0.01 USD" in shown.out, "--confirm" in shown.out) == (True, True, True)
    assert (refused.code, "--confirm" in refused.err) == (1, True)
    assert [row["new_amount_usd"] for row in done.json()["rows"]] == ["0.01", "0.01"]


async def test_a1_alerts_and_their_messages_name_the_unit(pool: Pool, hook: WebhookServer) -> None:
    await make_hook(pool, hook)
    key = await make_key(pool)
    await limit_key(pool, key, 2_000_000_000, kind="cost")
    await use(pool, key, tokens=1, cost_nano_usd=1_500_000_000, counted_nano_usd=1_500_000_000)
    assert await raise_alerts(pool, THRESHOLDS)
    await send_all(pool)

    (got,) = hook.accepted
    message = json.loads(got.body)["data"]
    (alert,) = (await list_alerts(pool, READER, everybody=True)).rows
    for shown in (message, AlertView.of(alert).model_dump()):
        assert (shown["used"], shown["used_usd"], shown["used_nano_usd"]) == (None, "1.5", 1_500_000_000)
        assert (shown["limit"], shown["limit_usd"], shown["limit_nano_usd"]) == (None, "2", 2_000_000_000)


async def test_a1_what_is_left_of_a_budget_has_its_unit(pool: Pool) -> None:
    subscription = await make_subscription(pool, await make_user(pool), await make_model(pool))
    place = {"level": "subscription", "target": str(subscription.id), "model": None, "team": None}
    left = {"used": 1_000_000_000, "reserved": 0, "remaining": 1_500_000_000}
    shown = {}
    kinds: tuple[Kind, ...] = ("cost", "tokens")
    for kind in kinds:
        input_ = LimitInput(kind=kind, amount=2_500_000_000, window="month")
        row = (await set_limit(pool, ADMIN, input_, **place)).limit
        named = {key: value for name in left for key, value in amount_fields(name, kind, left[name]).items()}
        shown[kind] = LimitWithStateView.with_state(LimitWithState(row, named)).model_dump()

    names = ("amount", "used", "reserved", "remaining")
    assert [shown["cost"][name] for name in names] == [None] * 4
    assert [shown["cost"][f"{name}_usd"] for name in names] == ["2.5", "1", "0", "1.5"]
    assert [shown["cost"][f"{name}_nano_usd"] for name in names] == [2_500_000_000, *left.values()]
    assert [shown["tokens"][name] for name in names] == [2_500_000_000, *left.values()]
    assert {shown["tokens"][f"{name}_usd"] for name in names} == {None}


async def test_a1_audit_rows_of_budgets_name_the_unit(
    admin: httpx2.AsyncClient, pool: Pool, teams: list[dict[str, Any]]
) -> None:
    made = [await admin.put(LIMITS, json=team | {"amount_usd": "10"}) for team in teams]
    ends = {"expires_at": LATER, "reason": "demo day"}
    await admin.post(f"{BULK}/{made[0].json()['id']}/boost", json=ends | {"amount_usd": "50"})
    bulk = {"level": "team", "kind": "cost", "window": "month", "amount": "unlimited"}
    preview = (await admin.post(f"{BULK}/preview", json=bulk)).json()
    await admin.post(f"{BULK}/apply", json=bulk | {"token": preview["token"]})
    await admin.put(LIMITS, json=teams[0] | {"amount_usd": "7"})
    await admin.delete(f"{LIMITS}/{(await admin.get(LIMITS)).json()['rows'][0]['id']}")

    rows = await pool.fetch("SELECT action, old::text AS old, new::text AS new FROM audit_logs WHERE action ~ '^limit'")

    values = [json.loads(row[side]) for row in rows for side in ("old", "new") if row[side]]
    assert {row["action"] for row in rows} >= {"limit.set", "limit.boost", "limit.delete"}
    assert [value for value in values if "amount" in value] == []
    assert {value["amount_nano_usd"] for value in values} == {7 * 10**9, 10 * 10**9, 50 * 10**9}


def test_a1_a_counter_that_differs_has_its_unit() -> None:
    cost = Drift(account_id=1, field="w1", kind="cost", counted=25_000_000_000, ledger=26_000_000_000, epoch=1)

    shown = DriftView.of(cost).model_dump()

    assert [shown[name] for name in ("counted", "ledger", "difference")] == [None] * 3
    assert [shown[f"{name}_usd"] for name in ("counted", "ledger", "difference")] == ["25", "26", "-1"]
    assert shown["difference_nano_usd"] == -1_000_000_000
    assert DriftView.of(replace(cost, kind="tokens")).counted == 25_000_000_000
