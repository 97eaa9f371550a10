"""Rows that money or audit stands on are only ever added by the app's role, whatever it tries (case S8)."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import msgspec
import pytest
from conftest import Database, create_database, drop_database
from contract.table_rights import ADDED, COLUMNS, NOT_TO_CHANGE, SET_BY_DATABASE
from usage_rows import TODAY, make_usage_row, write_rows

from deploy.embedded.postgres import APP, Postgres
from gateway.storage.ledger.rows import WRITE_NEW_ROWS, find_rows
from gateway.storage.postgres import Pool


@pytest.fixture
async def app(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the app's role."""
    connection = await asyncpg.connect(database.app_url)
    yield connection
    await connection.close()


@pytest.fixture(scope="module")
async def of_refused(postgres: Postgres, template: str) -> AsyncIterator[asyncpg.Connection]:
    await create_database(postgres, "append_only", template=template)
    connection = await asyncpg.connect(postgres.url(APP, "append_only"))
    yield connection
    await connection.close()
    await drop_database(postgres, "append_only")


@pytest.fixture
async def refusing(of_refused: asyncpg.Connection) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the app's role for statements that are refused: one that is not is undone."""
    transaction = of_refused.transaction()
    await transaction.start()
    yield of_refused
    await transaction.rollback()


@pytest.fixture
async def owner(database: Database) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database.owner_url)
    yield connection
    await connection.close()


@pytest.mark.parametrize("table", NOT_TO_CHANGE)
@pytest.mark.parametrize(
    "change",
    [
        "UPDATE {table} SET {column} = {column}",
        "DELETE FROM {table}",
        "DELETE FROM {table} WHERE false",
        "TRUNCATE {table}",
        "SELECT {column} FROM {table} FOR UPDATE",
        "MERGE INTO {table} AS t USING (SELECT 1) AS s ON true WHEN MATCHED THEN DELETE",
        "WITH gone AS (DELETE FROM {table} RETURNING 1) SELECT count(*) FROM gone",
        "ALTER TABLE {table} DISABLE TRIGGER ALL",
        "ALTER TABLE {table} ALTER COLUMN {column} DROP DEFAULT",
        "CREATE RULE quiet AS ON INSERT TO {table} DO INSTEAD NOTHING",
        "DROP TABLE {table}",
    ],
)
async def test_s8_what_was_added_cannot_be_changed(refusing: asyncpg.Connection, table: str, change: str) -> None:
    # The first one is mostly an identity, which no role may change.
    column = (await refusing.fetch(COLUMNS, table))[-1]["name"]

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await refusing.execute(change.format(table=table, column=column))


@pytest.mark.parametrize(("table", "column"), [(t, c) for t in ADDED for c in sorted(SET_BY_DATABASE[t])])
async def test_s8_ids_and_times_cannot_be_given(refusing: asyncpg.Connection, table: str, column: str) -> None:
    kind = await refusing.fetchval(
        "SELECT atttypid::regtype::text FROM pg_attribute WHERE attrelid = $1::text::regclass AND attname = $2",
        table,
        column,
    )
    values = {"bigint": "7", "uuid": "gen_random_uuid()", "timestamp with time zone": "now() - interval '1 day'"}
    insert = "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE VALUES ({})"

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await refusing.execute(insert.format(table, column, values[kind]))


@pytest.mark.parametrize("shift", [timedelta(days=-1), timedelta(days=1), timedelta(milliseconds=-2)])
async def test_s8_a_row_has_the_time_of_its_id(pool: Pool, shift: timedelta) -> None:
    row = make_usage_row(TODAY)
    row.started_at += shift

    with pytest.raises(asyncpg.CheckViolationError, match="usage_logs_time_of_id"):
        await pool.fetchrow(WRITE_NEW_ROWS, msgspec.json.encode([row]), None, False)

    assert await find_rows(pool, [row.request_id]) == []


async def test_s8_only_estimates_of_reaped_calls_are_replaced(pool: Pool) -> None:
    reaped, estimated = (make_usage_row(TODAY, estimated=True, estimated_why=why) for why in ("reaped", "no_usage"))
    real = make_usage_row(TODAY)
    await write_rows(pool, [reaped, estimated, real])
    cheaper = [
        make_usage_row(TODAY, request_id=row.request_id, cost_nano_usd=0, counted_nano_usd=0)
        for row in (reaped, estimated, real)
    ]

    returned = await pool.fetch(
        "SELECT request_id FROM replace_reaped_usage($1::jsonb)", msgspec.json.encode(cheaper).decode()
    )

    found = {row.request_id: row for row in await find_rows(pool, [row.request_id for row in cheaper])}
    assert [row["request_id"] for row in returned] == [reaped.request_id]
    assert found == {reaped.request_id: cheaper[0], estimated.request_id: estimated, real.request_id: real}


@pytest.mark.parametrize(
    "changes", [{"account_id": 2}, {"user_id": None}, {"api_key_id": 9}, {"started_at": TODAY + timedelta(days=1)}]
)
async def test_s8_the_row_that_replaces_an_estimate_is_of_the_same_caller(
    pool: Pool, changes: dict[str, object]
) -> None:
    reaped = make_usage_row(TODAY, estimated=True, estimated_why="reaped")
    await write_rows(pool, [reaped])
    other = make_usage_row(TODAY, **({"request_id": reaped.request_id} | changes))

    with pytest.raises(asyncpg.CheckViolationError, match="of another's call"):
        await pool.execute("SELECT replace_reaped_usage($1::jsonb)", msgspec.json.encode([other]).decode())

    assert await find_rows(pool, [reaped.request_id]) == [reaped]


async def test_s8_a_price_begins_when_it_is_added(pool: Pool) -> None:
    model = await pool.fetchval("INSERT INTO models (name) VALUES ('priced') RETURNING id")
    async with pool.acquire() as connection, connection.transaction():
        began = await connection.fetchval("SELECT now()")
        at = await connection.fetchval(
            "INSERT INTO model_prices (model_id, source, input) VALUES ($1, 'admin', 1) RETURNING effective_at", model
        )

    assert began < at < datetime.now(UTC) + timedelta(minutes=1)


async def test_s8_a_temporary_table_does_not_stand_for_the_ledger(app: asyncpg.Connection, pool: Pool) -> None:
    reaped = make_usage_row(TODAY, estimated=True, estimated_why="reaped")
    await write_rows(pool, [reaped])
    await app.execute("CREATE TEMP TABLE usage_logs (LIKE public.usage_logs)")
    real = make_usage_row(TODAY, request_id=reaped.request_id, total_ms=7)

    await app.execute("SELECT replace_reaped_usage($1::jsonb)", msgspec.json.encode([real]).decode())

    assert await find_rows(pool, [reaped.request_id]) == [real]
