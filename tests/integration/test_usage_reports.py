"""Usage reports: visibility, filters by name, ranges and time zones, exports."""

import csv
import io
import json
import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import httpx2
import pytest
from admin_client import check_error
from factories import ADMIN, PEPPERS, READER, make_model, make_subscription, make_team, make_user, owner_of
from usage_rows import TODAY, make_usage_row, write_rows

from admin_api.operations import subscriptions
from admin_api.operations.actors import Actor
from admin_api.operations.keys import keys, live_use
from admin_api.operations.people import teams
from admin_api.operations.usage import exports, reports
from admin_api.operations.usage.scope import UsageFilter
from admin_api.schemas import usage_files
from admin_api.schemas.focus import FOCUS_COLUMNS
from admin_api.storage.accounts import Account
from admin_api.storage.api_keys import APIKey
from admin_api.storage.users import User
from gateway.domain.errors import GatewayError
from gateway.storage.postgres import Pool

AT = TODAY - timedelta(days=1) + timedelta(hours=12)


class Town(NamedTuple):
    """Ana owns a team in which Ben is; Ana and Ben have keys of their own too, and in the team. Cleo has nothing."""

    ana: User
    ben: User
    cleo: User
    team: Account
    keys: dict[str, APIKey]

    def actor(self, name: str) -> Actor:
        return owner_of(getattr(self, name))


@pytest.fixture
async def town(pool: Pool) -> Town:
    """Each key has made 1, 2, 4 or 8 calls, so that a sum tells whose they are."""
    ana, ben, cleo = [await make_user(pool, f"{name}@example.org") for name in ("ana", "ben", "cleo")]
    await make_model(pool, "small")
    await make_model(pool, "vendor/large")
    await pool.execute("UPDATE models SET provider = 'vendor' WHERE name = 'vendor/large'")
    team = await make_team(pool, ben, name="=cmd|' /C calc'!A0")
    await teams.add_member(pool, ADMIN, str(team.id), user=ana.email, role="owner")
    made = {}
    for user in (ana, ben):
        await make_subscription(pool, user, "small")
        query = keys.KeyInput(models=["small"], user=user.email)
        made[user.email.split("@")[0]] = (await keys.create_key(pool, ADMIN, PEPPERS, query)).row
    await subscriptions.create_subscription(pool, ADMIN, model="vendor/large", team=str(team.id))
    for user in (ana, ben):
        query = keys.KeyInput(models=["vendor/large"], user=user.email, team=str(team.id))
        made[f"team {user.email.split('@')[0]}"] = (await keys.create_key(pool, ADMIN, PEPPERS, query)).row
    models = {row["name"]: row["id"] for row in await pool.fetch("SELECT id, name FROM models")}
    rows = []
    for calls, key in zip((1, 2, 4, 8), made.values(), strict=True):
        about = {"account_id": key.account_id, "user_id": key.user_id, "api_key_id": key.id}
        about["model_id"] = models["small" if calls < 4 else "vendor/large"]
        rows += [make_usage_row(AT + timedelta(seconds=n), **about) for n in range(calls)]
    await write_rows(pool, rows)
    return Town(ana, ben, cleo, team, made)


async def calls_of(pool: Pool, actor: Actor, **query: Any) -> int:
    return (await reports.summarize(pool, actor, UsageFilter(**query))).sums.calls


async def groups_of(pool: Pool, actor: Actor, by: str, **query: Any) -> dict[str | None, int]:
    found = await reports.break_down(pool, actor, UsageFilter(**query), by=by)
    return {group.name: group.sums.calls for group in found.groups}


async def code_of(pool: Pool, actor: Actor, by: str | None = None, **query: Any) -> str:
    wanted = UsageFilter(**query)
    with pytest.raises(GatewayError) as caught:
        await (reports.break_down(pool, actor, wanted, by=by) if by else reports.summarize(pool, actor, wanted))
    return caught.value.code


@pytest.mark.parametrize("actor", [ADMIN, READER])
async def test_admins_see_the_usage_of_everyone(pool: Pool, town: Town, actor: Actor) -> None:
    team = str(town.team.id)
    assert await calls_of(pool, actor) == 15
    assert await calls_of(pool, actor, user=town.ben.email) == 2 + 8
    assert await calls_of(pool, actor, team=team) == 4 + 8
    assert await calls_of(pool, actor, team=team, user=town.ana.email) == 4
    assert await calls_of(pool, actor, key=town.keys["ben"].id) == 2
    assert await calls_of(pool, actor, models=["small"]) == 3
    assert await calls_of(pool, actor, provider="vendor") == 12
    assert await groups_of(pool, actor, "provider") == {"openai": 3, "vendor": 12}
    assert await groups_of(pool, actor, "team") == {town.team.name: 12}
    assert await groups_of(pool, actor, "user") == {town.ana.email: 5, town.ben.email: 10}
    assert list((await groups_of(pool, actor, "key", team=team)).values()) == [8, 4]


async def test_keys_show_what_they_are_used_today(pool: Pool, town: Town) -> None:
    """The calls of yesterday do not count; Ben sees the own key and that in the team, an owner all of
    the team."""
    model_id = await pool.fetchval("SELECT id FROM models WHERE name = 'small'")
    for name, calls in (("ben", 3), ("team ben", 1)):
        key = town.keys[name]
        about = {"account_id": key.account_id, "user_id": key.user_id, "api_key_id": key.id, "model_id": model_id}
        await write_rows(pool, [make_usage_row(datetime.now(UTC), **about) for _ in range(calls)])
    ids = {key.id: name for name, key in town.keys.items()}

    async def uses(actor: Actor, **which: Any) -> dict[str, int]:
        rows, cursor = {}, None
        while cursor is not None or not rows:
            page = await live_use.list_key_uses(pool, actor, **which, limit=1, cursor=cursor)
            rows |= {ids[use.key.id]: use.today for use in page.rows}
            cursor = page.next_cursor
        spent = "SELECT coalesce(sum(cost_nano_usd), 0) FROM usage_logs WHERE api_key_id = $1 AND started_at >= $2"
        for name, sums in rows.items():
            assert sums.cost_nano_usd == await pool.fetchval(spent, town.keys[name].id, TODAY)
        return {name: sums.calls for name, sums in rows.items()}

    assert await uses(ADMIN) == {"ana": 0, "ben": 3, "team ana": 0, "team ben": 1}
    assert await uses(town.actor("ben")) == {"ben": 3, "team ben": 1}
    assert await uses(town.actor("ana"), team=str(town.team.id)) == {"team ana": 0, "team ben": 1}
    with pytest.raises(GatewayError, match="zone"):
        await live_use.list_key_uses(pool, ADMIN, time_zone="Europe/Nowhere")


async def test_a_user_sees_only_their_own_calls(pool: Pool, town: Town) -> None:
    ben = town.actor("ben")
    assert await calls_of(pool, ben) == 2 + 8
    assert await calls_of(pool, ben, user=town.ben.email) == 10
    assert await groups_of(pool, ben, "user") == {town.ben.email: 10}
    assert len(await groups_of(pool, ben, "key")) == 2
    assert await calls_of(pool, ben, key=town.keys["team ben"].id) == 8
    assert await code_of(pool, ben, user=town.ana.email) == "forbidden"
    assert await code_of(pool, ben, user="nobody@example.org") == "forbidden"
    assert await code_of(pool, ben, key=town.keys["ana"].id) == "not_found"
    assert await code_of(pool, ben, key=town.keys["team ana"].id) == "not_found"
    assert await calls_of(pool, town.actor("cleo")) == 0


async def test_members_see_the_total_of_a_team_and_owners_each_member(pool: Pool, town: Town) -> None:
    team, ana, ben, cleo = str(town.team.id), *(town.actor(name) for name in ("ana", "ben", "cleo"))
    assert await calls_of(pool, ben, team=team) == 12
    assert await groups_of(pool, ben, "model", team=team) == {"vendor/large": 12}
    assert await calls_of(pool, ben, team=team, user=town.ben.email) == 8
    assert await groups_of(pool, ben, "key", team=team, user=town.ben.email) != {}
    for by in ("key", "user"):
        assert await code_of(pool, ben, by, team=team) == "forbidden"
    assert await code_of(pool, ben, team=team, user=town.ana.email) == "forbidden"
    assert await code_of(pool, ben, team=team, key=town.keys["team ana"].id) == "not_found"
    assert await groups_of(pool, ana, "user", team=team) == {town.ana.email: 4, town.ben.email: 8}
    assert await calls_of(pool, ana, team=team, user=town.ben.email) == 8
    assert await calls_of(pool, ana, team=team, key=town.keys["team ben"].id) == 8
    assert await code_of(pool, ana, team=team, key=town.keys["ben"].id) == "not_found"
    assert await code_of(pool, cleo, team=team) == "not_found"
    for actor, query, code in ((ben, UsageFilter(team=team), "forbidden"), (cleo, UsageFilter(team=team), "not_found")):
        with pytest.raises(GatewayError) as caught:
            await exports.export_usage(pool, actor, query, file_format="csv")
        assert caught.value.code == code
        if actor is ben:
            with pytest.raises(GatewayError) as caught:
                await reports.measure_latencies(pool, actor, query, by="key")
            assert caught.value.code == "forbidden"


async def test_an_owner_cannot_find_out_who_has_an_account(pool: Pool, town: Town) -> None:
    ana, team = town.actor("ana"), str(town.team.id)
    said = []
    for reference in (town.cleo.email, "nobody@example.org", str(town.cleo.id), "999999"):
        with pytest.raises(GatewayError) as caught:
            await reports.summarize(pool, ana, UsageFilter(team=team, user=reference))
        said.append((caught.value.code, caught.value.param, caught.value.message.replace(reference, "…")))
    assert set(said) == {("not_found", "user", "There is no user '…'.")}

    # Former members have usage; current ones may have none.
    await teams.remove_member(pool, ADMIN, team, user=town.ben.email)
    await teams.add_member(pool, ADMIN, team, user=town.cleo.email)
    assert await calls_of(pool, ana, team=team, user=town.ben.email) == 8
    assert await calls_of(pool, ana, team=team, user=town.cleo.email) == 0


@pytest.mark.parametrize("role", ["program", "user"])
async def test_an_actor_without_an_account_sees_no_usage(pool: Pool, role: Any) -> None:
    assert await code_of(pool, Actor(name="nobody", role=role)) == "forbidden"


async def test_days_are_in_the_zone_of_the_account_or_the_requested_one(pool: Pool, town: Town) -> None:
    await pool.execute("UPDATE accounts SET time_zone = 'Asia/Kolkata' WHERE id = $1", town.team.id)
    query = UsageFilter(team=str(town.team.id), since=AT - timedelta(days=2), until=AT + timedelta(hours=1))

    own = await reports.read_series(pool, ADMIN, query, step="day")
    asked = await reports.read_series(pool, ADMIN, replace(query, time_zone="America/New_York"), step="day")

    assert own.time_zone == "Asia/Kolkata"
    assert {(p.start.hour, p.start.minute) for p in own.points[1:]} == {(18, 30)}
    assert {p.start.hour for p in asked.points[1:]} <= {4, 5}
    for series in (own, asked):
        assert sum(point.sums.calls for point in series.points) == 12
        assert [p.end for p in series.points[:-1]] == [p.start for p in series.points[1:]]


async def test_days_of_a_key_are_in_the_zone_of_its_account(pool: Pool, town: Town) -> None:
    await pool.execute("UPDATE accounts SET time_zone = 'Asia/Kolkata' WHERE id = $1", town.team.id)
    query = UsageFilter(key=town.keys["team ben"].id)

    for actor in (ADMIN, town.actor("ben")):
        series = await reports.read_series(pool, actor, query, step="day")
        assert series.time_zone == "Asia/Kolkata"
        assert {(point.start.hour, point.start.minute) for point in series.points[1:]} == {(18, 30)}
        assert sum(point.sums.calls for point in series.points) == 8


async def test_ranges_are_widened_to_quarter_hours_and_returned(pool: Pool, town: Town) -> None:
    query = UsageFilter(since=AT + timedelta(minutes=1), until=AT + timedelta(minutes=2))

    found = await reports.summarize(pool, ADMIN, query)

    assert (found.since, found.until) == (AT, AT + timedelta(minutes=15))
    assert found.sums.calls == 15


@pytest.mark.parametrize(
    ("query", "by", "code"),
    [
        ({"since": AT, "until": AT}, None, "validation_failed"),
        ({"since": AT.replace(tzinfo=None)}, None, "validation_failed"),
        ({"since": datetime(1970, 1, 1, tzinfo=UTC)}, None, "validation_failed"),
        ({"until": datetime(9999, 12, 31, 23, 59, tzinfo=UTC)}, None, "validation_failed"),
        ({"time_zone": "Mars"}, None, "validation_failed"),
        ({"models": ["none"]}, None, "not_found"),
        ({"team": "none"}, None, "not_found"),
        ({"key": 999}, None, "not_found"),
        ({"endings": ["burnt"]}, None, "validation_failed"),
        ({"error_classes": ["burnt"]}, None, "validation_failed"),
        ({}, "key", "validation_failed"),
        ({"endings": ["completed"]}, "user", "validation_failed"),
        ({}, "colour", "validation_failed"),
    ],
)
async def test_an_unanswerable_query_is_an_error(pool: Pool, query: dict[str, Any], by: str | None, code: str) -> None:
    assert await code_of(pool, ADMIN, by, **query) == code


async def read(pool: Pool, actor: Actor, file_format: str, detail: str = "days", **query: Any) -> str:
    export = await exports.export_usage(pool, actor, UsageFilter(**query), file_format=file_format, detail=detail)
    return b"".join([part async for part in usage_files.parts_of(export)]).decode()


@pytest.mark.parametrize("detail", ["days", "calls"])
async def test_exports_equal_the_sums(pool: Pool, town: Town, detail: str) -> None:
    lines = list(csv.DictReader(io.StringIO(await read(pool, ADMIN, "csv", detail))))
    objects = json.loads(await read(pool, ADMIN, "json", detail))

    assert sum(int(line.get("calls", 1)) for line in lines) == sum(one.get("calls", 1) for one in objects) == 15
    assert sum(int(line["cost_nano_usd"]) for line in lines) == sum(one["cost_nano_usd"] for one in objects)
    assert sum(float(line["cost_usd"]) for line in lines) == pytest.approx(15 * 0.000023)
    assert [line["user"] for line in lines] == [one["user"] for one in objects]
    assert {one["account"] for one in objects} >= {town.team.name}
    assert json.loads(await read(pool, ADMIN, "json", detail, error_classes=["timeout"])) == []
    own = json.loads(await read(pool, town.actor("ben"), "json", detail))
    assert {one["user"] for one in own} == {town.ben.email}


async def test_a_cell_is_never_a_formula(pool: Pool, town: Town) -> None:
    for file_format in ("csv", "focus"):
        rows = list(csv.reader(io.StringIO(await read(pool, ADMIN, file_format))))
        assert [cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@", "\t", "\r"))] == []
    assert any("'=cmd" in cell for row in rows for cell in row)


async def test_a_focus_export_has_the_mandatory_columns_and_the_cost_of_the_ledger(pool: Pool, town: Town) -> None:
    lines = list(csv.DictReader(io.StringIO(await read(pool, ADMIN, "focus"))))

    mandatory = {
        "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd",
        "BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargePeriodEnd",
        "ChargePeriodStart", "ContractedCost", "EffectiveCost", "InvoiceIssuerName", "ListCost", "PricingQuantity",
        "PricingUnit", "ProviderName", "PublisherName", "ServiceCategory", "ServiceName",
    }  # fmt: skip
    assert mandatory <= set(FOCUS_COLUMNS) == set(lines[0])
    may_be_empty = {"ChargeClass", "BillingAccountName", "PublisherName"}
    assert all(line[column] for line in lines for column in mandatory - may_be_empty)
    assert sum(round(float(line["BilledCost"]) * 1e9) for line in lines) == 15 * 23_000
    day = AT.date()
    assert {line["ChargePeriodStart"] for line in lines} == {f"{day}T00:00:00Z"}
    assert {line["BillingPeriodStart"] for line in lines} == {f"{day:%Y-%m}-01T00:00:00Z"}


async def test_a_large_export_takes_no_more_memory_than_a_small_one(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    peaks = {}
    for keys_of_day in (1_000, 4_000):
        rows = [make_usage_row(AT, api_key_id=n, account_id=1 + n % 7) for n in range(1, keys_of_day + 1)]
        await write_rows(pool, rows)
        export = await exports.export_usage(pool, ADMIN, UsageFilter(), file_format="json")
        export = replace(export, pages=_paged(pool))
        tracemalloc.start()
        size = 0
        async for part in usage_files.parts_of(export):
            size += part.count(b'"day"')
        peaks[keys_of_day] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert size == keys_of_day
    assert peaks[4_000] < 1.5 * peaks[1_000]


async def _paged(pool: Pool) -> AsyncIterator[Any]:
    """By pages of 250 lines, so that few lines are many pages."""
    from admin_api.storage.usage.exports import page_days
    from admin_api.storage.usage.rollup_tables import Selection

    selection = Selection(start=AT - timedelta(days=1), end=AT + timedelta(days=1))
    pages = page_days(pool, selection, ZoneInfo("UTC"), size=250)
    async for page in exports._named(pool, pages, {}, shows_served=True):
        yield page


async def test_the_model_litellm_served_is_not_shown_to_users(pool: Pool, town: Town) -> None:
    """It may be the name of a backend or of a fallback model."""
    key = town.keys["team ben"]
    about = {"account_id": key.account_id, "user_id": key.user_id, "api_key_id": key.id}
    await write_rows(pool, [make_usage_row(AT, model_served="azure/backend-7", **about)])
    team = {"team": str(town.team.id)}

    served = {}
    for name, actor, query in (
        ("admin", ADMIN, team),
        ("reader", READER, team),
        ("owner", town.actor("ana"), team),
        ("user", town.actor("ben"), {}),
    ):
        for file_format in ("csv", "json"):
            file = await read(pool, actor, file_format, "calls", **query)
            served[name, file_format] = file.count("azure/backend-7")
            assert "model_served" in file

    assert {name for (name, _), n in served.items() if n == 1} == {"admin", "reader"}
    assert {name for (name, _), n in served.items() if n == 0} == {"owner", "user"}


async def test_routes_return_the_same_reports(pool: Pool, town: Town, admin: httpx2.AsyncClient) -> None:
    team = {"team": str(town.team.id)}
    summary = (await admin.get("/api/v1/usage/summary", params=team)).json()
    series = (await admin.get("/api/v1/usage/series", params=team | {"step": "week"})).json()
    by_user = (await admin.get("/api/v1/usage/breakdown/user", params=team | {"limit": 1})).json()
    latencies = (await admin.get("/api/v1/usage/percentiles", params={"by": "model"})).json()
    file = await admin.get("/api/v1/usage/export", params=team | {"format": "focus"})
    failed = {"error_class": "timeout"}
    await write_rows(pool, [make_usage_row(AT, user_id=town.ben.id, ending="timeout", status=504, total_ms=900)])
    slow = (await admin.get("/api/v1/usage/percentiles", params=failed | {"by": "user"})).json()

    assert (summary["calls"], summary["success_share"], summary["cost_usd"]) == (12, 1.0, "0.000276")
    assert summary["total_tokens"] == 12 * 17
    assert sum(point["calls"] for point in series["points"]) == 12
    assert (by_user["number_of_groups"], by_user["others"]["calls"], by_user["total"]["calls"]) == (2, 4, 12)
    assert by_user["groups"][0]["name"] == town.ben.email
    assert [row["total_ms"]["calls"] for row in latencies["rows"]] == [12, 3]
    assert latencies["rows"][0]["total_ms"]["p95"] == pytest.approx(400, rel=0.05)
    assert latencies["rows"][0]["first_byte_ms"]["p50"] == pytest.approx(100, rel=0.05)
    assert [(row["name"], row["total_ms"]["calls"]) for row in slow["rows"]] == [(town.ben.email, 1)]
    assert slow["rows"][0]["total_ms"]["p95"] == pytest.approx(900, rel=0.05)
    check_error(await admin.get("/api/v1/usage/percentiles", params={"by": "user"}), 422, "validation_failed")
    assert file.headers["content-type"].startswith("text/csv")
    assert 'filename="usage-' in file.headers["content-disposition"]
    assert file.text.count("\r\n") == 3
    for path, params in (("summary", {"ending": "burnt"}), ("breakdown/colour", {}), ("summary", {"sinse": "x"})):
        check_error(await admin.get(f"/api/v1/usage/{path}", params=params), 422, "validation_failed")
