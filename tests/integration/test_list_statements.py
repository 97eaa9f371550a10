"""No list runs a query per row: lists of 3 and of 30 rows take the same statements."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx2
import pytest
from admin_client import LOGIN, openapi_document
from conftest import Database
from factories import make_team, make_token, make_user
from fastapi import FastAPI

from gateway.storage.counters.scripts import SCRIPTS, Counters
from gateway.storage.postgres import Pool
from gateway.storage.redis.urls import connect

# Rows of each kind, as many as it takes until there are so many.
SEEDS = (
    "INSERT INTO users (email) SELECT 'seed' || n || '@example.org' FROM generate_series({first}, {last}) AS n",
    "INSERT INTO users (email) SELECT 'join' || n || '@example.org' FROM generate_series({first}, {last}) AS n",
    "INSERT INTO accounts (kind, name, owner_user_id) SELECT 'personal', email, id FROM users"
    " WHERE NOT EXISTS (SELECT FROM accounts a WHERE a.owner_user_id = users.id)",
    "INSERT INTO accounts (kind, name) SELECT 'team', 'seed ' || n FROM generate_series({first}, {last}) AS n",
    "INSERT INTO accounts (kind, name) SELECT 'team', 'join ' || n FROM generate_series({first}, {last}) AS n",
    "INSERT INTO team_members (account_id, user_id) SELECT id, {ann} FROM accounts WHERE kind = 'team'"
    " AND name NOT LIKE 'join%' ON CONFLICT DO NOTHING",
    "INSERT INTO team_members (account_id, user_id) SELECT {team}, id FROM users WHERE email NOT LIKE 'join%'"
    " ON CONFLICT DO NOTHING",
    "INSERT INTO team_invitations (account_id, user_id, role, expires_at)"
    " SELECT {team}, id, 'owner', now() + interval '1 day' FROM users ON CONFLICT DO NOTHING",
    "INSERT INTO team_invitations (account_id, user_id, role, expires_at)"
    " SELECT id, {ann}, 'owner', now() + interval '1 day' FROM accounts WHERE kind = 'team' ON CONFLICT DO NOTHING",
    "INSERT INTO team_join_requests (account_id, user_id, reason) SELECT {team}, id, '' FROM users"
    " WHERE email LIKE 'join%' ON CONFLICT DO NOTHING",
    "INSERT INTO team_join_requests (account_id, user_id, reason) SELECT id, {ann}, '' FROM accounts"
    " WHERE kind = 'team' AND name LIKE 'join%' ON CONFLICT DO NOTHING",
    "INSERT INTO models (name) SELECT 'seed ' || n FROM generate_series({first}, {last}) AS n",
    "INSERT INTO model_prices (model_id, source, input) SELECT min(id), 'admin', n FROM models,"
    " generate_series({first}, {last}) AS n GROUP BY n",
    "INSERT INTO subscriptions (account_id, model_id, status) SELECT {account}, id, 'active' FROM models"
    " ON CONFLICT DO NOTHING",
    "INSERT INTO api_keys (account_id, user_id, digest, pepper_version, last_four, created_by)"
    " SELECT {account}, {ann}, sha256(n::text::bytea), 1, 'abcd', 'seed' FROM generate_series({first}, {last}) AS n",
    "INSERT INTO api_key_models (api_key_id, model_id) SELECT k.id, m.id FROM api_keys k, models m"
    " ON CONFLICT DO NOTHING",
    "INSERT INTO limits (account_id, level, api_key_id, kind, amount) SELECT {account}, 'key', id, 'rpm', 5"
    " FROM api_keys ON CONFLICT DO NOTHING",
    "INSERT INTO limit_requests (limit_id, user_id, amount, reason) SELECT id, {ann}, 9, 'seed' FROM limits"
    " ON CONFLICT DO NOTHING",
    "INSERT INTO personal_tokens (user_id, name, role, digest, pepper_version, last_four, expires_at, created_by)"
    " SELECT {ann}, '', 'user', sha256(n::text::bytea), 1, 'abcd', now() + interval '1 day', 'seed'"
    " FROM generate_series({first}, {last}) AS n",
    "INSERT INTO identities (issuer, subject, user_id)"
    " SELECT 'https://seed' || n, 'ann', {ann} FROM generate_series({first}, {last}) AS n",
    "INSERT INTO alerts (account_id, user_id, level, scope, kind, window_kind, window_start, threshold, used, amount,"
    " about) SELECT {account}, {ann}, 'key', 'seed' || n, 'tokens', 'day', now(), 80, 8, 10, '{{}}'"
    " FROM generate_series({first}, {last}) AS n",
    "INSERT INTO webhooks (url, events, secret, created_by)"
    " SELECT 'https://seed.example.org/' || n, '{{}}', 'x', 'seed' FROM generate_series({first}, {last}) AS n",
    "INSERT INTO deliveries (channel, webhook_id, event, payload, gave_up_at)"
    " SELECT 'webhook', id, 'seed', '{{}}', now() FROM webhooks",
    "INSERT INTO provider_keys (name, provider, sealed, last_four, created_by, updated_by)"
    " SELECT 'SEED' || n, 'openai', 'x', 'abcd', 'seed', 'seed' FROM generate_series({first}, {last}) AS n",
    "INSERT INTO refusals SELECT date_trunc('hour', now()), {account}, {ann}, n, 0, 0, 'model_not_found', 1"
    " FROM generate_series({first}, {last}) AS n",
    "INSERT INTO refused_calls (request_id, at, account_id, user_id, api_key_id, status, code, message, details)"
    " SELECT gen_random_uuid(), now(), {account}, {ann}, n, 404, 'model_not_found', 'None.', '{{}}'"
    " FROM generate_series({first}, {last}) AS n",
    "INSERT INTO model_syncs (actor, problem) SELECT 'seed', 'x' FROM generate_series({first}, {last}) AS n",
    "INSERT INTO audit_logs (actor, action, target_kind, target_id) SELECT email, 'seed.make', 'seed', n::text"
    " FROM users, generate_series({first}, {last}) AS n WHERE id = {ann}",
)
# Values of path parameters and required query parameters.
NEEDED = {"/api/v1/prices": {"model": "seed 1"}}


@pytest.fixture
async def statements(database: Database, admin_app: FastAPI, redis_url: str) -> AsyncIterator[list[str]]:
    """The statements of the app role."""
    seen: list[str] = []

    async def watch(connection: Any) -> None:
        connection.add_query_logger(lambda record: seen.append(record.query))

    scripts = connect(redis_url, SCRIPTS, timeout_s=2.0)
    await scripts.open()
    admin_app.state.counters = Counters(scripts)
    async with asyncpg.create_pool(database.app_url, min_size=0, max_size=2, init=watch) as watched:
        admin_app.state.pool = watched
        yield seen


async def test_a_list_of_three_rows_and_of_thirty_takes_the_same_statements(
    admin: httpx2.AsyncClient, pool: Pool, statements: list[str]
) -> None:
    ann = await make_user(pool)
    team = await make_team(pool, ann, name="red")
    logins = {"admin": LOGIN, "user": {"authorization": f"Bearer {(await make_token(pool, ann)).secret}"}}
    about = {"ann": ann.id, "team": team.id, "account": ann.account_id}
    paths = [
        path
        for path, methods in openapi_document()["paths"].items()
        if any(parameter["name"] == "cursor" for parameter in methods.get("get", {}).get("parameters", ()))
    ]

    async def count(first: int, last: int) -> dict[tuple[str, str], tuple[int, int, int]]:
        """(path, who) -> status, rows, statements."""
        for seed in SEEDS:
            await pool.execute(seed.format(first=first, last=last, **about))
        counted = {}
        for path in paths:
            for who, login in logins.items():
                url = path.format(team="red", user=ann.email)
                for _ in range(2):  # the first may have something to seed or to connect
                    statements.clear()
                    answer = await admin.get(url, headers=login, params={"limit": 100} | NEEDED.get(path, {}))
                body = answer.json()
                counted[path, who] = (answer.status_code, len(body.get("rows", ())), len(statements))
        return counted

    few, many = await count(1, 3), await count(4, 30)

    assert len(paths) > 9
    wrong = [(place, few[place], many[place]) for place in few if few[place][2] != many[place][2]]
    assert wrong == []
    # Nothing was counted that showed nothing: calls are counted elsewhere.
    shown = {path for (path, _), (status, rows, _) in many.items() if status == 200 and rows >= 27}
    assert set(paths) - shown <= {"/api/v1/usage"}
