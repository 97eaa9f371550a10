"""Every usage query, with any filters and range, against sums of the rows in plain Python."""

from collections import defaultdict
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from math import ceil
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from conftest import Database
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from usage_rows import EARLIEST, TODAY, empty_ledger, make_usage_row, usage_rows, write_rows

from admin_api.storage.usage.divisions import sum_parts
from admin_api.storage.usage.queries import (
    UsageSums,
    count_latencies,
    sum_by,
    sum_by_time,
    sum_up,
)
from admin_api.storage.usage.rollup_tables import (
    ALL,
    EACH,
    EACH_BY_MODEL,
    EACH_FAILED,
    OF_ACCOUNTS,
    OF_ACCOUNTS_BY_MODEL,
    TOGETHER,
    GroupedBy,
    RollupTables,
    Selection,
    tables_for,
    tables_for_parts,
    tables_with_latencies,
)
from gateway.domain.calls import ENDINGS
from gateway.domain.error_classes import ERROR_CLASSES, error_class_of
from gateway.domain.latencies import RELATIVE_ERROR, percentile
from gateway.domain.rollup_ranges import QUARTER, bounds_of_steps, cut
from gateway.domain.usage_rows import UsageRow
from gateway.storage.postgres import Pool

GROUPS: dict[str, Callable[[UsageRow], object]] = {
    "model": lambda row: row.model_id,
    "key": lambda row: row.api_key_id,
    "user": lambda row: row.user_id or 0,
    "account": lambda row: row.account_id,
    "ending": lambda row: row.ending,
    "error_class": error_class_of,
}
LAST = (TODAY - EARLIEST) // QUARTER + 96


def words(kind: st.SearchStrategy) -> st.SearchStrategy:
    return st.none() | st.lists(kind, min_size=1, max_size=3, unique=True)


@st.composite
def selections(draw: st.DrawFn) -> Selection:
    first, last = sorted(draw(st.lists(st.integers(0, LAST), min_size=2, max_size=2, unique=True)))
    accounts = draw(words(st.integers(1, 3)))
    # Half of them without what keeps a question from the rollups of each account.
    is_plain = draw(st.booleans())
    return Selection(
        start=EARLIEST + first * QUARTER,
        end=EARLIEST + last * QUARTER,
        is_open=last == LAST,
        account_ids=accounts,
        user_ids=draw(words(st.integers(0, 3))) if accounts else None,
        key_ids=draw(words(st.integers(1, 6))) if accounts else None,
        model_ids=draw(words(st.integers(1, 3))),
        endings=None if is_plain else draw(words(st.sampled_from(ENDINGS))),
        error_classes=None if is_plain else draw(words(st.sampled_from(ERROR_CLASSES))),
    )


def is_selected(row: UsageRow, selection: Selection) -> bool:
    wanted = [
        (row.account_id, selection.account_ids),
        (row.user_id or 0, selection.user_ids),
        (row.api_key_id, selection.key_ids),
        (row.model_id, selection.model_ids),
        (row.ending, selection.endings),
        (error_class_of(row), selection.error_classes),
    ]
    in_range = selection.start <= row.started_at < selection.end
    return in_range and all(among is None or one in among for one, among in wanted)


def added(rows: list[UsageRow]) -> UsageSums:
    timed = [row for row in rows if row.estimated_why != "reaped"]
    firsts = [row.first_byte_ms for row in rows if row.first_byte_ms is not None]
    plain = ("prompt_tokens", "completion_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")
    return UsageSums(
        calls=len(rows),
        completed_calls=sum(row.ending == "completed" for row in rows),
        hung_up_calls=sum(row.ending == "client_disconnected" for row in rows),
        estimated_calls=sum(row.estimated for row in rows),
        unpriced_calls=sum(row.cost_nano_usd is None for row in rows),
        cost_nano_usd=sum(row.cost_nano_usd or 0 for row in rows),
        own_cost_nano_usd=sum(row.own_cost_nano_usd or 0 for row in rows),
        litellm_cost_nano_usd=sum(row.litellm_cost_nano_usd or 0 for row in rows if row.own_cost_nano_usd is not None),
        timed_calls=len(timed),
        total_ms=sum(row.total_ms for row in rows),
        first_byte_calls=len(firsts),
        first_byte_ms=sum(firsts),
        **{name: sum(getattr(row, name) for row in rows) for name in plain},
    )


def exact_percentile(latencies: list[int], share: float) -> int | None:
    ordered = sorted(latencies)
    return ordered[max(1, ceil(share * len(ordered) - 1e-9)) - 1] if ordered else None


def check_percentiles(counts: dict, latencies: list[int]) -> None:
    assert sum(counts.values()) == len(latencies)
    for share in (0.5, 0.9, 0.99):
        reported, exact = percentile(counts, share), exact_percentile(latencies, share)
        assert (reported is None) == (exact is None)
        assert reported is None or exact is None or abs(reported - exact) <= (RELATIVE_ERROR + 1e-9) * exact


@settings(
    max_examples=8,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(usage_rows() | usage_rows(reaped=True), min_size=5, max_size=40),
    st.lists(selections(), min_size=4, max_size=4),
    st.sampled_from(["day", "week", "month"]),
    st.sampled_from(["UTC", "Europe/Madrid", "Asia/Kolkata", "America/Los_Angeles"]),
)
async def test_every_query_equals_the_sum_of_the_rows(
    database: Database, pool: Pool, rows: list[UsageRow], wanted: list[Selection], step: str, zone: str
) -> None:
    await empty_ledger(database)
    await write_rows(pool, rows)
    asked = 0
    for selection in wanted:
        own = [row for row in rows if is_selected(row, selection)]
        tables = tables_for(selection)
        if tables is not None:
            asked += 1
            assert await sum_up(pool, selection, tables) == added(own)
            bounds = bounds_of_steps(selection.start, selection.end, step, ZoneInfo(zone), maximum=100)
            assert bounds is not None
            by_time = await sum_by_time(pool, selection, tables, bounds)
            assert by_time == [added([r for r in own if a <= r.started_at < b]) for a, b in pairwise(bounds)]
            counts = (await count_latencies(pool, selection, tables_with_latencies(selection) or {})).get(None)
            if counts:
                check_percentiles(counts.total, [r.total_ms for r in own if r.estimated_why != "reaped"])
                check_percentiles(counts.first_byte, [r.first_byte_ms for r in own if r.first_byte_ms is not None])
        for by, group_of in GROUPS.items():
            if (tables := tables_for(selection, by)) is not None:
                found = await sum_by(pool, selection, tables, by, order="calls", limit=1000)
                groups = {str(group_of(row)) for row in own}
                expected = {g: added([r for r in own if str(group_of(r)) == g]) for g in groups}
                assert dict(found.rows) == expected
                assert (found.total, found.number) == (added(own), len(groups))
                assert [s.calls for _, s in found.rows] == sorted((s.calls for _, s in found.rows), reverse=True)
    assert asked


EVERYBODY: dict[str, tuple[dict[str, Any], GroupedBy | None, RollupTables]] = {
    "all": ({}, None, ALL),
    "together": ({"endings": ["completed", "timeout"]}, "ending", TOGETHER),
    "each": ({}, "user", EACH),
    "of accounts": ({"account_ids": [1, 2]}, "account", OF_ACCOUNTS),
    "of an account": ({"account_ids": [1], "user_ids": [1, 2]}, None, OF_ACCOUNTS),
    "of accounts by model": ({"account_ids": [1, 2]}, "model", OF_ACCOUNTS_BY_MODEL),
    "of accounts, of a model": ({"account_ids": [2, 99], "model_ids": [2, 4]}, "user", OF_ACCOUNTS_BY_MODEL),
    "each by model": ({"model_ids": [1, 3]}, "account", EACH_BY_MODEL),
    "each failed": ({"error_classes": ["timeout", "rate_limited"]}, "user", EACH_FAILED),
    "each failed, by ending": ({"endings": ["timeout"], "model_ids": [2]}, "account", EACH_FAILED),
}


@pytest.mark.parametrize("kind", EVERYBODY)
async def test_a_query_over_all_accounts_counts_the_calls_at_its_edges_once(pool: Pool, kind: str) -> None:
    """At every bound of a piece there are calls: just before it, on it, just before a bound of quarters after it."""
    filters, by, tables = EVERYBODY[kind]
    ranges = [
        (EARLIEST + timedelta(days=3, hours=7, minutes=45), TODAY - timedelta(days=1, hours=4, minutes=15)),
        (EARLIEST + timedelta(days=23, hours=20, minutes=15), TODAY.replace(day=1) + timedelta(hours=10, minutes=30)),
    ]
    pieces = [range_ for start, end in ranges for range_ in cut(start, end, list(tables))]
    bounds = {bound for range_ in pieces for bound in (range_.start, range_.end)}
    moments = [bound + near for bound in sorted(bounds) for near in (-timedelta(milliseconds=1), timedelta(0), QUARTER)]
    ways = [{}, {"ending": "timeout", "status": 504}, {"ending": "refused_upstream", "status": 429}]
    rows = [
        make_usage_row(moment, account_id=1 + n % 2, user_id=1 + n % 3, model_id=1 + n % 4, **ways[n % 5 % 3])
        for moment in moments
        for n in range(30)
        if EARLIEST <= moment < TODAY + timedelta(days=1)
    ]
    await write_rows(pool, rows)
    assert {range_.grain for range_ in pieces} == set(tables)
    assert {range_.sign for range_ in pieces} == {1, -1}

    for start, end in ranges:
        selection = Selection(start=start, end=end, **filters)
        own = [row for row in rows if is_selected(row, selection)]
        assert tables_for(selection, by) is tables
        assert own
        if by is None:
            assert await sum_up(pool, selection, tables) == added(own)
            continue
        found = await sum_by(pool, selection, tables, by, order="calls", limit=100)
        groups = {str(GROUPS[by](row)) for row in own}
        assert dict(found.rows) == {g: added([r for r in own if str(GROUPS[by](r)) == g]) for g in groups}
        await check_parts(pool, selection, by, own)


async def check_parts(pool: Pool, selection: Selection, by: GroupedBy, own: list[UsageRow]) -> None:
    """By each other thing that the rollups of this question can be divided by."""
    for then_by in ("model", "user", "account", "ending"):
        tables = tables_for_parts(selection, by, then_by)
        if then_by == by or tables is None:
            continue
        parts = await sum_parts(pool, selection, tables, by, then_by, order="calls", limit=100)
        expected: dict[tuple[str, str], list[UsageRow]] = defaultdict(list)
        for row in own:
            expected[str(GROUPS[by](row)), str(GROUPS[then_by](row))].append(row)
        assert {(one.group, one.part): one.sums for one in parts} == {at: added(rows) for at, rows in expected.items()}


async def test_the_largest_groups_come_first_and_the_total_has_the_rest(pool: Pool) -> None:
    at = TODAY - timedelta(hours=5)
    rows = [make_usage_row(at, model_id=model, cost_nano_usd=model * 10) for model in range(1, 6)]
    await write_rows(pool, rows)
    selection = Selection(start=at - timedelta(days=1), end=TODAY, is_open=True)

    found = await sum_by(pool, selection, tables_for(selection, "model") or {}, "model", order="cost", limit=2)

    assert [one for one, _ in found.rows] == ["5", "4"]
    assert (found.total.cost_nano_usd, found.number) == (150, 5)
