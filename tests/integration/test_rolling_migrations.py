"""What a rolling upgrade asks of migrations: old programs go on after `pre`, and each phase may wait for its time.

`make upgrade` runs the last release on the new tables; here each file is looked at.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import asyncpg
import pytest
from conftest import Database
from schema_catalog import breaking, read_facts

from admin_api.storage.migrate import migrate, migrations_folder, read_migrations
from deploy.embedded.postgres import APP
from tests.contract.released_migrations import released

# What a `pre` migration may do all the same: (file, finding) → why programs of the release before go on.
SURVIVED: Final[Mapping[tuple[str, str], str]] = {
    (
        "0050_pre_archive_teams.sql",
        "constraint accounts.accounts_check1 is new",
    ): "holds for every row without archived_at, which they do not set",
    (
        "0057_pre_create_session_keys.sql",
        "constraint api_keys.api_keys_last_four_check was another",
    ): "is the same for the kind standard, which is the default",
    (
        "0057_pre_create_session_keys.sql",
        "unique index api_keys.api_keys_session is new",
    ): "is of the kind session, of which they make none",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "migrations"
    made.mkdir()
    return made


async def test_programs_of_the_release_before_go_on_after_each_pre_migration(
    empty_database: Database, folder: Path
) -> None:
    before_all = {one.name for one in released()}
    migrations = read_migrations(migrations_folder())
    for migration in migrations:
        if migration.name in before_all:
            (folder / migration.name).write_text(migration.text)
    connection = await asyncpg.connect(empty_database.owner_url)
    await migrate(connection, app_role=APP, folder=folder)
    found = set()
    before = await read_facts(connection)
    for migration in migrations[len(before_all) :]:
        (folder / migration.name).write_text(migration.text)
        await migrate(connection, app_role=APP, folder=folder)
        after = await read_facts(connection)
        if migration.phase == "pre":
            found |= {(migration.name, finding) for finding in breaking(before, after)}
        before = after
    await connection.close()

    assert found == {(file, finding) for file, finding in SURVIVED if file not in before_all}


async def test_all_of_pre_and_then_all_of_post_makes_the_same_schema(
    database: Database, empty_database: Database
) -> None:
    """As in an upgrade over several releases."""
    owner = await asyncpg.connect(empty_database.owner_url)
    for phase in ("pre", "post"):
        await migrate(owner, app_role=APP, phase=phase)
    await owner.close()

    found = []
    for one in (database, empty_database):
        connection = await asyncpg.connect(one.owner_url)
        found.append(await read_facts(connection))
        await connection.close()
    in_order, by_phase = found
    assert {fact: (in_order.get(fact), by_phase.get(fact)) for fact in in_order.keys() | by_phase.keys()
            if in_order.get(fact) != by_phase.get(fact)} == {}  # fmt: skip
