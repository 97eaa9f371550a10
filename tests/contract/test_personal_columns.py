"""Every column that can hold text is classified: how a person's name goes from it, or why none is in it (case A14)."""

from typing import Final

import asyncpg
import pytest
from conftest import Database

from admin_api.storage.personal_columns import COLUMNS, JSON_COLUMNS, Erased, Kept, Rewritten
from admin_api.storage.personal_data import ERASE, REWRITE
from gateway.storage.postgres import Pool

# What is erased by a function of the database, or after it is decrypted.
ELSEWHERE: Final = ("erase_names_of_user", "answers that name the user, once decrypted")
# All but numbers, times, booleans and random ids.
TEXT_COLUMNS: Final = """
SELECT c.relname || '.' || a.attname AS name, format_type(a.atttypid, NULL) AS type
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relnamespace = current_schema()::regnamespace
  AND a.attnum > 0 AND NOT a.attisdropped AND format_type(a.atttypid, NULL) NOT IN (
    'bigint', 'integer', 'smallint', 'numeric', 'boolean', 'timestamp with time zone', 'date', 'uuid', 'bigint[]')
"""


async def test_a14_every_column_that_can_hold_text_is_classified(pool: Pool) -> None:
    found = {row["name"]: row["type"] for row in await pool.fetch(TEXT_COLUMNS)}

    missing, gone = sorted(set(found) - set(COLUMNS)), sorted(set(COLUMNS) - set(found))
    place = "COLUMNS of admin_api/storage/personal_columns.py"
    assert missing == [], (
        f"Say in {place} how an anonymised user's names go from these columns, or why none is in them."
    )
    assert gone == [], f"{place} has columns that are not in the database."
    rewritten = {name: found[name] for name, rule in COLUMNS.items() if isinstance(rule, Rewritten)}
    assert {name for name, of in rewritten.items() if of == "jsonb"} == JSON_COLUMNS
    assert set(rewritten.values()) == {"text", "jsonb"}


def test_a14_every_column_has_a_reason_or_a_statement() -> None:
    for name, rule in COLUMNS.items():
        if isinstance(rule, Erased):
            table = name.split(".")[0]
            assert rule.by in ELSEWHERE or f" {table} " in ERASE[rule.by], name
        elif isinstance(rule, Kept):
            assert len(rule.why) > 3, name


@pytest.mark.parametrize("statement", [*REWRITE.values(), *ERASE.values()])
async def test_a14_every_statement_fits_the_schema_and_the_rights_of_the_app_role(
    database: Database, statement: str
) -> None:
    connection = await asyncpg.connect(database.app_url)
    prepared = await connection.prepare(statement)
    # Rights are checked when a statement starts, not when it is prepared.
    await prepared.fetch(*(1, "x", "x", "x", ["%x%"])[: len(prepared.get_parameters())])
    await connection.close()
