"""How many rows each list reads for a page: about a page, by whatever it is filtered and wherever its rows lie.

The queries are those of `make admin-bench`, so a new list must be added there and is tested here.
"""

import json
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import httpx2
import pytest
from admin_client import settings_for
from conftest import Database, create_database, drop_database

from admin_api.main import create_app
from deploy.embedded.postgres import APP, OWNER, Postgres
from deploy.embedded.valkey import Valkey
from loadtests.admin_bench import log_in
from loadtests.admin_commands import commands_of
from loadtests.admin_queries import NoEntry, Query, cursors_of, queries_of, values_of
from loadtests.admin_rows import make_rows
from loadtests.admin_site import PEOPLE

USERS = 300
# The team that the user of the queries owns, and one that they are only a member of, with thousands of each thing.
OWNS, IS_IN = (f"(SELECT account_id FROM team_members WHERE user_id = {n} AND role = 'owner')" for n in (2, 3))  # noqa: S608
LARGE_TEAM = (
    "INSERT INTO team_members (account_id, user_id, role) SELECT {team}, id, 'member' FROM users WHERE id % 2 = 0"
    " ON CONFLICT DO NOTHING",
    "INSERT INTO team_invitations (account_id, user_id, role, expires_at) SELECT {team}, id, 'member',"
    " now() + interval '7 days' FROM users WHERE id % 2 = 1 ON CONFLICT DO NOTHING",
    "INSERT INTO api_keys (account_id, user_id, name, digest, pepper_version, last_four, created_by, archived_at)"
    " SELECT account_id, user_id, 'large', sha256((account_id || ' large ' || user_id)::bytea), 1, 'abcd', 'bench',"
    " CASE WHEN user_id % 10 <> 0 THEN now() END FROM team_members WHERE account_id = {team}",
    "INSERT INTO limits (account_id, level, user_id, kind, window_kind, amount)"
    " SELECT account_id, 'user', user_id, 'tokens', 'month', 5000000 FROM team_members WHERE account_id = {team}",
    "INSERT INTO limits (account_id, level, api_key_id, kind, amount) SELECT account_id, 'key', id, 'rpm', 60"
    " FROM api_keys WHERE account_id = {team} AND name = 'large'",
    "INSERT INTO alerts (account_id, user_id, level, scope, kind, window_kind, window_start, window_end, threshold,"
    " used, amount, about) SELECT {team}, id, 'user', 'large ' || id, 'tokens', 'day', now(),"
    " now() + interval '1 day', 80, 80, 100, '{}' FROM users",
    "INSERT INTO refusals (hour, account_id, user_id, api_key_id, model_id, limit_id, code, count)"
    # Half of them in the same hour.
    " SELECT date_trunc('hour', now()) - CASE WHEN id % 2 = 0 THEN 1 ELSE id % 720 END * interval '1 hour', account_id,"
    " coalesce(user_id, 0), id, 1, 0, 'insufficient_quota', 1 FROM api_keys"
    " WHERE account_id = {team} AND name = 'large'",
)
# Users without resources, so there are many more users and accounts than a page.
MORE_ROWS = (
    "INSERT INTO users (email) SELECT 'more' || n || '@example.org' FROM generate_series(1, 5000) AS n",
    "INSERT INTO accounts (kind, name, owner_user_id) SELECT 'personal', email, id FROM users WHERE email LIKE 'more%'",
    *(statement.replace("{team}", team) for team in (OWNS, IS_IN) for statement in LARGE_TEAM),
    "ANALYZE",
)
PAGE = 10
TIMES = 3
# What a page may take of one table: its rows, a page of each account that a user sees, what a filter leaves out within
# one account, and the few hundred accounts that have something, for their names. All of a table is twice as much
# at least.
MAX_READ = 400
LARGE = (
    "users",
    "accounts",
    "api_keys",
    "api_key_uses",
    "limits",
    "subscriptions",
    "audit_logs",
    "alerts",
    "deliveries",
    "personal_tokens",
    "sessions",
    "identities",
    "team_members",
    "team_invitations",
    "refusals",
)
# Of all tables and indexes together, also where an index is searched over and over without finding a row.
BLOCKS, MAX_BLOCKS = "blocks", 600
MOST = dict.fromkeys(LARGE, MAX_READ) | {BLOCKS: MAX_BLOCKS}
# Part of a name: no index helps, all names are read.
BY_PARTS = ("search",)
# The statements of each query, with arguments.
Statements = dict[str, list[tuple[str, tuple[Any, ...]]]]


@pytest.fixture(scope="module")
async def filled(postgres: Postgres, template: str) -> AsyncIterator[Database]:
    await create_database(postgres, "list_plans", template=template)
    database = Database("list_plans", postgres.url(APP, "list_plans"), postgres.url(OWNER, "list_plans"))
    await make_rows(database.owner_url, USERS, 0)
    owner = await asyncpg.connect(database.owner_url)
    # All rows are sampled, and nobody samples again meanwhile: plans would change with what is met by chance.
    await owner.execute("SET default_statistics_target = 10000")
    for table in LARGE:
        await owner.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)")
    for statement in MORE_ROWS:
        await owner.execute(statement)
    await owner.close()
    yield database
    await drop_database(postgres, "list_plans")


@pytest.fixture
async def changed(postgres: Postgres, filled: Database) -> AsyncIterator[Database]:
    """A copy for tests that change rows."""
    name = f"{filled.name}_changed"
    await create_database(postgres, name, template=filled.name)
    yield Database(name, postgres.url(APP, name), postgres.url(OWNER, name))
    await drop_database(postgres, name)


@pytest.fixture(scope="module")
async def statements(filled: Database, valkey: Valkey) -> Statements:
    """The statements of each list."""
    seen: list[tuple[str, tuple[Any, ...]]] = []

    async def watch(connection: Any) -> None:
        connection.add_query_logger(lambda record: seen.append((record.query, record.args)))

    logins = await log_in(filled.app_url)
    app = create_app(settings_for(filled.app_url, redis_url=valkey.url()))
    asked: Statements = defaultdict(list)
    watched = asyncpg.create_pool(filled.app_url, min_size=0, max_size=2, init=watch, reset=keep)
    async with app.router.lifespan_context(app), watched as pool:
        values = {who: dict(await values_of(pool, user, is_admin=who == "admin")) for who, user in PEOPLE.items()}
        lists = [one for one in queries_of(app.openapi(), values["admin"]) if is_list(one)]
        app.state.pool = pool
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://admin") as http:
            for question in lists:
                some = values[question.who] | {"cursor": await cursors_of(pool, str(question.entry.cursor))}
                for _ in range(TIMES):
                    url, query = question.ask(some)
                    seen.clear()
                    answer = await http.get(url, params=query | {"limit": PAGE}, headers=logins[question.who])
                    assert answer.status_code == 200, (question, answer.text)
                    asked[f"{question.who} {question.path} {question.reported}"] += seen
    return asked


async def keep(_: object) -> None:
    """As the admin API's own pool: nothing is asked when a connection goes back."""


def is_list(question: Query) -> bool:
    return question.entry.cursor not in (None, "usage_logs") and not set(question.filters) & set(BY_PARTS)


def scans(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "Relation Name" in node:
        yield node
    for child in node.get("Plans", ()):
        yield from scans(child)


async def read_of(connection: Any, sql: str, arguments: tuple[Any, ...]) -> dict[str, int]:
    """The number of rows the statement read from each table, and of blocks from all."""
    (reported,) = await connection.fetchrow(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", *arguments)
    plan = json.loads(reported)[0]["Plan"]
    read: dict[str, int] = defaultdict(int, {BLOCKS: plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]})
    for scan in scans(plan):
        left_out = scan.get("Rows Removed by Filter", 0) + scan.get("Rows Removed by Index Recheck", 0)
        read[scan["Relation Name"]] += round((scan["Actual Rows"] + left_out) * scan["Actual Loops"])
    return read


async def find_too_much(database: Database, statements: Statements) -> dict[tuple[str, str], int]:
    """(question, table) -> rows, where they are too many."""
    too_much: dict[tuple[str, str], int] = {}
    # As the admin API's own pool asks; and on few rows reading all of a table may look cheaper.
    settings = {"plan_cache_mode": "force_custom_plan", "enable_seqscan": "off"}
    connection = await asyncpg.connect(database.app_url, server_settings=settings)
    for name, asked in statements.items():
        for sql, arguments in asked:
            if not sql.lstrip().startswith("SELECT"):
                continue
            for table, rows in (await read_of(connection, sql, arguments)).items():
                if rows > MOST.get(table, rows):
                    too_much[name, table] = max(rows, too_much.get((name, table), 0))
    await connection.close()
    return too_much


async def test_no_list_reads_much_more_than_a_page(filled: Database, statements: Statements) -> None:
    connection = await asyncpg.connect(filled.app_url)
    sizes = {table: await connection.fetchval(f"SELECT count(*) FROM {table}") for table in LARGE}  # noqa: S608
    await connection.close()

    assert await find_too_much(filled, statements) == {}
    assert len(statements) > 50
    assert min(sizes.values()) > 2 * MAX_READ


async def test_few_matching_rows_are_found_among_many_others(statements: Statements, changed: Database) -> None:
    owner = await asyncpg.connect(changed.owner_url)
    await owner.execute("UPDATE api_keys SET archived_at = now() WHERE id < (SELECT max(id) - 200 FROM api_keys)")
    await owner.execute("UPDATE alerts SET acknowledged_at = NULL WHERE id > 200")
    # Or the index would lead to the rows as they were before, too.
    await owner.execute("VACUUM (ANALYZE) api_keys, alerts")
    await owner.close()
    lists = ("admin /api/v1/api-keys ", "admin /api/v1/admin/alerts acknowledged=true")

    assert await find_too_much(changed, {name: statements[name] for name in lists}) == {}


def test_every_list_of_the_command_line_is_timed() -> None:
    commands = [" ".join(command) for command in commands_of()]

    assert len(commands) > 12
    assert {"keys list", "limits list", "teams list", "users list", "audit list", "usage show"} <= set(commands)


async def test_a_get_or_filter_without_an_entry_stops_the_benchmark(filled: Database) -> None:
    connection = await asyncpg.connect(filled.app_url)
    values = await values_of(connection, PEOPLE["admin"], is_admin=True)
    await connection.close()
    document = create_app(settings_for(filled.app_url)).openapi()
    assert queries_of(document, values)

    colour = {"name": "colour", "in": "query", "schema": {"type": "string"}}
    document["paths"]["/api/v1/teams"]["get"]["parameters"].append(colour)
    with pytest.raises(NoEntry, match="colour"):
        queries_of(document, values)

    document["paths"]["/api/v1/things"] = {"get": {}}
    with pytest.raises(NoEntry, match="/api/v1/things"):
        queries_of(document, values)
