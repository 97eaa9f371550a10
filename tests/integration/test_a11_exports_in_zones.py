"""Exports: the period and the time zone that are asked for, equal to SQL over the ledger (A11)."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import httpx2
import pytest
from command_line import CommandLine
from conftest import Database
from factories import ADMIN, READER, make_model, make_team, make_user
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from usage_rows import EARLIEST, TODAY, empty_ledger, make_usage_row, usage_rows, write_rows

from admin_api.operations.maintenance.repricing import reprice_call
from admin_api.operations.usage import exports, reports
from admin_api.operations.usage.scope import UsageFilter
from admin_api.schemas import usage_files
from gateway.domain.calls import ENDINGS
from gateway.domain.error_classes import ERROR_CLASSES
from gateway.domain.usage_rows import UsageRow
from gateway.storage.ledger.closed_days import close_due_days
from gateway.storage.postgres import Pool

# Whole hours, half and quarter ones, both sides of UTC, summer time of half an hour, the far ends.
ZONES = (
    "UTC", "Europe/Madrid", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe",
    "Pacific/Chatham", "Pacific/Kiritimati", "Pacific/Niue",
)  # fmt: skip
USERS = ("ana@example.org", "ben@example.org", "cleo@example.org")
SUMS = (
    "calls", "estimated_calls", "prompt_tokens", "completion_tokens", "cached_tokens", "cache_write_tokens",
    "reasoning_tokens", "cost_nano_usd", "own_cost_nano_usd", "total_ms", "first_byte_calls", "first_byte_ms",
)  # fmt: skip
WHO = ("account_id", "user_id", "api_key_id", "model", "ending", "error_class")
# From the rows alone: no rollup, and no code of the export.
ORACLE = """
SELECT (u.started_at AT TIME ZONE $1::text)::date AS day,
    u.account_id, u.user_id, u.api_key_id, m.name AS model, u.ending,
    error_class(u.ending, u.status, u.error_code, u.estimated_why) AS error_class,
    count(*) AS calls, count(*) FILTER (WHERE u.estimated) AS estimated_calls,
    sum(prompt_tokens)::bigint AS prompt_tokens, sum(completion_tokens)::bigint AS completion_tokens,
    sum(cached_tokens)::bigint AS cached_tokens, sum(cache_write_tokens)::bigint AS cache_write_tokens,
    sum(reasoning_tokens)::bigint AS reasoning_tokens, sum(coalesce(cost_nano_usd, 0))::bigint AS cost_nano_usd,
    sum(coalesce(own_cost_nano_usd, 0))::bigint AS own_cost_nano_usd, sum(total_ms)::bigint AS total_ms,
    count(first_byte_ms) AS first_byte_calls, sum(coalesce(first_byte_ms, 0))::bigint AS first_byte_ms
FROM usage_logs AS u JOIN models AS m ON m.id = u.model_id LEFT JOIN accounts AS a ON a.id = u.account_id
WHERE u.started_at >= date_bin('15 minutes', $2::timestamptz, '2000-01-01Z')
    AND u.started_at < date_bin('15 minutes', $3::timestamptz + interval '14 minutes 59.999999 seconds', '2000-01-01Z')
    AND ($4::text IS NULL OR u.user_id = (SELECT id FROM users WHERE email = $4::text))
    AND ($5::text IS NULL OR a.name = $5)
    AND ($6::bigint IS NULL OR u.api_key_id = $6)
    AND ($7::text[] = '{}' OR m.name = ANY ($7))
    AND ($8::text IS NULL OR m.provider = $8)
    AND ($9::text[] = '{}' OR u.ending = ANY ($9))
    AND ($10::text[] = '{}' OR error_class(u.ending, u.status, u.error_code, u.estimated_why) = ANY ($10))
GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY 1, 2, 3 NULLS FIRST, 4, m.name, 6, 7
"""


class Town(NamedTuple):
    """Account and user of the keys 1 to 6: of each user their own, one of two users in the team, and the team's."""

    owners: dict[int, tuple[int, int | None]]
    models: dict[int, int]


@pytest.fixture
async def town(pool: Pool) -> Town:
    ana, ben, cleo = [await make_user(pool, email) for email in USERS]
    team = await make_team(pool, ana, name="red")
    owners: dict[int, tuple[int, int | None]] = {
        n: (one.account_id, one.id) for n, one in enumerate((ana, ben, cleo), 1)
    }
    owners |= {4: (team.id, ana.id), 5: (team.id, ben.id), 6: (team.id, None)}
    for key, (account, user) in owners.items():
        await pool.execute(
            "INSERT INTO api_keys (id, account_id, user_id, name, digest, pepper_version, last_four, created_by)"
            " OVERRIDING SYSTEM VALUE VALUES ($1, $2, $3, 'key', sha256($4), 1, 'abcd', 'test')",
            key, account, user, str(key).encode(),
        )  # fmt: skip
    for name, provider in (("small", "vendor"), ("large", "vendor"), ("other", "another")):
        await make_model(pool, name)
        await pool.execute("UPDATE models SET provider = $2 WHERE name = $1", name, provider)
    ids = [row["id"] for row in await pool.fetch("SELECT id FROM models ORDER BY id")]
    return Town(owners, dict(enumerate(ids, 1)))


def moments() -> st.SearchStrategy[datetime]:
    minutes = int((TODAY - EARLIEST).total_seconds()) // 60
    anywhere = st.integers(0, minutes).map(lambda n: EARLIEST + timedelta(minutes=n, seconds=n % 61))
    midnights = st.builds(
        lambda day, zone: (EARLIEST + timedelta(days=day)).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC),
        st.integers(1, minutes // 1440 - 1),
        st.sampled_from(ZONES),
    )
    return anywhere | midnights


def some(words: Any) -> st.SearchStrategy[list[Any]]:
    return st.just([]) | st.lists(st.sampled_from(words), min_size=1, max_size=3, unique=True)


@st.composite
def filters(draw: st.DrawFn) -> UsageFilter:
    since, until = sorted(draw(st.lists(moments(), min_size=2, max_size=2, unique=True)))
    return UsageFilter(
        since=since,
        until=until,
        time_zone=draw(st.sampled_from(ZONES)),
        user=draw(st.none() | st.sampled_from(USERS)),
        team=draw(st.none() | st.none() | st.just("red")),
        key=draw(st.none() | st.none() | st.none() | st.integers(1, 6)),
        models=draw(some(("small", "large", "other"))),
        provider=draw(st.none() | st.none() | st.sampled_from(("vendor", "another"))),
        endings=draw(some(ENDINGS)),
        error_classes=draw(some(ERROR_CLASSES)),
    )


async def read(pool: Pool, query: UsageFilter, file_format: str, detail: str = "days", **more: Any) -> str:
    export = await exports.export_usage(pool, READER, query, file_format=file_format, detail=detail, **more)
    return b"".join([part async for part in usage_files.parts_of(export)]).decode()


async def lines_of(pool: Pool, query: UsageFilter, file_format: str, detail: str = "days") -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(await read(pool, query, file_format, detail), newline="")))


async def by_sql(pool: Pool, query: UsageFilter) -> list[dict[str, Any]]:
    rows = await pool.fetch(
        ORACLE, query.time_zone, query.since, query.until, query.user, query.team, query.key, list(query.models),
        query.provider, list(query.endings), list(query.error_classes),
    )  # fmt: skip
    return [dict(row) for row in rows]


def as_text(line: dict[str, Any]) -> tuple[str, ...]:
    return tuple("" if line[name] is None else str(line[name]) for name in ("day", *WHO, *SUMS))


@settings(
    max_examples=12,
    phases=[Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(usage_rows() | usage_rows(reaped=True), min_size=20, max_size=60),
    st.lists(moments(), min_size=60, max_size=60),
    st.lists(filters(), min_size=6, max_size=6),
)
async def test_a11_an_export_equals_sql_over_the_rows(
    database: Database, pool: Pool, town: Town, drawn: list[UsageRow], at: list[datetime], wanted: list[UsageFilter]
) -> None:
    await empty_ledger(database)
    rows = []
    for row, moment in zip(drawn, at, strict=False):
        account, user = town.owners[row.api_key_id]
        about = {"account_id": account, "user_id": user, "api_key_id": row.api_key_id}
        rows.append(make_usage_row(moment, **(fields_of(row) | about | {"model_id": town.models[row.model_id]})))
    await write_rows(pool, rows)
    for query in wanted:
        expected = await by_sql(pool, query)
        if query.key is not None and query.team is None and query.user is None:
            assert expected == [] or {row["api_key_id"] for row in expected} == {query.key}

        days = await lines_of(pool, query, "csv")
        assert sorted(map(as_text, days)) == sorted(map(as_text, expected))
        assert {line["time_zone"] for line in days} <= {query.time_zone}
        assert sum(Decimal(line["cost_usd"]) for line in days) == sum(r["cost_nano_usd"] for r in expected) / Decimal(
            10**9
        )
        objects = json.loads(await read(pool, query, "json"))
        assert [as_text(one) for one in objects] == [as_text(line) for line in days]

        calls = await lines_of(pool, query, "csv", "calls")
        assert len(calls) == sum(row["calls"] for row in expected)
        local = [datetime.fromisoformat(line["started_at"]).date().isoformat() for line in calls]
        assert sorted(local) == sorted(day for line in days for day in [line["day"]] * int(line["calls"]))

        focus = await lines_of(pool, query, "focus")
        zone = ZoneInfo(str(query.time_zone))
        starts = [datetime.fromisoformat(line["ChargePeriodStart"]).astimezone(zone).date() for line in focus]
        assert sorted(map(str, starts)) == sorted(line["day"] for line in days)
        assert sum(Decimal(line["BilledCost"]) for line in focus) == sum(Decimal(line["cost_usd"]) for line in days)

        summary = await reports.summarize(pool, ADMIN, query) if query.user or query.team or query.key is None else None
        assert summary is None or summary.sums.calls == len(calls)


def fields_of(row: UsageRow) -> dict[str, Any]:
    left_out = ("request_id", "started_at", "account_id", "user_id", "api_key_id", "model_id")
    return {name: getattr(row, name) for name in row.__struct_fields__ if name not in left_out}


async def five_days(pool: Pool, town: Town, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """A call each two hours of seven days; the five in the middle are asked for."""
    account, user = town.owners[1]
    about = {"account_id": account, "user_id": user, "model_id": town.models[1]}
    first = (TODAY - timedelta(days=7)).replace(tzinfo=zone)
    begun = (first - timedelta(days=1)).astimezone(UTC)
    await write_rows(pool, [make_usage_row(begun + timedelta(hours=2 * n), **about) for n in range(7 * 12)])
    return first.astimezone(UTC), (first + timedelta(days=5)).astimezone(UTC)


@pytest.mark.parametrize("name", ["America/New_York", "Asia/Kolkata"])
async def test_a11_five_days_of_a_zone_are_five_days(
    database: Database, pool: Pool, town: Town, admin: httpx2.AsyncClient, name: str
) -> None:
    """They were six UTC days, with a fifth more calls."""
    since, until = await five_days(pool, town, ZoneInfo(name))
    asked = {"since": since.isoformat(), "until": until.isoformat(), "time_zone": name}

    summary = (await admin.get("/api/v1/usage/summary", params=asked)).json()
    file = await admin.get("/api/v1/usage/export", params=asked)
    command_line = CommandLine({"LITEMAAS_DATABASE_URL": database.app_url})
    options = ("--since", asked["since"], "--until", asked["until"], "--time-zone", name)
    done = await command_line.run("usage", "export", *options)

    assert done.code == 0, done.err
    assert done.out.replace("\r\n", "\n") == file.text.replace("\r\n", "\n")
    lines = list(csv.DictReader(io.StringIO(file.text, newline="")))
    first = TODAY.date() - timedelta(days=7)
    assert [line["day"] for line in lines] == [str(first + timedelta(days=n)) for n in range(5)]
    assert {line["time_zone"] for line in lines} == {name}
    assert sum(int(line["calls"]) for line in lines) == summary["calls"] == 60
    last = first + timedelta(days=5)
    assert f'filename="usage-{first:%Y%m%d}-{last:%Y%m%d}.csv"' in file.headers["content-disposition"]


async def test_a11_an_export_without_a_zone_has_the_days_of_the_account(pool: Pool, town: Town) -> None:
    since, until = await five_days(pool, town, ZoneInfo("Asia/Kolkata"))
    await pool.execute("UPDATE accounts SET time_zone = 'Asia/Kolkata'")

    lines = await lines_of(pool, UsageFilter(since=since, until=until, user=USERS[0]), "csv")

    assert {line["time_zone"] for line in lines} == {"Asia/Kolkata"}
    assert [line["calls"] for line in lines] == ["12"] * 5


async def test_a11_charge_periods_of_focus_are_what_is_exported_of_a_day(pool: Pool, town: Town) -> None:
    zone = ZoneInfo("Asia/Kolkata")
    since, until = await five_days(pool, town, zone)
    query = UsageFilter(since=since + timedelta(hours=3), until=until, time_zone=zone.key)

    lines = await lines_of(pool, query, "focus")

    assert lines[0]["ChargePeriodStart"] == (since + timedelta(hours=3)).strftime("%Y-%m-%dT%H:%M:%SZ")
    ends = [line["ChargePeriodEnd"] for line in lines]
    assert ends == [(since + timedelta(days=n)).strftime("%Y-%m-%dT%H:%M:%SZ") for n in range(1, 6)]
    month = since.astimezone(zone).replace(day=1, hour=0, minute=0).astimezone(UTC)
    assert lines[0]["BillingPeriodStart"] == month.strftime("%Y-%m-%dT%H:%M:%SZ")


async def test_a11_a_corrected_price_is_in_the_days_file(pool: Pool, town: Town) -> None:
    """On the day of the correction no number of calls changes, only money. Less money is a number, not a formula."""
    account, user = town.owners[1]
    row = make_usage_row(TODAY - timedelta(days=9), account_id=account, user_id=user, model_id=town.models[1])
    await write_rows(pool, [row])
    assert await close_due_days(pool) == [row.started_at.date()]
    await reprice_call(pool, ADMIN, row.request_id, cost=Decimal("0.000003"), reason="wrong price")
    query = UsageFilter(since=TODAY - timedelta(days=20), until=TODAY + timedelta(days=1))

    lines, focus = await lines_of(pool, query, "csv"), await lines_of(pool, query, "focus")
    groups = await reports.break_down(pool, ADMIN, replace_range(query, TODAY), by="model")

    assert [(line["calls"], line["cost_usd"]) for line in lines] == [("1", "0.000023"), ("0", "-0.00002")]
    assert [line["BilledCost"] for line in focus] == ["0.000023", "-0.00002"]
    assert (groups.total.cost_nano_usd, [one.sums.cost_nano_usd for one in groups.groups]) == (-20_000, [-20_000])


def replace_range(query: UsageFilter, since: datetime) -> UsageFilter:
    return UsageFilter(since=since, until=query.until)


async def test_a11_every_line_comes_once_whatever_the_size_of_a_page(
    pool: Pool, town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        make_usage_row(TODAY - timedelta(hours=n % 40), account_id=1 + n % 7, api_key_id=n, user_id=1 + n % 3)
        for n in range(1, 200)
    ]
    await write_rows(pool, [replace(row, model_id=town.models[1]) for row in rows])
    query = UsageFilter(since=TODAY - timedelta(days=3), until=TODAY + timedelta(hours=1), time_zone="Asia/Kolkata")
    expected = await by_sql(pool, query)

    for size in (1, 3, 50, 199, 200):
        monkeypatch.setattr(exports.exports.page_days, "__kwdefaults__", {"size": size})
        lines = await lines_of(pool, query, "csv")
        assert sorted(map(as_text, lines)) == sorted(map(as_text, expected))
        assert len(lines) == 199
