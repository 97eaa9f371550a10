"""Usage questions and ClickHouse, as far as no ClickHouse is needed: statements, and that Postgres answers without one.
`make clickhouse` has its engine answer (tests/clickhouse)."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from command_line import CommandLine
from conftest import Database
from factories import ADMIN
from pydantic import SecretStr
from usage_rows import make_usage_row, write_rows

from admin_api import metrics
from admin_api.operations.maintenance.usage_store import Feeder, feed, read_status
from admin_api.operations.usage.overview import OverviewInput, read_overview
from admin_api.operations.usage.reports import summarize
from admin_api.operations.usage.scope import UsageFilter
from admin_api.reported_settings import SettingsError
from admin_api.settings import ClickHouseSettings
from admin_api.storage.clickhouse import blocks, entries, link, reader
from admin_api.storage.clickhouse.link import ClickHouse, ClickHouseAddress, ClickHouseFailed, new_clickhouse
from admin_api.storage.clickhouse.store import ClickHouseStore, store_of
from admin_api.storage.usage.queries import SUM_NAMES
from admin_api.storage.usage.readers import ROLLUPS
from admin_api.storage.usage.rollup_tables import Selection
from gateway.domain.calls import ENDINGS
from gateway.storage.ledger.rollups import SUMS
from gateway.storage.postgres import Pool

NOW = datetime.now(UTC)
# Nothing listens on it: it is the discard port.
NOBODY = "http://user:planted-password@127.0.0.1:9/usage"


@pytest.fixture
def away() -> ClickHouse:
    return ClickHouse(ClickHouseAddress(SecretStr(NOBODY)))


async def test_postgres_answers_where_clickhouse_is_away(pool: Pool, away: ClickHouse) -> None:
    await write_rows(pool, [make_usage_row(NOW - timedelta(hours=1))])
    store = ClickHouseStore(away, max_lag_s=3600)
    before = metrics.USAGE_STORE_FALLBACKS.labels("failed")._value.get()

    for _ in range(3):
        asked = UsageFilter(since=NOW - timedelta(days=2))
        assert (await summarize(pool, ADMIN, asked, store=store)).sums.calls == 1
        found = await read_overview(pool, ADMIN, asked, OverviewInput(by="model"), store=store)
        assert found.total.sums.calls == 1

    # It is tried once; then it is left alone for a while.
    assert metrics.USAGE_STORE_FALLBACKS.labels("failed")._value.get() == before + 1


async def test_postgres_answers_where_clickhouse_hangs(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "ANSWER_S", 0.2)
    await write_rows(pool, [make_usage_row(NOW - timedelta(hours=1))])
    hangs = asyncio.Event()

    async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await hangs.wait()
        writer.close()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        clickhouse = ClickHouse(ClickHouseAddress(SecretStr(url)))
        asked = UsageFilter(since=NOW - timedelta(days=2))
        found = await summarize(pool, ADMIN, asked, store=ClickHouseStore(clickhouse, max_lag_s=3600))
        hangs.set()
    assert found.sums.calls == 1
    await clickhouse.close()


async def test_a_failure_says_no_address_and_no_password(pool: Pool, away: ClickHouse) -> None:
    for asking in (feed(pool, Feeder(away)), read_status(pool, ADMIN, away)):
        with pytest.raises(ClickHouseFailed) as failed:
            await asking
        assert failed.value.code == "database_unavailable"
        assert "planted" not in str(failed.value)
        assert "planted" not in failed.value.cause


def test_without_an_address_there_is_none_and_the_rollups_answer() -> None:
    assert new_clickhouse(None, None) is None
    assert store_of(None, max_lag_s=1) is ROLLUPS


@pytest.mark.parametrize(
    "url",
    [
        "clickhouse://host:9000",
        "http://",
        "host:8123",
        "https://host/db?password=1",
        "https://user:secret/word@host:8443/db",
    ],
)
def test_an_address_that_is_none_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITEMAAS_DATABASE_URL", "postgresql://a@b/c")
    monkeypatch.setenv("LITEMAAS_CLICKHOUSE_URL", url)
    with pytest.raises(SettingsError, match="LITEMAAS_CLICKHOUSE_URL: an address as https://user"):
        ClickHouseSettings.from_env()


def test_every_sum_is_sent_compared_and_answered() -> None:
    table = entries.create_statements()[0]
    for name in SUMS:
        assert f"    {name} Int64" in table
        assert name in entries.COLUMNS
        for statement in (
            entries.TOTALS_OF_LEDGER,
            entries.CLICKHOUSE_TOTALS_OF_ENTRIES,
            entries.READ_ENTRIES,
            entries.READ_SUMS,
        ):
            assert name in statement
    for name in SUM_NAMES:
        assert f"sum(e.{name}) AS {name}" in reader.ask_sums("1")


def test_what_is_selected_is_a_parameter_and_never_part_of_the_statement() -> None:
    selection = Selection(
        start=NOW, end=NOW, account_ids=[1], user_ids=[2], key_ids=[3], model_ids=[4], endings=list(ENDINGS[:2]),
        error_classes=["none"],
    )  # fmt: skip
    where = reader.conditions_of(selection, [5])
    assert where.sql.count("{") == len(where.values) == 9
    assert not any(ending in where.sql for ending in ENDINGS)
    assert "end" not in reader.conditions_of(selection, is_open=True).sql.split("ending")[0]


class Kept(ClickHouse):
    """Keeps what it is sent."""

    def __init__(self) -> None:
        super().__init__(ClickHouseAddress(SecretStr(NOBODY)))
        self.sent: list[bytes] = []

    async def insert(self, table: str, columns: Sequence[str], lines: bytes) -> None:
        self.sent.append(lines)


async def test_chunks_become_blocks_of_whole_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 8)
    kept = Kept()
    found = blocks.Blocks(kept)
    for chunk in (b"one\ntw", b"o\nthree", b"\n", b"four\n", b"end\n"):
        await found.take(chunk)
    await found.flush()
    assert (kept.sent, found.count) == ([b"one\ntwo\n", b"three\nfour\n", b"end\n"], 5)


class Refusing(Kept):
    """Takes the first block only."""

    async def insert(self, table: str, columns: Sequence[str], lines: bytes) -> None:
        if self.sent:
            raise ClickHouseFailed("no more")
        await super().insert(table, columns, lines)


async def test_a_block_that_fails_while_more_is_read_fails_the_run(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 8)
    refusing = Refusing()
    # Several megabytes, so that more comes after the block that fails.
    lines = "SELECT repeat('x', 100000) FROM generate_series(1, 50) WHERE $1::timestamptz <= $2::timestamptz"
    async with pool.acquire() as connection:
        with pytest.raises(ClickHouseFailed, match="no more"):
            await blocks.Blocks(refusing).read(connection, lines, NOW, NOW)
        # The connection has read the answer to its end, and can be used again.
        assert await connection.fetchval("SELECT 1") == 1
    assert len(refusing.sent) == 1


async def test_the_commands_say_that_there_is_none(database: Database) -> None:
    command_line = CommandLine({"LITEMAAS_DATABASE_URL": database.app_url})
    done = await command_line.run("usage-store", "status")
    assert (done.code, "LITEMAAS_CLICKHOUSE_URL is not set" in done.err) == (2, True)
    printed = await command_line.run(
        "usage-store", "init", "--print", "--engine", "ReplicatedReplacingMergeTree(version)"
    )
    assert (printed.code, printed.out.count("ENGINE = ReplicatedReplacingMergeTree(version)")) == (0, 2)
