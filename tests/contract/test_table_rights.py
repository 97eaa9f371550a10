"""The app's role has the rights on each table that its class allows, and no more (case S8)."""

from collections.abc import AsyncIterator
from typing import Final

import asyncpg
import pytest
from conftest import Database

from admin_api.storage.table_rights import TABLES
from contract.table_rights import COLUMNS, NOT_TO_CHANGE, SET_BY_DATABASE

CASCADES: Final = """
SELECT conrelid::regclass::text || ' to ' || confrelid::regclass::text FROM pg_constraint
WHERE contype = 'f' AND (confdeltype NOT IN ('a', 'r') OR confupdtype NOT IN ('a', 'r'))
  AND conrelid = ANY ($1::text[]::regclass[])
"""
OWNERS_FUNCTIONS: Final = """
SELECT proname, (SELECT c FROM unnest(proconfig) AS c WHERE c LIKE 'search_path=%') AS path,
    has_function_privilege(oid, 'EXECUTE') AS is_ours FROM pg_proc
WHERE prosecdef AND pronamespace = current_schema()::regnamespace ORDER BY proname
"""


@pytest.fixture
async def app(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the app's role."""
    connection = await asyncpg.connect(database.app_url)
    yield connection
    await connection.close()


async def test_s8_every_table_has_a_class(app: asyncpg.Connection) -> None:
    names = await app.fetch(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition "
        "AND relnamespace = current_schema()::regnamespace"
    )

    assert {row["relname"] for row in names} == set(TABLES)


@pytest.mark.parametrize("table", NOT_TO_CHANGE)
async def test_s8_the_app_role_has_no_right_to_change_what_is_added(app: asyncpg.Connection, table: str) -> None:
    rights = ("DELETE", "TRUNCATE", "TRIGGER", "REFERENCES")
    held = [r for r in rights if await app.fetchval("SELECT has_table_privilege($1::text, $2)", table, r)]
    columns = await app.fetch(COLUMNS, table)
    all_columns = {row["name"] for row in columns}
    wanted = all_columns - SET_BY_DATABASE[table] if TABLES[table] == "added" else set()

    assert held == []
    assert [row["name"] for row in columns if row["may_update"]] == []
    assert {row["name"] for row in columns if row["may_insert"]} == wanted


async def test_s8_the_app_role_has_no_right_on_a_month_itself(app: asyncpg.Connection) -> None:
    held = await app.fetch(
        "SELECT relname, p FROM pg_class CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS p "
        "WHERE relispartition AND relkind = 'r' AND has_table_privilege(oid, p)"
    )

    assert held == []


@pytest.mark.parametrize("table", NOT_TO_CHANGE)
async def test_s8_no_foreign_key_changes_what_is_added(app: asyncpg.Connection, table: str) -> None:
    assert await app.fetch(CASCADES, [table]) == []


async def test_s8_what_runs_as_the_owner_reads_no_table_of_the_caller(app: asyncpg.Connection) -> None:
    schema = await app.fetchval("SELECT current_schema()")

    paths = {row["proname"]: row["path"] for row in await app.fetch(OWNERS_FUNCTIONS)}

    assert paths == dict.fromkeys(paths, f"search_path={schema}, pg_temp")
    assert "replace_reaped_usage" in paths


async def test_s8_every_function_that_runs_as_the_owner_was_read(app: asyncpg.Connection) -> None:
    ours = [row["proname"] for row in await app.fetch(OWNERS_FUNCTIONS) if row["is_ours"]]

    # None of them lets the app's role change or delete what it added, but for what the comments say.
    assert ours == [
        "add_dated_price",
        "add_to_refusal_hours",
        "close_usage_day",
        "detach_usage_partition",  # of a whole month that is over
        "drop_detached_usage_partitions",
        "drop_response_days",
        "ensure_response_days",
        "ensure_usage_partition",
        "ensure_usage_partitions",
        "erase_names_of_user",  # names in audit rows and histories: audit_erasures keeps what verify needs
        "replace_reaped_usage",  # reaped estimates only
        "seal_usage_day",
    ]
