"""Connections outside a pool: of migrations, the doctor and the ledger's listener."""

from conftest import Database

from gateway.storage.postgres import connect


async def test_statements_have_no_names_that_a_pgbouncer_would_give_to_another(database: Database) -> None:
    connection = await connect(database.app_url)
    for _ in range(3):
        await connection.fetch("SELECT count(*) FROM models WHERE name = $1", "small")

    names = await connection.fetch("SELECT name FROM pg_prepared_statements")
    await connection.close()

    assert [row["name"] for row in names if row["name"]] == []
