"""The roles of the compose file, which are those of the chart, and of the demo: neither is more than it must be."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import asyncpg
import pytest
from conftest import Database, run_as_superuser
from factories import ADMIN
from pydantic import SecretStr

from admin_api.operations.doctor.database import Database as Checked
from admin_api.operations.doctor.database import check_roles
from admin_api.operations.doctor.findings import Findings
from admin_api.operations.maintenance.reconciliation import reconcile_ledger
from admin_api.storage.migrate import migrate
from deploy.embedded.postgres import APP, DATABASE, OWNER, SUPERUSER, Postgres
from deploy.embedded.processes import free_port
from deploy.embedded.programs import ROOT
from deploy.image.composition import ComposedPostgres
from gateway.storage.postgres import new_pool

PASSWORDS: Final = {"POSTGRES_PASSWORD": "s", "POSTGRES_OWNER_PASSWORD": "o", "POSTGRES_APP_PASSWORD": "a"}
POWERS: Final = """
SELECT rolname, rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls,
    EXISTS (SELECT FROM pg_auth_members WHERE member = pg_roles.oid) FROM pg_roles WHERE rolname = ANY($1) ORDER BY 1
"""
# What would let the app's role past the rights on tables.
FORBIDDEN: Final = (
    "CREATE TABLE public.mine (a int)",
    "CREATE SCHEMA mine",
    "CREATE ROLE mine",
    "CREATE DATABASE mine",
    "CREATE EXTENSION file_fdw",
    "CREATE FUNCTION public.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    f"ALTER ROLE {APP} SUPERUSER",
    f"ALTER ROLE {OWNER} PASSWORD 'mine'",
    f"SET ROLE {OWNER}",
    f"SET SESSION AUTHORIZATION {OWNER}",
    f"GRANT {OWNER} TO {APP}",
    "SET session_replication_role = replica",
    "ALTER SYSTEM SET fsync = off",
    "ALTER TABLE usage_logs DISABLE TRIGGER ALL",
    "ALTER TABLE audit_logs OWNER TO CURRENT_USER",
    "DROP TABLE users",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "COPY (SELECT 1) TO '/tmp/mine'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT rolpassword FROM pg_authid",
    "SELECT pg_reload_conf()",
)


@pytest.fixture(scope="module")
def composed(memory_folder: Path) -> Iterator[ComposedPostgres]:
    script = ROOT / "deploy" / "postgres" / "create_roles.sh"
    with ComposedPostgres(memory_folder / "composed", free_port(), script, PASSWORDS) as server:
        yield server


@pytest.fixture(scope="module")
async def of_compose(composed: ComposedPostgres) -> Database:
    """Migrated, by the owner."""
    host = f"127.0.0.1:{composed.port}/{DATABASE}"
    made = Database(DATABASE, f"postgresql://{APP}:a@{host}", f"postgresql://{OWNER}:o@{host}")
    owner = await asyncpg.connect(made.owner_url)
    await migrate(owner, app_role=APP)
    await owner.close()
    return made


@pytest.fixture(params=["compose", "demo"])
def any_database(request: pytest.FixtureRequest) -> Database:
    made: Database = request.getfixturevalue("of_compose" if request.param == "compose" else "database")
    return made


@pytest.fixture
async def app(any_database: Database) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(any_database.app_url)
    yield connection
    await connection.close()


async def test_neither_role_has_a_power_or_is_a_member_of_another(app: asyncpg.Connection) -> None:
    rows = await app.fetch(POWERS, [APP, OWNER])

    assert [tuple(row) for row in rows] == [(APP, False, False), (OWNER, False, False)]


async def test_doctor_finds_no_fault_with_the_roles(any_database: Database) -> None:
    found = Findings("roles")

    await check_roles(
        found, Checked(app_url=SecretStr(any_database.app_url), owner_url=SecretStr(any_database.owner_url))
    )

    assert {one.status for one in found.all} == {"ok"}, found.all


async def test_the_apps_role_may_reconcile(any_database: Database) -> None:
    async with new_pool(any_database.app_url, size=1) as pool:
        found = await reconcile_ledger(pool, ADMIN, [])

    assert found.agrees


async def test_migrations_let_the_apps_role_make_temporary_tables(postgres: Postgres, empty_database: Database) -> None:
    """In a database of an earlier version of the script, too; where they cannot, the doctor says who can."""
    name = empty_database.name
    for sql in (f"REVOKE ALL ON DATABASE {name} FROM PUBLIC", f"GRANT CONNECT ON DATABASE {name} TO {APP}"):
        await run_as_superuser(postgres, sql)
    owner = await asyncpg.connect(empty_database.owner_url)
    await migrate(owner, app_role=APP)
    async with new_pool(empty_database.app_url, size=1) as pool:
        assert (await reconcile_ledger(pool, ADMIN, [])).agrees

    await owner.execute(f"REVOKE TEMPORARY ON DATABASE {name} FROM {APP}")
    await owner.close()
    found = Findings("roles")
    await check_roles(found, Checked(app_url=SecretStr(empty_database.app_url), owner_url=None))
    (problem,) = [one for one in found.all if one.status == "problem"]
    assert "may make no temporary tables" in problem.text
    assert f"GRANT TEMPORARY ON DATABASE … TO {APP};" in str(problem.cure)


async def test_the_apps_role_gets_no_further_than_its_rights(app: asyncpg.Connection) -> None:
    said: dict[str, str] = {}
    for statement in FORBIDDEN:
        try:
            said[statement] = await app.execute(statement)
        except asyncpg.PostgresError as exc:
            said[statement] = type(exc).__name__

    assert said == dict.fromkeys(FORBIDDEN, "InsufficientPrivilegeError")


async def test_another_role_may_not_even_connect_to_the_database_of_compose(
    composed: ComposedPostgres, of_compose: Database
) -> None:
    superuser = await asyncpg.connect(host=str(composed.folder / "sockets"), port=composed.port, user=SUPERUSER)
    await superuser.execute("CREATE ROLE stranger LOGIN PASSWORD 'x'")
    await superuser.close()

    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied for database"):
        await asyncpg.connect(of_compose.app_url.replace(f"{APP}:a", "stranger:x"))
