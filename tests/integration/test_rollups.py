"""Rollups equal the sums of the rows, with any rows, batches and replacements."""

from datetime import UTC, date, datetime
from typing import Any

import pytest
from conftest import Database
from factories import ADMIN
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from usage_rows import TODAY, empty_ledger, make_usage_row, usage_rows, write_rows

from admin_api.operations.maintenance.ledger import verify_ledger
from gateway.domain.error_classes import error_class_of
from gateway.domain.latencies import BOUNDS, bucket_of
from gateway.domain.usage_rows import UsageRow
from gateway.storage.ledger.rollups import COUNT_BITS, ROLLUPS, SUMS, quarter_of
from gateway.storage.ledger.verify import _LATENCIES
from gateway.storage.postgres import Pool

TABLES = [rollup.table for rollup in ROLLUPS]
HAS_LATENCIES = {rollup.table: rollup.has_latencies for rollup in ROLLUPS}
# The key of a row in each rollup; those of BY_MODEL have every row under its model and under 0.
KEYS = {
    "usage_all_quarter_hours": lambda r: (quarter_of(r.started_at),),
    "usage_all_days": lambda r: (r.started_at.date(),),
    "usage_quarter_hours": lambda r: (r.account_id, quarter_of(r.started_at), *who(r)),
    "usage_days": lambda r: (r.account_id, r.started_at.date(), *who(r)),
    "usage_model_quarter_hours": lambda r: (quarter_of(r.started_at), *who(r)[2:]),
    "usage_model_days": lambda r: (r.started_at.date(), *who(r)[2:]),
    "usage_account_six_hours": lambda r: (six_hours_of(r.started_at), r.account_id, r.user_id or 0),
    "usage_account_ten_days": lambda r: (ten_days_of(r.started_at.date()), r.account_id, r.user_id or 0),
    "usage_account_days": lambda r: (r.model_id, r.started_at.date(), r.account_id, r.user_id or 0),
    "usage_account_months": lambda r: (r.model_id, r.started_at.date().replace(day=1), r.account_id, r.user_id or 0),
    "usage_failed_days": lambda r: failed(r, r.started_at.date()),
    "usage_failed_months": lambda r: failed(r, r.started_at.date().replace(day=1)),
}
BY_MODEL = ("usage_account_days", "usage_account_months", "usage_failed_days", "usage_failed_months")
OF_FAILED = ("usage_failed_days", "usage_failed_months")


def six_hours_of(moment: datetime) -> datetime:
    return moment.replace(hour=moment.hour // 6 * 6, minute=0, second=0, microsecond=0)


def ten_days_of(day: date) -> date:
    return day.replace(day=1 if day.day < 11 else 11 if day.day < 21 else 21)


def failed(row: UsageRow, time: date) -> tuple[Any, ...]:
    return (row.model_id, error_class_of(row), time, row.account_id, row.user_id or 0, row.ending)


def who(row: UsageRow) -> tuple[Any, ...]:
    return (row.user_id or 0, row.api_key_id, row.model_id, row.ending, error_class_of(row))


def amounts(row: UsageRow) -> dict[str, int]:
    """The amounts of a row, computed independently of the product."""
    is_reaped = row.estimated_why == "reaped"
    return {
        "calls": 1,
        "completed_calls": 1 if row.ending == "completed" else 0,
        "hung_up_calls": 1 if row.ending == "client_disconnected" else 0,
        "estimated_calls": 1 if row.estimated else 0,
        "unpriced_calls": 1 if row.cost_nano_usd is None else 0,
        "cost_nano_usd": row.cost_nano_usd or 0,
        "own_cost_nano_usd": row.own_cost_nano_usd or 0,
        "litellm_cost_nano_usd": (row.litellm_cost_nano_usd or 0) if row.own_cost_nano_usd is not None else 0,
        "timed_calls": 0 if is_reaped else 1,
        "first_byte_calls": 0 if row.first_byte_ms is None else 1,
        "first_byte_ms": row.first_byte_ms or 0,
    } | {
        name: getattr(row, name)
        for name in (
            "prompt_tokens", "completion_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens",
            "counted_requests", "counted_tokens", "counted_nano_usd", "total_ms",
        )
    }  # fmt: skip


def added_up(rows: list[UsageRow], table: str) -> dict[tuple[Any, ...], dict[str, int]]:
    sums: dict[tuple[Any, ...], dict[str, int]] = {}
    for row in rows:
        if table in OF_FAILED and error_class_of(row) == "none":
            continue
        own = KEYS[table](row)
        for key in (own, (0, *own[1:])) if table in BY_MODEL else (own,):
            into = sums.setdefault(key, dict.fromkeys(SUMS, 0))
            for name, amount in amounts(row).items():
                into[name] += amount
            codes = [] if row.estimated_why == "reaped" else [f"total {bucket_of(row.total_ms)}"]
            codes += [] if row.first_byte_ms is None else [f"first {bucket_of(row.first_byte_ms)}"]
            for code in codes if HAS_LATENCIES[table] else ():
                into[code] = into.get(code, 0) + 1
    return sums


async def stored(pool: Pool, table: str) -> dict[tuple[Any, ...], dict[str, int]]:
    """As the table has it, without what adds up to nothing."""
    rollup = next(rollup for rollup in ROLLUPS if rollup.table == table)
    sums = {}
    for record in await pool.fetch(f"SELECT * FROM {table}"):
        reported = {name: record[name] for name in SUMS}
        for element in record.get("latencies", ()):
            measure, bucket = divmod(element >> 40, 256)
            reported[f"{('total', 'first')[measure]} {bucket}"] = element & (2**40 - 1)
        if any(reported.values()):
            sums[tuple(record[name] for name in rollup.key)] = reported
    return sums


@settings(
    max_examples=10,
    # Shrinking a failure would take minutes: each attempt is several transactions.
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(st.lists(usage_rows() | usage_rows(reaped=True), min_size=1, max_size=8), min_size=1, max_size=4),
    st.lists(st.tuples(usage_rows(reaped=True), usage_rows()), max_size=4),
)
async def test_every_rollup_equals_the_sum_of_the_rows(
    database: Database, pool: Pool, batches: list[list[UsageRow]], late: list[tuple[UsageRow, UsageRow]]
) -> None:
    await empty_ledger(database)
    # Estimates that real rows replace later, both in a batch with others.
    same = ("request_id", "started_at", "account_id", "user_id", "api_key_id")
    real = [replace(row, **{name: getattr(estimate, name) for name in same}) for estimate, row in late]
    await write_rows(pool, [estimate for estimate, _ in late])
    for batch in batches:
        await write_rows(pool, batch)
        await write_rows(pool, [*batch, *real])

    rows = [row for batch in batches for row in batch] + real
    written = {table: await stored(pool, table) for table in TABLES}
    assert written == {table: added_up(rows, table) for table in TABLES}
    assert (await verify_ledger(pool, ADMIN, days=62)).differences == ()
    await pool.execute("SELECT rebuild_usage_rollups('-infinity')")
    assert {table: await stored(pool, table) for table in TABLES} == written


@pytest.mark.parametrize(
    ("table", "column"),
    [(rollup.table, "first_byte_ms") for rollup in ROLLUPS]
    + [(r.table, "latencies") for r in ROLLUPS if r.has_latencies],
)
async def test_verify_reports_each_rollup_that_differs(pool: Pool, table: str, column: str) -> None:
    failed = {"ending": "timeout", "status": 504}
    await write_rows(pool, [make_usage_row(TODAY), make_usage_row(TODAY, model_id=2, **failed)])
    wrong = "'{1099511627777}'" if column == "latencies" else f"{column} + 1"
    await pool.execute(f"UPDATE {table} SET {column} = {wrong} WHERE ctid = (SELECT min(ctid) FROM {table})")

    differences = (await verify_ledger(pool, ADMIN, days=31)).differences

    assert len(differences) == 1
    assert table in differences[0][3]


@pytest.mark.parametrize("table", [rollup.table for rollup in ROLLUPS if "ending" in rollup.key])
async def test_verify_reports_remains_of_a_replaced_estimate(pool: Pool, table: str) -> None:
    """Sums that are not 0 although there is no call."""
    reaped = make_usage_row(TODAY, estimated=True, estimated_why="reaped", ending="upstream_error", total_ms=0)
    await write_rows(pool, [reaped])
    await write_rows(pool, [replace(reaped, estimated=False, estimated_why=None, ending="completed", total_ms=9)])
    assert (await verify_ledger(pool, ADMIN, days=31)).differences == ()

    one = f"(SELECT min(ctid) FROM {table} WHERE calls = 0)"
    await pool.execute(f"UPDATE {table} SET counted_tokens = 5 WHERE ctid = {one}")

    differences = (await verify_ledger(pool, ADMIN, days=31)).differences
    assert [table in reported for *_, reported in differences] == [True]


async def test_latencies_of_very_many_calls_are_verified_exactly(pool: Pool) -> None:
    maximum, code = 40_000_001, 307
    reported = "SELECT {} AS reported FROM (SELECT $1::bigint[] AS latencies) AS r"
    whole = await pool.fetchval(reported.format(_LATENCIES), [(code << COUNT_BITS) + maximum])

    assert whole == maximum * (code + 1) ** 3


async def test_a_month_without_rows_keeps_its_sums(pool: Pool) -> None:
    await write_rows(pool, [make_usage_row(TODAY)])
    old = datetime(2020, 5, 17, tzinfo=UTC)
    await pool.execute("UPDATE usage_quarter_hours SET started_at = $1", old)
    await write_rows(pool, [make_usage_row(TODAY)])

    await pool.execute("SELECT rebuild_usage_rollups('-infinity')")

    days = [row["day"] for row in await pool.fetch("SELECT day FROM usage_days ORDER BY day")]
    assert days == [date(2020, 5, 17), TODAY.date()]
    assert await pool.fetchval("SELECT sum(calls) FROM usage_account_months WHERE model = 0") == 3


async def test_postgres_and_python_have_the_same_latency_buckets(pool: Pool) -> None:
    edges = sorted({ms for bound in BOUNDS for ms in (bound - 1, bound, bound + 1) if 0 <= ms < 2**31})

    reported = await pool.fetch("SELECT ms, latency_bucket(ms) AS bucket FROM unnest($1::integer[]) AS ms", edges)

    assert {row["ms"]: row["bucket"] for row in reported} == {ms: bucket_of(ms) for ms in edges}
