"""Prices as people write them (A3): what is left out stays, names have units, a wrong price can be taken back."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx2
import pytest
from command_line import CommandLine
from conftest import Database
from factories import ADMIN, READER, apply, make_model, seen_model
from usage_rows import make_usage_row, write_rows

from admin_api.operations.maintenance.ledger import verify_ledger
from admin_api.operations.models import prices
from admin_api.operations.models.price_input import PriceInput
from gateway.domain.calls import Usage
from gateway.domain.money import NANO_USD
from gateway.domain.prices import cost_nano_usd
from gateway.domain.usage_rows import UsageRow
from gateway.storage.ledger.corrections import current_row
from gateway.storage.postgres import Pool

PRICES = "/api/v1/prices"
LEDGER = "/api/v1/admin/ledger"
# 1,000 tokens in and 500 out, at 1 and 2 USD a million.
ORDINARY = Usage(prompt_tokens=1000, completion_tokens=500)


@pytest.fixture
def command_line(database: Database) -> CommandLine:
    return CommandLine({"LITEMAAS_DATABASE_URL": database.app_url})


async def in_force(pool: Pool, model: str) -> prices.PriceVersion:
    (row, *_) = (await prices.list_prices(pool, READER, model)).rows
    return row


def said(answer: httpx2.Response) -> tuple[int, str, str]:
    error = answer.json()["error"]
    return answer.status_code, error["details"]["fields"][0]["field"], error["message"]


async def test_a3_an_input_price_alone_does_not_make_completions_free(
    admin: httpx2.AsyncClient, pool: Pool, command_line: CommandLine
) -> None:
    model = await make_model(pool)

    made = await admin.post(PRICES, json={"model": model, "input_per_million_usd": "2.50"})
    done = await command_line.run("prices", "set", "--model", model, "--input-per-million-usd", "3")

    assert made.status_code == 201, made.text
    assert [made.json()[name] for name in ("input_per_million_usd", "output_per_million_usd")] == ["2.5", "2"]
    assert done.code == 0, done.err
    assert cost_nano_usd((await in_force(pool, model)).price, ORDINARY) == 3_000_000 + 1_000_000


@pytest.mark.parametrize("given", ["input", "output"])
async def test_a3_the_first_price_of_a_model_needs_input_and_output(
    given: str, admin: httpx2.AsyncClient, pool: Pool
) -> None:
    await apply(pool, seen_model("new"), seen_model("vectors", mode="embedding"))
    other = "output" if given == "input" else "input"

    alone = await admin.post(PRICES, json={"model": "new", f"{given}_per_million_usd": "2.50"})
    vectors = await admin.post(PRICES, json={"model": "vectors", "input_per_million_usd": "0.02"})
    both = await admin.post(
        PRICES, json={"model": "new", f"{given}_per_million_usd": "2.50", f"{other}_per_million_usd": "0"}
    )

    assert said(alone)[:2] == (422, f"{other}_per_million_usd")
    assert (vectors.status_code, both.status_code) == (201, 201)
    gone = await admin.post(PRICES, json={"model": "new", f"{other}_per_million_usd": "unknown"})
    assert said(gone)[:2] == (422, f"{other}_per_million_usd")


async def test_a3_what_is_left_out_of_the_tiers_and_the_rest_stays(admin: httpx2.AsyncClient, pool: Pool) -> None:
    model = await make_model(pool)
    tiers = [
        {"unit": "input", "above": 200_000, "per_million_usd": "4"},
        {"unit": "output", "service_tier": "priority", "per_million_usd": "8"},
    ]
    await admin.post(PRICES, json={"model": model, "tiers": tiers, "charge": "higher", "web_search_usd": "0.01"})

    cheaper = [{"unit": "input", "above": 200_000, "per_million_usd": "3"}]
    shown = (await admin.post(PRICES, json={"model": model, "tiers": cheaper})).json()
    without = [{"unit": "output", "service_tier": "priority", "per_million_usd": "unknown"}]
    fewer = (await admin.post(PRICES, json={"model": model, "tiers": without, "web_search_usd": "unknown"})).json()
    alone = {"model": model, "input_per_million_usd": "1", "output_per_million_usd": "2", "replace": True}
    replaced = (await admin.post(PRICES, json=alone)).json()

    assert [tier["per_million_usd"] for tier in shown["tiers"]] == ["3", "8"]
    assert (shown["charge"], shown["web_search_usd"]) == ("higher", "0.01")
    assert ([tier["unit"] for tier in fewer["tiers"]], fewer["web_search_usd"]) == (["input"], None)
    assert (replaced["tiers"], replaced["input_per_million_usd"], replaced["web_search_usd"]) == ([], "1", None)


@pytest.mark.parametrize("name", ["input", "output", "cached_input", "image", "web_search"])
async def test_a3_a_price_without_a_unit_is_refused_with_the_name_to_use(
    name: str, admin: httpx2.AsyncClient, pool: Pool, command_line: CommandLine
) -> None:
    model = await make_model(pool)
    use = f"{name}_usd" if name in ("image", "web_search") else f"{name}_per_million_usd"

    refused = await admin.post(PRICES, json={"model": model, name: "2.50"})
    by_command = await command_line.run("prices", "set", "--model", model, f"--{name.replace('_', '-')}", "2.50")
    tier = await command_line.run("prices", "set", "--model", model, "--tier", f"{name}@priority=2.50")

    assert refused.status_code == 422
    assert use in refused.json()["error"]["message"]
    assert by_command.code == 2
    assert f"--{use.replace('_', '-')}" in by_command.err.replace("\n", "").replace(" ", "").replace("│", "")
    assert tier.code == 2
    assert use in tier.err
    assert len((await prices.list_prices(pool, READER, model)).rows) == 1


@pytest.mark.parametrize(
    ("field", "wrong", "right"),
    [
        ("input_per_million_usd", "0.000001", "0.5"),
        ("input_per_million_usd", "0.001", "5"),
        ("output_per_million_usd", "2000", "199"),
        ("cached_input_per_million_usd", "0.01", "0.1"),
    ],
)
async def test_a3_a_price_a_hundredfold_from_litellms_is_doubted(
    field: str, wrong: str, right: str, admin: httpx2.AsyncClient, pool: Pool, command_line: CommandLine
) -> None:
    """LiteLLM's figure is 1 and 2 USD a million, also after an admin set another."""
    model = await make_model(pool)
    await admin.post(PRICES, json={"model": model, "input_per_million_usd": "1.1"})
    option = f"--{field.replace('_', '-')}"

    doubted = await admin.post(PRICES, json={"model": model, field: wrong})
    by_command = await command_line.run("prices", "set", "--model", model, option, wrong)
    preview = await admin.post(f"{PRICES}/preview", json={"model": model, field: wrong})

    assert said(doubted)[:2] == (422, "confirm")
    assert field in said(doubted)[2]
    assert (by_command.code, preview.status_code) == (1, 200)
    assert "--confirm" in by_command.err
    assert (await admin.post(PRICES, json={"model": model, field: right})).status_code == 201
    assert (await admin.post(PRICES, json={"model": model, field: "0"})).status_code == 201
    confirmed = await command_line.run("prices", "set", "--model", model, option, wrong, "--confirm")
    assert confirmed.code == 0, confirmed.err
    # Not doubted twice.
    assert (await admin.post(PRICES, json={"model": model, "web_search_usd": "0.01"})).status_code == 201


async def test_a3_a_tier_and_a_first_price_are_doubted_too(admin: httpx2.AsyncClient, pool: Pool) -> None:
    model = await make_model(pool)
    await apply(pool, seen_model("new"))
    per_token = {"unit": "input", "above": 200_000, "per_million_usd": "0.000002"}
    first = {"model": "new", "input_per_million_usd": "0.0000025", "output_per_million_usd": "0"}

    answers = [await admin.post(PRICES, json=body) for body in ({"model": model, "tiers": [per_token]}, first)]

    assert [said(answer)[:2] for answer in answers] == [(422, "confirm")] * 2


async def test_a3_a_change_shows_the_whole_price_and_what_an_ordinary_call_costs(
    admin: httpx2.AsyncClient, pool: Pool, command_line: CommandLine
) -> None:
    model = await make_model(pool)

    shown = (await admin.post(PRICES, json={"model": model, "output_per_million_usd": "10"})).json()
    done = await command_line.run("prices", "set", "--model", model, "--cached-input-per-million-usd", "0.1")
    preview = await command_line.run("prices", "set", "--model", model, "--input-per-million-usd", "3", "--preview")

    assert (shown["previous"]["ordinary_call_usd"], shown["ordinary_call_usd"]) == ("0.002", "0.006")
    assert (shown["previous"]["output_per_million_usd"], shown["is_new"], shown["repriced"]) == ("2", True, None)
    lines = [line.split() for line in done.out.splitlines()]
    assert ["input_per_million_usd", "1", "1"] in lines
    assert ["output_per_million_usd", "10", "10"] in lines
    assert ["cached_input_per_million_usd", "-", "0.1"] in lines
    assert "A call of 1,000 tokens in and 500 out: 0.006 USD before, 0.006 USD now." in done.out
    assert "0.006 USD before, 0.008 USD now." in preview.out
    assert (await in_force(pool, model)).price.input == Decimal("0.000001")


async def test_a3_a_price_may_begin_later(admin: httpx2.AsyncClient, pool: Pool, command_line: CommandLine) -> None:
    model = await make_model(pool)
    later = datetime.now(UTC) + timedelta(days=30)

    made = await admin.post(
        PRICES, json={"model": model, "input_per_million_usd": "3", "effective_at": later.isoformat()}
    )
    shown = (await admin.get(f"/api/v1/models/{model}")).json()["price"]
    undone = await command_line.run("prices", "undo", "--model", model, "--json")

    assert made.status_code == 201, made.text
    assert datetime.fromisoformat(made.json()["effective_at"]) == later
    assert (shown["input_per_million_usd"], shown["source"]) == ("1", "litellm")
    back = json.loads(undone.out)
    assert (datetime.fromisoformat(back["effective_at"]), back["input_per_million_usd"]) == (later, "1")
    assert (back["previous"]["input_per_million_usd"], back["source"]) == ("3", "litellm")


async def test_a3_undo_repeats_the_version_before_and_undone_twice_it_is_back(
    admin: httpx2.AsyncClient, pool: Pool
) -> None:
    model = await make_model(pool)
    await admin.post(PRICES, json={"model": model, "input_per_million_usd": "3"})

    undone = [(await admin.post(f"{PRICES}/undo", json={"model": model})).json() for _ in range(2)]

    assert [(one["input_per_million_usd"], one["source"]) for one in undone] == [("1", "litellm"), ("3", "admin")]
    # LiteLLM's price is its own again, so that a sync may replace it.
    await admin.post(f"{PRICES}/undo", json={"model": model})
    report = await apply(pool, seen_model(model, units={"input": Decimal("0.000005"), "output": Decimal("0.000002")}))
    assert (report.priced, report.kept_admin_prices) == ([model], [])


async def test_a3_a_change_says_what_changes_and_no_tier_twice(
    admin: httpx2.AsyncClient, pool: Pool, command_line: CommandLine
) -> None:
    model = await make_model(pool)
    tier = {"unit": "input", "above": 200_000, "per_million_usd": "4"}

    nothing = await admin.post(PRICES, json={"model": model, "charge": None})
    twice = await admin.post(PRICES, json={"model": model, "tiers": [tier, tier | {"per_million_usd": "3"}]})
    options = ("--tier", "input_per_million_usd>200000=4", "--tier", "input-per-million-usd>200000=3")
    by_command = await command_line.run("prices", "set", "--model", model, *options)
    wrong_field = await admin.post(PRICES, json={"model": model, "tiers": [tier | {"each_usd": "4"}]})

    assert [said(one)[:2] for one in (nothing, twice, wrong_field)] == [
        (422, "input_per_million_usd"), (422, "tiers"), (422, "tiers"),
    ]  # fmt: skip
    assert (by_command.code, "twice" in by_command.err) == (2, True)
    assert len((await prices.list_prices(pool, READER, model)).rows) == 1


async def wrong_hours(admin: httpx2.AsyncClient, pool: Pool, model: str) -> tuple[dict[str, Any], list[UsageRow]]:
    """A price that was wrong for two hours of yesterday, and the calls of that time: completions were free."""
    start = datetime.now(UTC) - timedelta(hours=30)
    model_id = await pool.fetchval("SELECT id FROM models WHERE name = $1", model)
    body = {"model": model, "effective_at": start.isoformat(), "reason": "list of May"}
    free = {"input_per_million_usd": "1", "output_per_million_usd": "0"}
    wrong = (await admin.post(PRICES, json=body | free)).json()
    later = body | {"output_per_million_usd": "4", "effective_at": (start + timedelta(hours=2)).isoformat()}
    after = (await admin.post(PRICES, json=later)).json()
    about = {"model_id": model_id, "prompt_tokens": 1000, "completion_tokens": 500, "counted_tokens": 1500}

    def charged(minutes: int, price_id: int | None, nano: int | None, **more: Any) -> UsageRow:
        money = {"cost_nano_usd": nano, "own_cost_nano_usd": nano, "counted_nano_usd": nano or 0, "price_id": price_id}
        return make_usage_row(start + timedelta(minutes=minutes), **(about | money | more))

    rows = [
        charged(10, wrong["id"], 1_000_000),
        charged(119, wrong["id"], 1_000_000),
        # LiteLLM was dearer, which this price does not charge.
        charged(60, wrong["id"], 1_000_000, litellm_cost_nano_usd=9_000_000),
        # A search of 0.01 USD, which the row does not hold.
        charged(61, wrong["id"], 11_000_000),
        # No price was known.
        charged(62, None, None),
        # Of no tokens, refused, and of the hour after.
        charged(63, wrong["id"], 0, ending="refused_upstream", status=400, counted_requests=0, prompt_tokens=0),
        charged(121, after["id"], 3_000_000),
        charged(-5, None, None),
    ]
    await write_rows(pool, rows)
    return wrong, rows


async def test_a3_a_wrong_version_is_corrected_and_its_hours_are_priced_again(
    admin: httpx2.AsyncClient, pool: Pool
) -> None:
    model = await make_model(pool)
    wrong, rows = await wrong_hours(admin, pool, model)
    right = {"model": model, "output_per_million_usd": "2", "corrects": wrong["id"], "reason": "wrong list"}

    preview = (await admin.post(f"{PRICES}/preview", json=right)).json()["repriced"]
    unconfirmed = await admin.post(PRICES, json=right)
    assert await pool.fetchval("SELECT count(*) FROM ledger_corrections") == 0
    done = await admin.post(PRICES, json=right | {"confirm": True})
    again = await admin.post(
        f"{LEDGER}/reprice", json={"model": model, "since": wrong["effective_at"], "reason": "once more"}
    )

    counts = ("calls", "changed", "unknown", "was_usd", "cost_usd")
    assert [preview[name] for name in counts] == [6, 4, 1, "0.003", "0.008"]
    assert said(unconfirmed)[:2] == (422, "confirm")
    assert "4 calls" in said(unconfirmed)[2]
    assert "from 0.003 to 0.008 USD" in said(unconfirmed)[2]
    assert done.status_code == 201, done.text
    assert [done.json()["repriced"][name] for name in counts] == [preview[name] for name in counts]
    assert (again.json()["changed"], again.json()["calls"]) == (0, 7)
    now = [await current_row(pool, row.request_id) for row in rows]
    assert [row and row.cost_nano_usd for row in now] == [
        2_000_000, 2_000_000, 2_000_000, 11_000_000, 2_000_000, 0, 3_000_000, None,
    ]  # fmt: skip
    assert {row.price_id for row in now[:3] if row} == {done.json()["id"]}
    assert (await verify_ledger(pool, READER, days=5)).differences == ()
    sums = await pool.fetchrow("SELECT sum(cost_nano_usd)::bigint, sum(calls)::bigint FROM usage_all_days")
    assert sums is not None
    assert tuple(sums) == (4 * 2_000_000 + 11_000_000 + 3_000_000, len(rows))
    audited = await pool.fetch("SELECT new->>'reason' AS why FROM audit_logs WHERE action = 'ledger.reprice'")
    assert [row["why"] for row in audited] == ["wrong list"]


async def test_a3_the_same_by_command_and_undone_from_its_start(
    admin: httpx2.AsyncClient, pool: Pool, command_line: CommandLine
) -> None:
    model = await make_model(pool)
    wrong, rows = await wrong_hours(admin, pool, model)
    options = ("--output-per-million-usd", "2", "--corrects", str(wrong["id"]), "--reason", "wrong list")

    refused = await command_line.run("prices", "set", "--model", model, *options)
    done = await command_line.run("prices", "set", "--model", model, *options, "--confirm")
    since = ("--since", str(wrong["effective_at"]))
    preview = await command_line.run("ledger", "reprice-calls", "--model", model, *since, "--preview")
    undone = await command_line.run(
        "prices", "undo", "--model", model, "--from-start", "--reason", "it was right", "--confirm"
    )

    assert refused.code == 1
    assert "from 0.003 to 0.008 USD" in refused.err
    assert "4 of 6 calls since" in done.out
    assert "0.003 USD before, 0.008 USD now." in done.out
    assert "1 stay: their rows do not hold all that was charged" in done.out
    assert "0 of 7 calls since" in preview.out
    assert undone.code == 0, undone.err
    now = [await current_row(pool, row.request_id) for row in rows[:5]]
    assert [row and row.cost_nano_usd for row in now] == [1_000_000] * 3 + [11_000_000, 1_000_000]
    assert (await verify_ledger(pool, READER, days=5)).differences == ()


async def test_a3_calls_at_a_service_tier_keep_it_when_they_are_priced_again(pool: Pool) -> None:
    model = await make_model(pool)
    start = datetime.now(UTC) - timedelta(hours=2)
    tiers = {("input", 0, "priority"): Decimal("0.000003")}
    units: dict[str, Decimal | None] = {"input": Decimal("0.000001"), "output": Decimal("0.000002")}
    wrong = await prices.set_price(
        pool, ADMIN, model, PriceInput(units=units, tiers=tiers, effective_at=start, reason="x", charge="higher")
    )
    price_id, model_id = wrong.version.price.id, wrong.version.model_id
    about = {"model_id": model_id, "price_id": price_id, "prompt_tokens": 1000, "completion_tokens": 0}
    rows = [
        make_usage_row(
            start + timedelta(minutes=1), **about, cost_nano_usd=nano, own_cost_nano_usd=own, counted_nano_usd=nano,
            litellm_cost_nano_usd=litellm,
        )
        for own, litellm, nano in ((3_000_000, None, 3_000_000), (1_000_000, 5_000_000, 5_000_000))
    ]  # fmt: skip
    await write_rows(pool, rows)

    dearer = {("input", 0, "priority"): Decimal("0.000004")}
    done = await prices.set_price(
        pool, ADMIN, model, PriceInput(tiers=dearer, corrects=price_id, reason="x", confirmed=True)
    )

    assert done.repriced is not None
    assert (done.repriced.changed, done.repriced.cost_nano_usd) == (1, 4_000_000)


async def test_a3_a_past_price_needs_a_reason_and_a_time_that_can_be(admin: httpx2.AsyncClient, pool: Pool) -> None:
    model = await make_model(pool)
    past = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    body = {"model": model, "input_per_million_usd": "2", "output_per_million_usd": "2"}

    answers = [
        await admin.post(PRICES, json=body | more)
        for more in (
            {"effective_at": past},
            {"effective_at": "1999-12-31T00:00:00Z", "reason": "x"},
            {"effective_at": "2999-12-31T00:00:00Z"},
            {"corrects": 10**9, "reason": "x"},
            {"corrects": 1, "effective_at": past, "reason": "x"},
        )
    ]

    assert [said(answer)[:2] for answer in answers] == [
        (422, "reason"), (422, "effective_at"), (422, "effective_at"), (422, "corrects"), (422, "effective_at"),
    ]  # fmt: skip


async def test_a3_the_ledger_is_verified_and_a_call_priced_by_http(admin: httpx2.AsyncClient, pool: Pool) -> None:
    row = make_usage_row(datetime.now(UTC))
    await write_rows(pool, [row])

    done = await admin.post(f"{LEDGER}/calls/{row.request_id}/reprice", json={"cost_usd": "0.00003", "reason": "x"})
    verified = (await admin.get(f"{LEDGER}/verify", params={"days": 3})).json()
    closed = (await admin.get(f"{LEDGER}/seals")).json()

    assert done.status_code == 200, done.text
    assert (done.json()["was_usd"], done.json()["cost_usd"]) == ("0.000023", "0.00003")
    assert (verified["agrees"], verified["rows"], closed["intact"]) == (True, 1, True)
    assert 30_000 == await pool.fetchval("SELECT cost_nano_usd FROM usage_all_days") < NANO_USD
