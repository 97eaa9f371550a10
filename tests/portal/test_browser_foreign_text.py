"""Text that others have set is text on every page, whatever column it is in: in Chromium, which says what it loads."""

from typing import Final
from urllib.parse import quote

import asyncpg
import pytest
from conftest import Database

from gateway.storage.postgres import Pool
from portal.conftest import RESTRICTED, NewVisitor, NewWindow
from portal.examples import every_page

# Ends an attribute with either quote, and what it is in; loads a picture if it becomes an element. Then the column.
MARK: Final = "\"'></title><img src=/x>"
TEXT_COLUMNS: Final = """
SELECT table_name AS table, column_name AS column FROM information_schema.columns JOIN information_schema.tables
  USING (table_schema, table_name)
WHERE table_schema = current_schema() AND table_type = 'BASE TABLE' AND data_type = 'text' ORDER BY 1, 2
"""
# Words of the code, which no constraint of the database lists.
OF_THE_CODE: Final = ("accounts.time_zone", "audit_logs.action", "schema_migrations", "subscription_history.")
# Some that pages show; the test would see nothing if they did not.
SHOWN: Final = {
    "users.name",
    "models.description",
    "models.provider",
    "subscriptions.reason",
    "api_keys.name",
    "sessions.user_agent",
}
# What an address says, and a page repeats.
ASKED: Final = (
    "/models?search=",
    "/usage?period=",
    "/refusals?request_id=",
    "/login?next=",
    "/api-keys?cursor=",
    "/models/",
)


@pytest.mark.timeout(300)
async def test_text_of_others_is_text_on_every_page(
    database: Database, pool: Pool, new_visitor: NewVisitor, new_window: NewWindow
) -> None:
    bob = await new_visitor("bob")
    await bob.open(f"/models/{RESTRICTED}")
    await bob.submit("/subscriptions")
    paths = await every_page(await new_visitor(is_admin=True), pool)
    window = await new_window()
    window.expect(404, 422)
    columns = await set_every_text(database)
    name = await pool.fetchval("SELECT name FROM models ORDER BY id LIMIT 1")
    paths = {**paths, "/models/{name:path}": f"/models/{quote(name)}"}

    seen: set[str] = set()
    for path in (*paths.values(), *(path + quote(MARK) for path in ASKED)):
        await window.page.goto(window.site + path)
        shown = await window.page.content()
        assert await window.page.locator("img[src='/x']").count() == 0, path
        seen |= {column for column in columns if column in shown}

    assert seen >= SHOWN, SHOWN - seen
    # A picture that was asked for would be among them.
    assert window.take_problems() == []


async def set_every_text(database: Database) -> list[str]:
    """Those that take it."""
    owner = await asyncpg.connect(database.owner_url)
    changed = []
    for row in await owner.fetch(TEXT_COLUMNS):
        table, column = row["table"], row["column"]
        name = f"{table}.{column}"
        text = f"{MARK}{name}" + ("@example.org" if column == "email" else "")
        if name.startswith(OF_THE_CODE):
            continue
        # A number keeps unique ones apart.
        statement = f"UPDATE {table} SET {column} = $1 || substr(ctid::text, 2, 3)"  # noqa: S608  names of the catalogue
        try:
            done = await owner.execute(statement, text)
        except asyncpg.PostgresError:
            continue
        if done != "UPDATE 0":
            changed.append(name)
    await owner.close()
    return changed
