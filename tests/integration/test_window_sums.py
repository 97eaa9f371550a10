"""Sums that seed counters: equal to the sums of the rows, and read by day for long windows."""

import json
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

from conftest import Database
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from usage_rows import EARLIEST, TODAY, empty_ledger, make_usage_row, usage_rows, write_rows

from admin_api.storage.usage.account_windows import AccountWindow, sum_account_windows
from gateway.domain.limits import LEVELS, LIMIT_KINDS, WINDOWED_KINDS, Level, ScopeIds
from gateway.domain.usage_rows import UsageRow
from gateway.domain.windows import WINDOW_KINDS, window_ms
from gateway.storage.ledger.rollups import DAYS, QUARTER_HOURS, SUMS
from gateway.storage.ledger.sums import LATEST_MS, SUM_WINDOWS, WindowSum, sum_windows
from gateway.storage.postgres import Pool

QUARTER = timedelta(minutes=15)
MIDNIGHT = TODAY - timedelta(days=2)


# In quarter hours from a midnight.
SPANS = [
    (-300, 300), (-96, 96), (-97, 95), (-95, 97), (0, 96), (0, 1), (-1, 0), (-1, 1), (1, 95), (-191, -1), (5, 5),
]  # fmt: skip


async def test_every_quarter_hour_of_a_window_counts_once(pool: Pool) -> None:
    """A call in each, on its first and its last millisecond by turns; windows begin and end around a midnight."""
    rows = [
        make_usage_row(
            MIDNIGHT + n * QUARTER + (n % 2) * (QUARTER - timedelta(milliseconds=1)),
            counted_tokens=pow(3, n + 310, 997),
        )
        for n in range(-310, 190)
    ]
    await write_rows(pool, rows)
    wrong = []
    for zone, (first, last) in product(("UTC", "Asia/Kathmandu", "America/St_Johns"), SPANS):
        day_ms = window_ms("day", zone, round(MIDNIGHT.timestamp() * 1000))[0]
        start, end = (datetime.fromtimestamp(day_ms / 1000, UTC) + n * QUARTER for n in (first, last))
        bounds = [round(moment.timestamp() * 1000) for moment in (start, end)]
        (reported,) = await sum_windows(pool, [WindowSum(1, "tokens", "k1", *bounds)])
        if reported != sum(row.counted_tokens for row in rows if start <= row.started_at < end):
            wrong.append((zone, first, last))

    assert wrong == []


# Of both accounts of `usage_rows()` to two of the three models, with ids that are no model's.
SUBSCRIPTIONS = """
INSERT INTO accounts (id, kind, name) OVERRIDING SYSTEM VALUE VALUES (1, 'team', 'one'), (2, 'team', 'two')
    ON CONFLICT DO NOTHING;
INSERT INTO models (id, name) OVERRIDING SYSTEM VALUE VALUES (1, 'one'), (2, 'two'), (3, 'three')
    ON CONFLICT DO NOTHING;
INSERT INTO subscriptions (id, account_id, model_id, status) OVERRIDING SYSTEM VALUE
    VALUES (11, 1, 1, 'active'), (12, 1, 2, 'active'), (22, 2, 2, 'active'), (23, 2, 3, 'active') ON CONFLICT DO NOTHING
"""
SUBSCRIPTION_OF = {(1, 1): 11, (1, 2): 12, (2, 2): 22, (2, 3): 23}
# Key 0 and those with 99 are of no row.
ALL_IDS = [
    ScopeIds(api_key_id=key, model_id=model, subscription_id=subscription, user_id=user)
    for key, model, subscription, user in zip(
        [*range(7), 99] * 3, [1, 2, 3] * 8, [*SUBSCRIPTION_OF.values(), 99] * 5, [1, 2, 3, 4, 99] * 5, strict=False
    )
]
SCOPES_OF = {level: sorted({ids.scope(level) for ids in ALL_IDS}) for level in LEVELS}
ALL_WINDOWS = [
    (round(start.timestamp() * 1000), round(end.timestamp() * 1000))
    for start, end in (
        (EARLIEST, TODAY + timedelta(days=1)),
        (TODAY - timedelta(days=3, hours=2), TODAY),
        (TODAY - timedelta(minutes=45), TODAY + timedelta(minutes=15)),
    )
]

# After all rows; and windows of whole accounts are those of moments before, so that most have ended.
NOW = TODAY + timedelta(days=1)
MOMENTS_MS = st.integers(1, 200).map(lambda n: round((NOW - n * 5 * QUARTER).timestamp() * 1000))
ZONES = ("UTC", "Asia/Kathmandu", "America/St_Johns")


@settings(
    max_examples=15,
    # Shrinking a failure would take minutes: each attempt is a transaction or two.
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(usage_rows(), min_size=20, max_size=60),
    st.sets(st.sampled_from(LEVELS), min_size=1),
    st.lists(st.builds(window_ms, st.sampled_from(WINDOW_KINDS), st.sampled_from(ZONES), MOMENTS_MS), min_size=3),
)
async def test_every_scope_has_the_sum_of_its_rows(
    database: Database, pool: Pool, rows: list[UsageRow], levels: set[Level], spans: list[tuple[int, int]]
) -> None:
    """However many are asked for at once, of one level or several; and whole accounts, as a ranking of teams reads
    them."""
    await empty_ledger(database)
    await database.execute_as_owner(SUBSCRIPTIONS)
    await write_rows(pool, rows)
    scopes = [scope for level in levels for scope in SCOPES_OF[level]]
    queries = [
        WindowSum(account, kind, scope, *window)
        for account, kind, scope, window in product((1, 2), WINDOWED_KINDS, scopes, ALL_WINDOWS)
    ]

    assert await sum_windows(pool, queries) == [sum_of_rows(rows, query) for query in queries]
    await check_whole_accounts(pool, rows, spans)


async def check_whole_accounts(pool: Pool, rows: list[UsageRow], spans: list[tuple[int, int]]) -> None:
    asked = list(product((1, 2, 99), spans))
    windows = [
        AccountWindow(account, *(datetime.fromtimestamp(min(ms, LATEST_MS) / 1000, UTC) for ms in span))
        for account, span in asked
    ]
    async with pool.acquire() as connection, connection.transaction():
        sums = await sum_account_windows(connection, windows, NOW)
    team = ScopeIds().scope("team")
    assert sums == [
        {kind: sum_of_rows(rows, WindowSum(account, kind, team, *span)) for kind in WINDOWED_KINDS}
        for account, span in asked
    ]


def sum_of_rows(rows: list[UsageRow], query: WindowSum) -> int:
    column = LIMIT_KINDS[query.kind].ledger_column
    return sum(
        getattr(row, column)
        for row in rows
        if row.account_id == query.account_id
        and query.start_ms <= row.started_at.timestamp() * 1000 < query.end_ms
        and query.scope in scopes_of(row)
    )


def scopes_of(row: UsageRow) -> list[str]:
    subscription = SUBSCRIPTION_OF.get((row.account_id, row.model_id))
    ids = ScopeIds(api_key_id=row.api_key_id, model_id=row.model_id, subscription_id=subscription, user_id=row.user_id)
    return list(ids.scopes().values())


FILL = """
INSERT INTO {table} ({key}, {sums}, latencies)
SELECT {values}, {ones}, '{{}}' FROM generate_series(0, {last}) AS q CROSS JOIN generate_series(1, 3) AS n
"""


async def test_a_day_counts_once_whatever_time_zone_the_database_session_has(pool: Pool) -> None:
    """In New York 8 March 2026 has 23 hours; the account is in a zone an hour behind UTC."""
    await fill(pool, datetime(2026, 3, 8, tzinfo=UTC), 2)
    start_ms = round(datetime(2026, 3, 8, 1, tzinfo=UTC).timestamp() * 1000)
    window = WindowSum(1, "requests", "t", start_ms, start_ms + 24 * 3_600_000)

    async with pool.acquire() as connection:
        await connection.execute("SET TIME ZONE 'America/New_York'")
        try:
            sums = await sum_windows(connection, [window])
        finally:
            await connection.execute("RESET TIME ZONE")

    assert sums == [3 * 96]


async def test_a_long_window_is_read_from_daily_sums(pool: Pool) -> None:
    days = 90
    await fill(pool, TODAY - timedelta(days=days), days)
    start, end = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)

    explain = f"EXPLAIN (ANALYZE, FORMAT JSON) {SUM_WINDOWS}"
    (plan,) = await pool.fetchrow(explain, [0], [1], [start], [end], [], [], [], [], [], True)  # type: ignore[misc]
    asked = [WindowSum(1, "requests", "t", 0, 253_402_300_800_000)]

    assert await sum_windows(pool, asked) == [3 * days * 96]
    assert _rows_read(json.loads(plan)[0]["Plan"]) == 3 * days


async def fill(pool: Pool, first: datetime, days: int) -> None:
    """Sums of three keys, one call each quarter hour."""
    begin = f"'{first:%Y-%m-%d}Z'::timestamptz"
    sums = ", ".join(SUMS)
    for rollup, at, each, count in (
        (QUARTER_HOURS, f"{begin} + q * interval '15 minutes'", 1, days * 96),
        (DAYS, f"({begin} AT TIME ZONE 'UTC')::date + q", 96, days),
    ):
        values = {"account_id": "1", "started_at": at, "day": at, "user_id": "n", "api_key_id": "n", "model_id": "n"}
        reported = ", ".join(values.get(name, "'completed'") for name in rollup.key)
        ones = ", ".join(str(each) for _ in SUMS)
        about = {"table": rollup.table, "key": ", ".join(rollup.key), "sums": sums, "values": reported, "ones": ones}
        await pool.execute(FILL.format(**about, last=count - 1))


def _rows_read(node: dict[str, Any]) -> int:
    own = node["Actual Rows"] * node["Actual Loops"] if node.get("Relation Name", "").startswith("usage_") else 0
    return round(own) + sum(_rows_read(child) for child in node.get("Plans", ()))
