"""The query plan of every usage query: by an index, and without ledger rows."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import pytest
from conftest import Database, create_database, drop_database
from usage_rows import TODAY, make_usage_row, write_rows

from admin_api.storage.usage.exports import DAY_KEY, Day, ask_accounts, ask_day
from admin_api.storage.usage.queries import (
    PREPARE,
    ask_groups,
    ask_latencies,
    ask_sums,
    cut_buckets,
)
from admin_api.storage.usage.range_selects import Query
from admin_api.storage.usage.rollup_tables import Selection, tables_for, tables_with_latencies
from deploy.embedded.postgres import APP, OWNER, Postgres
from gateway.domain.rollup_ranges import bounds_of_steps
from gateway.storage.ledger.rollups import MODEL_QUARTER_HOURS, QUARTER_HOURS, ROLLUPS, SUMS
from gateway.storage.postgres import Pool, new_pool

RANGE = Selection(start=TODAY - timedelta(days=77, hours=5), end=TODAY - timedelta(hours=7, minutes=15))
WHOSE: dict[str, dict[str, Any]] = {
    "everybody": {},
    "account": {"account_ids": [3]},
    "user": {"account_ids": [3, 7], "user_ids": [3]},
    "key": {"account_ids": [3], "key_ids": [3]},
}
FILTERS: dict[str, dict[str, Any]] = {
    "all": {},
    "model": {"model_ids": [1, 2]},
    "failed": {"error_classes": ["timeout"]},
    "completed": {"endings": ["completed"]},
}
GROUPS = ("model", "key", "user", "account", "team", "ending", "error_class")
TABLES = {rollup.table for rollup in ROLLUPS}


def combinations() -> Iterator[tuple[str, Query]]:
    for (who, whose), (what, filters) in product(WHOSE.items(), FILTERS.items()):
        selection = replace(RANGE, **whose, **filters)
        name = f"{who}, {what}"
        if (tables := tables_for(selection)) is not None:
            bounds = bounds_of_steps(selection.start, selection.end, "day", ZoneInfo("Asia/Kolkata"), maximum=200)
            assert bounds is not None
            yield (
                f"{name}: summary",
                ask_sums(selection, tables, cut_buckets(selection, tables, bounds[:1] + bounds[-1:])),
            )
            yield f"{name}: series", ask_sums(selection, tables, cut_buckets(selection, tables, bounds))
            yield f"{name}: latencies", ask_latencies(selection, tables_with_latencies(selection) or {}, None)
        for by in GROUPS:
            if (tables := tables_for(selection, by)) is not None:
                yield f"{name}: by {by}", ask_groups(selection, tables, by, "cost", 100)
            if (tables := tables_with_latencies(selection, by)) is not None:
                yield f"{name}: latencies by {by}", ask_latencies(selection, tables, by)
        for zone, hours in (("UTC", 0), ("Asia/Kolkata", 18.5), ("America/Los_Angeles", 8)):
            begun = TODAY + timedelta(hours=hours)
            day = Day(TODAY.date(), begun, begun + timedelta(days=1))
            page = ask_accounts(selection, day, 2, 100)
            yield f"{name}: accounts of an export in {zone}", Query(page.sql, page.arguments)
            for after in (None, (3, 3, 3, 3, "completed", "none")):
                assert after is None or len(after) == len(DAY_KEY)
                page = ask_day(replace(selection, account_ids=list(range(3, 20))), day, after, 100)
                yield f"{name}: export in {zone} after {after}", Query(page.sql, page.arguments)


QUERIES = dict(combinations())


@pytest.fixture(scope="module")
async def filled(postgres: Postgres, template: str) -> Any:
    """Enough of several accounts that a plan by index is the cheaper one, if there is an index for it."""
    await create_database(postgres, "usage_plans", template=template)
    database = Database("usage_plans", postgres.url(APP, "usage_plans"), postgres.url(OWNER, "usage_plans"))
    async with new_pool(database.app_url, size=2) as pool:
        rows = [
            make_usage_row(
                TODAY - timedelta(days=n % 20, minutes=15 * (n % 90)),
                account_id=1 + n % 40, user_id=1 + n % 50, api_key_id=1 + n % 60, model_id=1 + n % 5,
                ending="timeout" if n % 20 == 0 else "completed",
            )
            for n in range(3000)
        ]  # fmt: skip
        await write_rows(pool, rows)
        yield pool
    await drop_database(postgres, "usage_plans")


# As many as a quarter of an hour has of three months, of something that is called often.
FILL = """
INSERT INTO {table} ({key}, {sums}, latencies)
SELECT {values}, {ones}, '{{}}' FROM generate_series(0, 8639) AS q CROSS JOIN generate_series(1, 25) AS n
ON CONFLICT DO NOTHING
"""
QUARTER = f"'{TODAY - timedelta(days=90):%Y-%m-%d}'::timestamptz + q * interval '15 minutes'"


@pytest.fixture(scope="module")
async def large(postgres: Postgres, template: str) -> Any:
    """Two rollups so large that a full scan is slow."""
    name = "usage_plans_large"
    await create_database(postgres, name, template=template)
    database = Database(name, postgres.url(APP, name), postgres.url(OWNER, name))
    async with new_pool(database.app_url, size=2) as pool:
        for table, key, values in (
            ("usage_model_quarter_hours", MODEL_QUARTER_HOURS.key, f"{QUARTER}, n % 5, 'completed', 'none' || n / 5"),
            ("usage_quarter_hours", QUARTER_HOURS.key, f"n, {QUARTER}, n, n, n % 5, 'completed', 'none'"),
        ):
            sums, ones = ", ".join(SUMS), ", ".join("1" for _ in SUMS)
            await pool.execute(FILL.format(table=table, key=", ".join(key), sums=sums, values=values, ones=ones))
        owner = await asyncpg.connect(database.owner_url)
        await owner.execute("VACUUM ANALYZE")
        await owner.close()
        yield pool
    await drop_database(postgres, name)


async def plan_of(pool: Pool, query: Query, *, by_index: bool = True) -> dict[str, Any]:
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(PREPARE)
        # Not by chance: on few rows reading all of a table may look cheaper.
        await connection.execute(f"SET LOCAL enable_seqscan = {'off' if by_index else 'on'}")
        (reported,) = await connection.fetchrow(f"EXPLAIN (FORMAT JSON) {query.sql}", *query.arguments)
    plan: dict[str, Any] = json.loads(reported)[0]["Plan"]
    return plan


def scans(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "Relation Name" in node or "Index Name" in node:
        yield node
    for child in node.get("Plans", ()):
        yield from scans(child)


def test_there_are_queries_of_every_kind_and_of_every_rollup() -> None:
    assert len(QUERIES) > 150
    asked = " ".join(query.sql for query in QUERIES.values())
    assert {table for table in TABLES if f"{table} AS r" in asked} == TABLES


async def test_every_query_reads_rollups_by_an_index_and_no_ledger_row(filled: Pool) -> None:
    wrong = {}
    for name, query in QUERIES.items():
        found = list(scans(await plan_of(filled, query)))
        assert found
        for scan in found:
            table, kind = scan.get("Relation Name", ""), scan["Node Type"]
            is_by_index = "Index Cond" in scan or kind == "Bitmap Heap Scan"
            if table.startswith("usage_logs") or (table in TABLES and not is_by_index):
                wrong[name] = (table, kind)

    assert wrong == {}


async def test_postgres_never_chooses_to_read_all_of_a_large_rollup(large: Pool) -> None:
    """It did where pieces were joined: the bounds of a piece were guessed to hold for a ninth of the table."""
    wrong = {}
    for name, query in QUERIES.items():
        for scan in scans(await plan_of(large, query, by_index=False)):
            table = scan.get("Relation Name", "")
            if table in ("usage_model_quarter_hours", "usage_quarter_hours") and scan["Node Type"] == "Seq Scan":
                wrong[name] = table

    assert wrong == {}
