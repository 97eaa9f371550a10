"""ClickHouse answers usage questions as the rollups do, whatever came to the ledger, and however often it was sent."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any, Final
from zoneinfo import ZoneInfo

import pytest
from command_line import CommandLine
from conftest import Database
from factories import ADMIN
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from integration.test_usage_overview import has_answer, make_rows
from msgspec.structs import replace
from pydantic import SecretStr
from usage_rows import EARLIEST, TODAY, empty_ledger, make_usage_row, new_id, usage_rows, write_rows

from admin_api.operations.maintenance import usage_store
from admin_api.operations.maintenance.usage_store import Feeder, feed, feed_all, rebuild_days, verify_usage_store
from admin_api.operations.usage import reports
from admin_api.operations.usage.grouping import BY as BY_WORDS
from admin_api.operations.usage.overview import OverviewInput, read_overview, read_week
from admin_api.operations.usage.scope import UsageFilter
from admin_api.storage.clickhouse import blocks, entries
from admin_api.storage.clickhouse.link import ClickHouse, ClickHouseAddress, ClickHouseFailed
from admin_api.storage.clickhouse.locks import become_feeder
from admin_api.storage.clickhouse.reader import ClickHouseReader
from admin_api.storage.clickhouse.store import ClickHouseStore
from admin_api.storage.usage.readers import RollupReader
from admin_api.storage.usage.rollup_tables import Selection, tables_for, tables_for_parts, tables_with_latencies
from gateway.domain.rollup_ranges import QUARTER, bounds_of_steps, ceiling, floor
from gateway.domain.usage_rows import UsageRow
from gateway.storage.ledger.batches import write_batch
from gateway.storage.ledger.closed_days import close_due_days
from gateway.storage.ledger.corrections import LOCK_CALL, book
from gateway.storage.ledger.journal_lines import encode_row
from gateway.storage.postgres import Pool
from gateway.tasks.maintain_partitions import PartitionKeeper

BY: Final = ("model", "key", "user", "account", "ending", "error_class")
ZONE: Final = ZoneInfo("Asia/Kolkata")
NOW: Final = datetime.now(UTC)
SAME: Final = ("request_id", "started_at", "account_id", "user_id", "api_key_id")


def past(row: UsageRow) -> UsageRow:
    """The same before now: what is open has no end in the rollups of days. An estimate has no first byte."""
    if row.estimated_why == "reaped":
        row = replace(row, first_byte_ms=None)
    if row.started_at < NOW - QUARTER:
        return row
    moment = row.started_at - timedelta(days=3)
    return replace(row, started_at=moment, request_id=new_id(moment))


async def correct(pool: Pool, reason: Any, was: UsageRow | None, now: UsageRow) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(LOCK_CALL, now.request_id)
        await book(connection, reason, was=was, now=now, made_by="test")


async def everything(reader: Any, selection: Selection) -> dict[str, Any]:
    """The answer of every question that rollups can answer of the selection."""
    tables = tables_for(selection)
    bounds = bounds_of_steps(selection.start, selection.end, "day", ZONE, maximum=1000)
    assert bounds is not None
    found: dict[str, Any] = {}
    if tables is not None:
        found["sum"] = await reader.sum_up(selection, tables)
        found["days"] = await reader.sum_by_time(selection, tables, bounds)
        found["week"] = await reader.sum_by_week_hour(selection, tables, ZONE)
    for by in (None, *BY):
        if (timed := tables_with_latencies(selection, by)) is not None:
            found[f"latencies by {by}"] = await reader.count_latencies(selection, timed, by)
    for by, order in zip(BY, ("cost", "calls", "tokens", "errors", "prompt_tokens", "completion_tokens"), strict=True):
        if (by_tables := tables_for(selection, by)) is not None:
            found[f"by {by}"] = await reader.sum_by(selection, by_tables, by, order=order, limit=2)
            found[f"days by {by}"] = await reader.sum_groups_by_time(selection, by_tables, by, bounds)
    for by, then_by in product(BY, BY):
        parts = tables_for_parts(selection, by, then_by)
        if by != then_by and parts is not None and selection.account_ids is not None:
            found[f"{by}, {then_by}"] = await reader.sum_parts(selection, parts, by, then_by, order="cost", limit=2)
    return found


def selections() -> st.SearchStrategy[Selection]:
    quarters = int((ceiling(NOW, "quarter") - EARLIEST) / QUARTER)
    spans = st.tuples(st.integers(0, quarters), st.integers(0, quarters)).filter(lambda span: span[0] != span[1])

    def make(span: tuple[int, int], is_open: bool, accounts: Any, users: Any, models: Any, ends: Any) -> Selection:
        start, end = (EARLIEST + number * QUARTER for number in sorted(span))
        if is_open:
            end = ceiling(datetime.now(UTC), "quarter")
        return Selection(
            start=min(start, end - QUARTER), end=end, is_open=is_open, account_ids=accounts,
            user_ids=users if accounts else None, model_ids=models, **ends,
        )  # fmt: skip

    ends = st.sampled_from([{}, {}, {"endings": ["timeout", "completed"]}, {"error_classes": ["none", "hung_up"]},
                            {"error_classes": ["gateway_lost", "server_error"]}])  # fmt: skip
    return st.builds(make, spans, st.booleans(), st.sampled_from([None, [1], [1, 2]]), st.sampled_from([None, [0, 1]]),
                     st.sampled_from([None, [1, 3]]), ends)  # fmt: skip


@settings(
    max_examples=8,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(st.lists((usage_rows() | usage_rows(reaped=True)).map(past), min_size=1, max_size=12), max_size=4),
    st.lists(st.tuples(usage_rows(reaped=True).map(past), usage_rows()), max_size=4),
    st.lists(usage_rows().map(past), max_size=3),
    st.lists(selections(), min_size=2, max_size=2),
    st.sampled_from([5, 10**6]),
)
@pytest.mark.timeout(600)
async def test_clickhouse_answers_as_the_rollups_do(
    database: Database, pool: Pool, clickhouse: ClickHouse, monkeypatch: pytest.MonkeyPatch,
    batches: list[list[UsageRow]], estimates: list[tuple[UsageRow, UsageRow]], late: list[UsageRow],
    asked: list[Selection], most: int,
) -> None:  # fmt: skip
    await empty_ledger(database)
    await database.execute_as_owner("DELETE FROM ledger_corrections")
    # The entries of the example before are there still: they have to go.
    await clickhouse.command(f"TRUNCATE TABLE {entries.STATE}")
    # So that a run sends a part of what is missing.
    monkeypatch.setattr(usage_store, "MAX_SENT", most)
    feeder = Feeder(clickhouse)
    real = [replace(row, **{name: getattr(estimate, name) for name in SAME}) for estimate, row in estimates]
    await write_rows(pool, [estimate for estimate, _ in estimates])
    for batch in batches:
        await write_rows(pool, batch)
        await feed(pool, feeder)
        await write_rows(pool, real[:2])
    await feed(pool, feeder)
    for estimate, row in zip([one for one, _ in estimates][2:], real[2:], strict=True):
        await correct(pool, "replaced", estimate, row)
        await correct(pool, "repriced", row, replace(row, cost_nano_usd=7, counted_nano_usd=7))
    for row in late:
        await correct(pool, "late", None, row)
    while (fed := await feed(pool, feeder)) is not None and fed.has_more:
        pass

    assert (await verify_usage_store(pool, ADMIN, clickhouse, days=62)).differing == ()
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read"):
        for selection in asked:
            own = await everything(RollupReader(connection), selection)
            its = await everything(ClickHouseReader(connection, clickhouse), selection)
            assert [question for question in own if its[question] != own[question]] == [], selection
    # All of it once more changes nothing.
    await clickhouse.command(f"TRUNCATE TABLE {entries.STATE}")
    assert await feed_all(pool, clickhouse) == 0


async def count(clickhouse: ClickHouse) -> int:
    (row,) = await clickhouse.query(f"SELECT toInt64(count()) AS number FROM {entries.TABLE}")
    return row["number"]


async def test_reports_are_the_same(pool: Pool, clickhouse: ClickHouse) -> None:
    rows = (await make_rows(pool)).rows
    await feed_all(pool, clickhouse)
    store = ClickHouseStore(clickhouse, max_lag_s=3600)
    query = UsageFilter(period="last-3-days", time_zone=str(ZONE))
    answered = 0
    for by, then_by in list(product(BY_WORDS, (None, *BY_WORDS)))[::9]:
        asked = OverviewInput(by=by, then_by=then_by, limit=2) if by != then_by else None
        if asked is not None and await has_answer(pool, query, asked):
            own = await read_overview(pool, ADMIN, query, asked)
            assert await read_overview(pool, ADMIN, query, asked, store=store) == own
            answered += 1
    for by in BY_WORDS:
        if by != "key":
            own_groups = await reports.break_down(pool, ADMIN, query, by=by, order="tokens", limit=3)
            assert (
                await reports.break_down(pool, ADMIN, query, by=by, order="tokens", limit=3, store=store) == own_groups
            )
    assert answered > 2
    for team in (None, "red"):
        query = UsageFilter(period="last-3-days", team=team, time_zone="Europe/Madrid")
        assert await reports.summarize(pool, ADMIN, query, store=store) == await reports.summarize(pool, ADMIN, query)
        assert await read_week(pool, ADMIN, query, store=store) == await read_week(pool, ADMIN, query)
        for step in ("hour", "week"):
            own_series = await reports.read_series(pool, ADMIN, query, step=step)
            assert await reports.read_series(pool, ADMIN, query, step=step, store=store) == own_series
        for word in (None, "model", "provider"):
            own_shares = await reports.measure_latencies(pool, ADMIN, query, by=word)
            assert await reports.measure_latencies(pool, ADMIN, query, by=word, store=store) == own_shares
    # They came from ClickHouse: without its entries there is nothing.
    everything_so_far = UsageFilter(since=TODAY - timedelta(days=20))
    assert (await reports.summarize(pool, ADMIN, everything_so_far, store=store)).sums.calls == len(rows)
    await clickhouse.command(f"TRUNCATE TABLE {entries.TABLE}")
    assert (await reports.summarize(pool, ADMIN, everything_so_far, store=store)).sums.calls == 0


async def test_what_clickhouse_should_not_have_or_lacks_is_put_right(pool: Pool, clickhouse: ClickHouse) -> None:
    rows = [make_usage_row(NOW - timedelta(minutes=7 * number), prompt_tokens=number) for number in range(1, 60)]
    await write_rows(pool, rows)
    feeder = Feeder(clickhouse)
    await feed(pool, feeder)
    names = ", ".join(name for name in entries.COLUMNS if name != "version")
    first, second, third = (str(row.request_id) for row in rows[:3])
    for change in (
        f"DELETE FROM {entries.TABLE} WHERE entry_id = '{first}'",
        # The estimate of a call whose real row is there, in a block that comes late.
        f"INSERT INTO {entries.TABLE} ({names}, version) SELECT {names.replace('total_ms', '99')}, 0 "
        f"FROM {entries.TABLE} WHERE entry_id = '{second}'",
        # The same entry with another sum, and one that the ledger does not have.
        f"INSERT INTO {entries.TABLE} ({names}, version) SELECT {names.replace('cost_nano_usd, c', '5, c')}, 1 "
        f"FROM {entries.TABLE} WHERE entry_id = '{third}'",
        f"INSERT INTO {entries.TABLE} ({names}, version) SELECT {names.replace('entry_id', 'generateUUIDv4()')}, 1 "
        f"FROM {entries.TABLE} WHERE entry_id = '{third}'",
    ):
        await clickhouse.command(change, settings={"lightweight_deletes_sync": 2, "final": 1})
    assert (await verify_usage_store(pool, ADMIN, clickhouse, days=3)).differing != ()
    status = await usage_store.read_status(pool, ADMIN, clickhouse)
    assert (status.quarters, status.missing > 0) == (2, True)

    # A feeder that has just been started knows nothing, and compares everything.
    await feed(pool, Feeder(clickhouse))

    assert (await verify_usage_store(pool, ADMIN, clickhouse, days=3)).differing == ()
    assert await count(clickhouse) == len(rows)
    today = sum(row.started_at >= TODAY for row in rows)
    assert await rebuild_days(pool, ADMIN, clickhouse, first=TODAY.date(), last=TODAY.date()) == today
    assert (await verify_usage_store(pool, ADMIN, clickhouse, days=3)).differing == ()
    assert await count(clickhouse) == len(rows)


async def test_dropped_months_keep_their_sums(pool: Pool, clickhouse: ClickHouse) -> None:
    months = [TODAY.replace(day=1) - timedelta(days=30 * number) for number in (3, 5)]
    lines = [encode_row(make_usage_row(moment, api_key_id=key)) for moment in months for key in (1, 1, 2)]
    await write_batch(pool, lines)
    await write_rows(pool, [make_usage_row(NOW - timedelta(hours=1))])
    await close_due_days(pool)
    feeder = Feeder(clickhouse)
    while (fed := await feed(pool, feeder)) is not None and fed.has_more:
        pass
    assert await count(clickhouse) == 7
    assert len(await PartitionKeeper(pool, retention_months=1).look(datetime.now(UTC))) == 2

    # What was sent before stays; where ClickHouse is new, or has lost some, the sums are sent.
    await clickhouse.command(f"TRUNCATE TABLE {entries.STATE}")
    assert await feed_all(pool, clickhouse) == 0
    assert await count(clickhouse) == 7
    await clickhouse.command(f"DELETE FROM {entries.TABLE} WHERE at_ms < {int(months[1].timestamp() * 1000) + 1}")
    await clickhouse.command(f"TRUNCATE TABLE {entries.STATE}")
    await feed_all(pool, clickhouse)
    assert await count(clickhouse) == 6
    assert (await verify_usage_store(pool, ADMIN, clickhouse, days=190)).differing == ()


async def test_postgres_answers_while_clickhouse_is_behind(pool: Pool, clickhouse: ClickHouse) -> None:
    await write_rows(pool, [make_usage_row(NOW - timedelta(hours=1))])
    store = ClickHouseStore(clickhouse, max_lag_s=30)
    query = UsageFilter(since=TODAY - timedelta(days=20))

    async def calls() -> int:
        return (await reports.summarize(pool, ADMIN, query, store=store)).sums.calls

    assert await calls() == 1
    await feed_all(pool, clickhouse)
    # What came since is not there: it is ClickHouse that answers.
    await write_rows(pool, [make_usage_row(NOW - timedelta(hours=1))])
    assert await calls() == 1
    await entries.write_state(clickhouse, entries.COMPLETE, datetime.now(UTC) - timedelta(seconds=31))
    assert await calls() == 2
    await entries.write_state(clickhouse, entries.COMPLETE, datetime.now(UTC))
    assert await calls() == 1
    # It fails after the question has begun.
    await clickhouse.command(f"DROP TABLE {entries.TABLE}")
    assert await calls() == 2


async def test_one_program_feeds_and_nothing_is_sent_while_a_report_is_read(pool: Pool, clickhouse: ClickHouse) -> None:
    await write_rows(pool, [make_usage_row(NOW - timedelta(hours=1))])
    await feed_all(pool, clickhouse)
    await write_rows(pool, [make_usage_row(NOW - timedelta(hours=2))])
    async with pool.acquire() as other, other.transaction():
        assert await become_feeder(other)
        assert await feed(pool, Feeder(clickhouse)) is None
    async with pool.acquire() as connection, connection.transaction():
        reader = await ClickHouseStore(clickhouse, max_lag_s=3600).reader(connection)
        feeding = asyncio.ensure_future(feed(pool, Feeder(clickhouse)))
        waiting = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)"
        while not await pool.fetchval(waiting):
            await asyncio.sleep(0.01)
        selection = Selection(start=EARLIEST, end=ceiling(NOW, "quarter"))
        assert (await reader.sum_up(selection, tables_for(selection) or {})).calls == 1
    fed = await feeding
    assert fed is not None
    assert fed.sent == 1
    assert await count(clickhouse) == 2


class Kept(ClickHouse):
    """Keeps the blocks of entries that it sends."""

    def __init__(self, url: str) -> None:
        super().__init__(ClickHouseAddress(SecretStr(url)))
        self.blocks: list[bytes] = []

    async def insert(self, table: str, columns: Sequence[str], lines: bytes) -> None:
        if table == entries.TABLE:
            self.blocks.append(lines)
        await super().insert(table, columns, lines)


async def test_blocks_that_come_late_or_twice_change_nothing(
    pool: Pool, clickhouse: ClickHouse, clickhouse_url: str
) -> None:
    estimate = make_usage_row(NOW - timedelta(hours=1), estimated=True, estimated_why="reaped", first_byte_ms=None)
    kept = Kept(clickhouse_url)
    await write_rows(pool, [estimate])
    await feed_all(pool, kept)
    assert (await verify_usage_store(pool, ADMIN, clickhouse, days=2)).differing == ()
    real = replace(make_usage_row(NOW), **{name: getattr(estimate, name) for name in SAME})
    await write_rows(pool, [real])
    await feed_all(pool, kept)
    await correct(pool, "repriced", real, replace(real, cost_nano_usd=7, counted_nano_usd=7))
    await feed_all(pool, kept)
    assert len(kept.blocks) == 3

    # As by a feeder that hung, and as after an answer that was lost. Nothing merges them.
    await clickhouse.command(f"SYSTEM STOP MERGES {entries.TABLE}")
    for block in reversed(kept.blocks[:]):
        await clickhouse.insert(entries.TABLE, entries.COLUMNS, block)

    # The call, and the two rows of its correction.
    assert await count(clickhouse) == 3
    assert (await verify_usage_store(pool, ADMIN, clickhouse, days=2)).differing == ()
    assert (await usage_store.read_status(pool, ADMIN, clickhouse)).missing == 0
    await kept.close()


class Broken(ClickHouse):
    """Fails at its second block."""

    blocks = 0

    async def insert(self, table: str, columns: Sequence[str], lines: bytes) -> None:
        self.blocks += table == entries.TABLE
        if self.blocks == 2:
            raise ClickHouseFailed("in the middle")
        await super().insert(table, columns, lines)


async def test_a_run_that_failed_in_the_middle_is_done_again(
    pool: Pool, clickhouse: ClickHouse, clickhouse_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1000)
    quarter = floor(NOW, "quarter") - timedelta(hours=1)
    await write_rows(pool, [make_usage_row(quarter + timedelta(milliseconds=800 * number)) for number in range(1000)])
    broken = Broken(ClickHouseAddress(SecretStr(clickhouse_url)))
    feeder = Feeder(broken)
    with pytest.raises(ClickHouseFailed, match="in the middle"):
        await feed(pool, feeder)
    assert 0 < await count(clickhouse) < 1000
    assert entries.COMPLETE not in await entries.read_state(clickhouse)
    await feed(pool, feeder)
    await broken.close()
    assert await count(clickhouse) == 1000
    assert entries.COMPLETE in await entries.read_state(clickhouse)


async def test_the_commands_say_what_was_done(
    database: Database, pool: Pool, clickhouse: ClickHouse, clickhouse_url: str
) -> None:
    await write_rows(pool, [make_usage_row(NOW - timedelta(hours=1))])
    command_line = CommandLine(
        {"LITEMAAS_DATABASE_URL": database.app_url, "LITEMAAS_CLICKHOUSE_URL": clickhouse_url,
         "LITEMAAS_CLICKHOUSE_ANSWERS": "true"}
    )  # fmt: skip
    for words, said in (
        ("init", "The tables are there."),
        ("feed", "1 calls and corrections were sent."),
        ("verify --days 3", "1 sums of 3 days; 0 days differ."),
        (f"rebuild --from {TODAY:%Y-%m-%d}", "calls and corrections were sent."),
        ("status", "missing"),
    ):
        done = await command_line.run("usage-store", *words.split())
        assert (done.code, said in done.out) == (0, True), done
