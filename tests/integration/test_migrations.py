"""Migrations: each runs once, in order, with any number of runners; and the guarantees of the schema."""

import asyncio
import shutil
from itertools import chain
from pathlib import Path

import asyncpg
import pytest
from conftest import Database

from admin_api.storage.doctor import read_migration_state
from admin_api.storage.migrate import EQUIVALENT, MigrationError, migrate, migrations_folder, read_migrations
from deploy.embedded.postgres import APP


async def run(database: Database, folder: Path | None = None, phase: str | None = None) -> list[str]:
    connection = await asyncpg.connect(database.owner_url)
    try:
        return await migrate(connection, app_role=APP, folder=folder, phase=phase)
    finally:
        await connection.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy = tmp_path / "migrations"
    shutil.copytree(migrations_folder(), copy)
    return copy


def edit_first(folder: Path) -> None:
    first = next(folder.glob("0001_*"))
    first.write_text(first.read_text() + "\n")


def test_migration_numbers_have_no_gaps_and_every_file_has_a_comment() -> None:
    migrations = read_migrations(migrations_folder())

    assert [int(migration.name[:4]) for migration in migrations] == list(range(1, len(migrations) + 1))
    assert all(migration.text.startswith("-- ") for migration in migrations)


def test_a_gap_in_the_numbers_is_refused(folder: Path) -> None:
    next(folder.glob("0002_*")).unlink()

    with pytest.raises(MigrationError, match="0002 is expected"):
        read_migrations(folder)


def test_a_name_without_a_phase_is_refused(folder: Path) -> None:
    (folder / "9999_create_things.sql").write_text("SELECT 1")

    with pytest.raises(MigrationError, match="name it NNNN_pre_verb_what"):
        read_migrations(folder)


async def test_five_concurrent_runners_apply_each_migration_once(empty_database: Database) -> None:
    applied = await asyncio.gather(*(run(empty_database) for _ in range(5)))

    names = [migration.name for migration in read_migrations(migrations_folder())]
    assert sorted(chain.from_iterable(applied)) == names
    assert sorted(map(len, applied)) == [0, 0, 0, 0, len(names)]


async def test_a_second_run_finds_nothing_to_do(database: Database) -> None:
    assert await run(database) == []


async def test_a_file_changed_after_it_was_applied_stops_the_run(database: Database, folder: Path) -> None:
    edit_first(folder)

    with pytest.raises(MigrationError, match="was changed after it was applied"):
        await run(database, folder)


async def test_a_database_with_another_comment_in_a_migration_is_taken_for_what_it_is(database: Database) -> None:
    for name, sha256 in EQUIVALENT.items():
        await database.execute_as_owner("UPDATE schema_migrations SET sha256 = $2 WHERE name = $1", name, sha256)

    assert await run(database) == []
    connection = await asyncpg.connect(database.app_url)
    assert (await read_migration_state(connection, read_migrations(migrations_folder()))).changed == []
    await connection.close()


async def test_a_migration_that_fails_leaves_nothing_behind_and_can_be_run_again(
    database: Database, folder: Path
) -> None:
    number = len(read_migrations(folder)) + 1
    broken = folder / f"{number:04d}_pre_create_things.sql"
    broken.write_text("-- Breaks in the middle.\nCREATE TABLE things (id bigint);\nSELECT 1 / 0;")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await run(database, folder)

    broken.write_text("-- Works.\nCREATE TABLE things (id bigint);")

    assert await run(database, folder) == [broken.name]


async def test_a_phase_applies_only_its_own_files(database: Database, folder: Path) -> None:
    number = len(read_migrations(folder)) + 1
    (folder / f"{number:04d}_pre_create_things.sql").write_text("-- Before.\nCREATE TABLE things (id bigint);")
    (folder / f"{number + 1:04d}_post_drop_things.sql").write_text("-- After.\nDROP TABLE things;")

    assert await run(database, folder, phase="pre") == [f"{number:04d}_pre_create_things.sql"]
    assert await run(database, folder, phase="post") == [f"{number + 1:04d}_post_drop_things.sql"]


async def test_post_is_refused_while_migrations_of_pre_are_missing(database: Database, folder: Path) -> None:
    number = len(read_migrations(folder)) + 1
    (folder / f"{number:04d}_pre_create_things.sql").write_text("-- Before.\nCREATE TABLE things (id bigint);")
    (folder / f"{number + 1:04d}_post_drop_things.sql").write_text("-- After.\nDROP TABLE IF EXISTS things;")

    with pytest.raises(MigrationError, match=f"{number:04d}_pre_create_things.sql comes before"):
        await run(database, folder, phase="post")
    assert len(await run(database, folder)) == 2


async def test_partitions_exist_for_last_month_this_one_and_three_ahead(database: Database) -> None:
    connection = await asyncpg.connect(database.app_url)
    expected = await connection.fetch(
        "SELECT 'usage_logs_' || to_char(date_trunc('month', now() AT TIME ZONE 'UTC') + n * interval '1 month', "
        "'YYYYMM') AS name FROM generate_series(-1, 3) AS n ORDER BY name"
    )
    names = await connection.fetch(
        "SELECT relname AS name FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid "
        "WHERE inhparent = 'usage_logs'::regclass ORDER BY name"
    )
    await connection.close()

    assert names == expected


async def test_the_app_role_may_create_partitions_but_no_tables(database: Database) -> None:
    connection = await asyncpg.connect(database.app_url)

    made = await connection.fetchval("SELECT ensure_usage_partitions(5)")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute("CREATE TABLE things (id bigint)")
    await connection.close()

    assert made == 2


@pytest.mark.parametrize(
    "change", ["UPDATE audit_logs SET actor = 'someone else'", "DELETE FROM audit_logs", "TRUNCATE audit_logs"]
)
async def test_neither_app_nor_owner_role_can_change_audit_rows(database: Database, change: str) -> None:
    for url in (database.app_url, database.owner_url):
        connection = await asyncpg.connect(url)
        await connection.execute(
            "INSERT INTO audit_logs (actor, action, target_kind, target_id) VALUES ('me', 'test', 'test', '1')"
        )

        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(change)

        await connection.close()
