"""How long every GET of the admin API takes beside 10,000 users, 100,000 subscriptions and 1,000,000 keys.

`make admin-bench` starts a Postgres and a Valkey of its own, makes the rows by SQL, asks every GET of the OpenAPI
document with each of its filters, other ids each time, and prints p50 and p95. `--write` puts the table into
docs/admin.md.
"""

import argparse
import asyncio
import os
import random
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg
import httpx2
import uvicorn

from admin_api.main import create_app
from admin_api.operations import personal_tokens
from admin_api.operations.actors import Actor
from admin_api.settings import Settings
from deploy.embedded.postgres import APP, OWNER, Postgres
from deploy.embedded.processes import free_port
from deploy.embedded.valkey import Valkey
from gateway.domain.keys import Peppers
from gateway.storage.migrate import migrate
from gateway.storage.postgres import Pool, new_pool

PAGE: Final = Path(__file__).parents[1] / "docs" / "admin.md"
TOKEN: Final = "0123456789abcdef0123456789abcdef"  # noqa: S105  of a server that lives as long as the bench
PEPPERS: Final = "1:" + "ab" * 32
MODELS: Final = 100
CALLS: Final = 100
WARM_UP: Final = 10
# Triggers tell gateways, of whom there are none here.
TABLES: Final = (
    "users",
    "accounts",
    "team_members",
    "models",
    "model_prices",
    "subscriptions",
    "api_keys",
    "api_key_models",
    "limits",
)
# Per user 10 subscriptions and 100 keys; a team for 100 users, with 10 members more than its owner.
ROWS: Final = (
    "INSERT INTO users (email, name) SELECT 'user' || n || '@example.org', 'User ' || n"
    " FROM generate_series(1, {users}) AS n",
    "INSERT INTO accounts (kind, name, owner_user_id) SELECT 'personal', email, id FROM users ORDER BY id",
    "INSERT INTO accounts (kind, name) SELECT 'team', 'team ' || n FROM generate_series(1, {users} / 100) AS n",
    "INSERT INTO team_members (account_id, user_id, role)"
    " SELECT a.id, 1 + (a.id * 37 + n * 101) % {users}, CASE n WHEN 0 THEN 'owner' ELSE 'member' END"
    " FROM accounts a, generate_series(0, 10) AS n WHERE a.kind = 'team' ON CONFLICT DO NOTHING",
    "INSERT INTO models (name, provider, mode, restricted) SELECT 'model-' || n, 'openai', 'chat', n % 10 = 0"
    " FROM generate_series(1, {models}) AS n",
    "INSERT INTO model_prices (model_id, source, input, output) SELECT m.id, 'admin', 0.000001 * n, 0.000002 * n"
    " FROM models m, generate_series(1, 20) AS n",
    "INSERT INTO subscriptions (account_id, model_id, status)"
    " SELECT a.id, 1 + (a.id + n * 7) % {models}, CASE WHEN (a.id + n) % 997 = 0 THEN 'pending' ELSE 'active' END"
    " FROM accounts a, generate_series(0, 9) AS n ON CONFLICT DO NOTHING",
    "INSERT INTO subscription_history (subscription_id, to_status, actor) SELECT id, status, 'bench'"
    " FROM subscriptions, generate_series(1, 3)",
    "INSERT INTO api_keys (account_id, user_id, name, digest, pepper_version, last_four, created_by, revoked_at)"
    " SELECT a.id, a.owner_user_id, 'key ' || n, sha256((a.id || ' ' || n)::bytea), 1, 'abcd', 'bench',"
    " CASE WHEN n % 4 = 0 THEN now() END FROM accounts a, generate_series(1, 100) AS n WHERE a.kind = 'personal'",
    "INSERT INTO api_key_models (api_key_id, model_id) SELECT k.id, 1 + (k.account_id + (k.id % 10) * 7) % {models}"
    " FROM api_keys k",
    "INSERT INTO limits (account_id, level, subscription_id, kind, window_kind, amount)"
    " SELECT account_id, 'subscription', id, kind, 'month', 1000000"
    " FROM subscriptions, (VALUES ('requests'), ('tokens')) AS k (kind)",
    "INSERT INTO limits (account_id, level, api_key_id, kind, amount) SELECT account_id, 'key', id, 'rpm', 60"
    " FROM api_keys WHERE id % 10 = 0",
    "ANALYZE",
)


@dataclass(frozen=True, slots=True)
class Asked:
    """One line of the table."""

    who: str
    path: str
    filters: str
    statuses: frozenset[int]
    p50_ms: float
    p95_ms: float


def choices(users: int, keys: int, subscriptions: int) -> Mapping[str, Callable[[], object]]:
    """A value for each parameter, another one each time."""
    pick = random.Random(1).randint
    return {
        "user": lambda: f"user{pick(1, users)}@example.org",
        "team": lambda: f"team {pick(1, users // 100)}",
        "model": lambda: f"model-{pick(1, MODELS)}",
        "name": lambda: f"model-{pick(1, MODELS)}",
        "key": lambda: pick(1, keys),
        "key_id": lambda: pick(1, keys),
        "subscription_id": lambda: pick(1, subscriptions),
        "limit_id": lambda: pick(1, subscriptions),
        # There are none: a 404 is measured.
        "webhook_id": lambda: 1,
        "provider_key": lambda: "NONE",
        "id": lambda: pick(1, keys),
        "status": lambda: "pending",
        "level": lambda: "key",
        "archived": lambda: True,
        "cursor": lambda: pick(1, keys),
        "tokens": lambda: 100,
    }


# Filters that are asked one at a time, and those without which a route does not answer.
FILTERS: Final = ("user", "team", "model", "status", "level", "archived", "cursor")
REQUIRED: Final = {"/api/v1/prices": ("model",), "/api/v1/limits/explain": ("key", "model", "tokens")}
# Usage has rows and a bench of its own.
ELSEWHERE: Final = ("/api/v1/usage", "/health")


async def ask(
    http: httpx2.AsyncClient, who: str, path: str, filters: tuple[str, ...], values: Mapping[str, Callable[[], object]]
) -> Asked:
    """One route with these filters, one call after another."""
    took, statuses = [], set()
    for number in range(WARM_UP + CALLS):
        url = re.sub(r"{(\w+)(:path)?}", lambda match: str(values[match[1]]()), path)
        begun = time.perf_counter()
        answer = await http.get(url, params={name: str(values[name]()) for name in filters})
        if number >= WARM_UP:
            took.append((time.perf_counter() - begun) * 1000)
            statuses.add(answer.status_code)
    took.sort()
    return Asked(who, path, ", ".join(filters), frozenset(statuses), took[CALLS // 2], took[CALLS * 95 // 100])


@contextmanager
def serving(settings: Settings) -> Iterator[tuple[str, Any]]:
    """The admin API on a port of its own, in a thread."""
    port = free_port()
    app = create_app(settings)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, loop="uvloop", log_config=None))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise SystemExit("The admin API did not start.")
        time.sleep(0.05)
    try:
        yield f"http://127.0.0.1:{port}", app
    finally:
        server.should_exit = True
        thread.join(30)


async def make_rows(url: str, users: int) -> dict[str, int]:
    """All of them, and how many there are of each."""
    owner = await asyncpg.connect(url, command_timeout=1800)
    await migrate(owner, app_role=APP)
    for table in TABLES:
        await owner.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    for statement in ROWS:
        begun = time.perf_counter()
        await owner.execute(statement.format(users=users, models=MODELS))
        print(f"{time.perf_counter() - begun:6.1f} s  {statement[:60]}", flush=True)
    for table in TABLES:
        await owner.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")
    tables = ("users", "subscriptions", "api_keys", "limits", "subscription_history")
    counts = {table: await owner.fetchval(f"SELECT count(*) FROM {table}") for table in tables}  # noqa: S608
    await owner.close()
    return counts


async def own_choices(pool: Pool, user_id: int) -> Mapping[str, Callable[[], object]]:
    """As `choices`, of what this user may see."""
    pick = random.Random(1).choice
    email = await pool.fetchval("SELECT email FROM users WHERE id = $1", user_id)
    of_team = "SELECT a.name FROM accounts a JOIN team_members t ON t.account_id = a.id WHERE t.user_id = $1"
    teams = [row["name"] for row in await pool.fetch(f"{of_team} AND t.role = 'owner'", user_id)]
    keys = [row["id"] for row in await pool.fetch("SELECT id FROM api_keys WHERE user_id = $1", user_id)]
    of_user = "SELECT s.id FROM subscriptions s JOIN accounts a ON a.id = s.account_id WHERE a.owner_user_id = $1"
    rows = await pool.fetch(of_user, user_id)
    subscriptions = [row["id"] for row in rows]
    of_user = "SELECT l.id FROM limits l JOIN accounts a ON a.id = l.account_id WHERE a.owner_user_id = $1"
    limits = [row["id"] for row in await pool.fetch(of_user, user_id)]
    return {
        "user": lambda: email,
        "team": lambda: pick(teams),
        "key": lambda: pick(keys),
        "key_id": lambda: pick(keys),
        "subscription_id": lambda: pick(subscriptions),
        "limit_id": lambda: pick(limits),
    }


async def measure(url: str, app: Any, app_url: str, counts: Mapping[str, int]) -> list[Asked]:
    """Every GET of the document, as an admin and as a user who owns a team."""
    values = choices(counts["users"], counts["api_keys"], counts["subscriptions"])
    async with new_pool(app_url, size=1) as pool:
        owner = await pool.fetchval("SELECT user_id FROM team_members WHERE role = 'owner' LIMIT 1")
        actor = Actor(name="bench", role="admin")
        made = await personal_tokens.create_token(pool, actor, Peppers.parse(PEPPERS), user=str(owner))
        own = await own_choices(pool, owner)
    asked = []
    for who, token, some in (("admin", TOKEN, values), ("user", made.secret, {**values, **own})):
        headers = {"authorization": f"Bearer {token}"}
        async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=60) as http:
            for path, methods in sorted(app.openapi()["paths"].items()):
                if "get" not in methods or path.startswith(ELSEWHERE):
                    continue
                known = {parameter["name"] for parameter in methods["get"].get("parameters", ())}
                needed = REQUIRED.get(path, ())
                if "{" in path or needed:
                    sets: list[tuple[str, ...]] = [needed]
                else:
                    few = [name for name in FILTERS if name in known]
                    sets = [(), *((name,) for name in few)]
                for filters in sets:
                    one = await ask(http, who, path, filters, some)
                    # Not for users, or not for who has no account of his own.
                    if one.statuses not in ({403}, {422}):
                        asked.append(one)
                        print(f"{one.p95_ms:8.1f} ms  {who} {path} {' '.join(filters)}", flush=True)
    return asked


def table(asked: list[Asked], counts: Mapping[str, int]) -> str:
    """As Markdown, the slowest first."""
    told = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items())
    load = ", ".join(f"{number:.1f}" for number in os.getloadavg())
    lines = [f"{told}; pages of 100; {CALLS} calls each, one after another, on {os.cpu_count()} cores that other jobs"]
    lines += [f"shared (load {load} over the last 1, 5 and 15 minutes).", ""]
    lines += ["| who | GET | filter | answers | p50 ms | p95 ms |", "|---|---|---|---|---|---|"]
    for one in sorted(asked, key=lambda one: -one.p95_ms):
        statuses = ", ".join(map(str, sorted(one.statuses)))
        lines.append(
            f"| {one.who} | `{one.path}` | {one.filters or '–'} | {statuses} | {one.p50_ms:.1f} | {one.p95_ms:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=10_000, help="10 subscriptions and 100 keys each")
    parser.add_argument("--write", action="store_true", help="into docs/admin.md")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="litemaas-bench-") as name:
        folder = Path(name)
        with Postgres(folder / "postgres", durable=False) as postgres, Valkey(folder / "valkey") as valkey:
            counts = asyncio.run(make_rows(postgres.url(OWNER), chosen.users))
            settings = Settings.model_validate(
                {
                    "database_url": postgres.url(APP),
                    "redis_url": valkey.url(),
                    "litellm_urls": "http://127.0.0.1:1",
                    "litellm_api_key": "sk-none",
                    "key_peppers": PEPPERS,
                    "secret_keys": "1:" + "0123456789abcdef" * 4,
                    "admin_token": TOKEN,
                    "model_sync_interval_s": 0,
                    "log_level": "error",
                }
            )
            with serving(settings) as (url, app):
                asked = asyncio.run(measure(url, app, postgres.url(APP), counts))
    told = table(asked, counts)
    print(told)
    if chosen.write:
        marks = re.compile(r"(<!-- admin-bench -->\n).*?(<!-- /admin-bench -->)", re.DOTALL)
        PAGE.write_text(marks.sub(lambda match: f"{match[1]}{told}\n{match[2]}", PAGE.read_text()))


if __name__ == "__main__":
    main()
