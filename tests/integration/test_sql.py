"""Prepares every SQL constant on the migrated schema: a misspelt column fails here and not in production."""

import pkgutil
import re
from importlib import import_module

import asyncpg
import pytest
from conftest import Database

import admin_api.storage
import gateway.storage
from admin_api.storage import reconciliation

IS_STATEMENT = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH|MERGE)\s", re.IGNORECASE)


def find_statements() -> dict[str, str]:
    statements: dict[str, str] = {}
    for package in (gateway.storage, admin_api.storage):
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            module = import_module(info.name)
            for name, value in vars(module).items():
                # Those of ClickHouse are tried by its engine: tests/clickhouse.
                is_of_another = name.startswith("CLICKHOUSE_")
                if name.isupper() and isinstance(value, str) and IS_STATEMENT.match(value) and not is_of_another:
                    statements[f"{info.name}.{name}"] = value
    return statements


STATEMENTS = find_statements()


def test_the_search_finds_the_statements() -> None:
    assert "admin_api.storage.limits.UPSERT_LIMIT" in STATEMENTS
    assert "gateway.storage.key_records.FIND_KEY_RECORD" in STATEMENTS


@pytest.mark.parametrize("name", sorted(STATEMENTS))
def test_no_statement_selects_with_an_asterisk(name: str) -> None:
    assert not re.search(r"select\s+(\w+\.)?\*|returning\s+\*", STATEMENTS[name], re.IGNORECASE)


async def test_every_statement_fits_the_schema_and_the_rights_of_the_app_role(database: Database) -> None:
    connection = await asyncpg.connect(database.app_url)
    wrong = {}
    async with connection.transaction():
        # Two statements read tables that are there in their transaction only.
        await connection.execute(reconciliation.MAKE_TABLE)
        await connection.execute(reconciliation.MAKE_CALLS, None, None)
        for name, statement in STATEMENTS.items():
            try:
                async with connection.transaction():
                    prepared = await connection.prepare(statement)
                    prepared.get_parameters()
            except asyncpg.PostgresError as exc:
                wrong[name] = str(exc)
    await connection.close()

    assert wrong == {}
