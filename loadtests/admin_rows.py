"""The rows of the benchmark of the admin API: users, keys, and their usage and audit rows, created with SQL.

10,000 users are 1,000 teams, 110,000 subscriptions, 1,000,000 keys and about as many audit rows; a tenth of the keys
has usage, by the generator of `make usage-bench`, and the rollups are added up from it as `rebuild_usage_rollups` does.
"""

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import asyncpg

from admin_api.storage.migrate import migrate
from deploy.embedded.postgres import APP
from loadtests.usage_bench import DAYS

if TYPE_CHECKING:
    from gateway.storage.postgres import Connection

MODELS: Final = 100
CALLS: Final = Path(__file__).with_name("usage_rows.sql")
# Triggers notify gateways and the alerts of changes; these changes must not be notified.
SILENT: Final = (
    "users",
    "accounts",
    "team_members",
    "models",
    "model_prices",
    "subscriptions",
    "api_keys",
    "api_key_models",
    "limits",
    "usage_logs",
)
COUNTED: Final = (
    "users",
    "accounts",
    "team_members",
    "subscriptions",
    "api_keys",
    "limits",
    "subscription_history",
    "usage_logs",
    "audit_logs",
    "alerts",
    "deliveries",
    "personal_tokens",
    "sessions",
    "identities",
    "team_invitations",
    "team_join_requests",
    "limit_requests",
    "webhooks",
    "model_syncs",
)
# Per user 10 subscriptions and 100 keys, 20 of them in a team. User n is in team 1 + n modulo the number of teams,
# which the first of its members owns. The team of user 2 is large: each twentieth user is in it, and has the 20 keys
# there. Accounts of users have their ids, those of teams follow.
PEOPLE: Final = (
    "INSERT INTO users (email, name, role, status) SELECT 'user' || n || '@example.org', 'User ' || n,"
    " CASE WHEN n = 1 THEN 'admin' WHEN n % 5000 = 0 THEN 'admin-readonly' ELSE 'user' END,"
    " CASE WHEN n % 1000 = 7 THEN 'deactivated' ELSE 'active' END FROM generate_series(1, {users}) AS n",
    "INSERT INTO accounts (kind, name, owner_user_id) SELECT 'personal', email, id FROM users ORDER BY id",
    "INSERT INTO accounts (kind, name) SELECT 'team', 'team ' || n FROM generate_series(1, {teams}) AS n",
    "INSERT INTO team_members (account_id, user_id, role) SELECT {users} + 1 + id % {teams}, id,"
    " CASE WHEN id <= {teams} THEN 'owner' ELSE 'member' END FROM users",
    "INSERT INTO team_members (account_id, user_id, role) SELECT {users} + 3, id, 'member'"
    " FROM users WHERE id % 20 = 0 ON CONFLICT DO NOTHING",
    # Each to the next two teams.
    "INSERT INTO team_invitations (account_id, user_id, role, expires_at)"
    " SELECT {users} + 1 + (id + n) % {teams}, id, 'member', now() + interval '7 days'"
    " FROM users, generate_series(1, 2) AS n ON CONFLICT DO NOTHING",
    "INSERT INTO models (name, provider, mode, capabilities, restricted)"
    " SELECT 'model-' || n, (ARRAY['openai', 'anthropic', 'mistral', 'vllm'])[1 + n % 4], 'chat',"
    " CASE WHEN n % 3 = 0 THEN ARRAY['vision', 'tools'] ELSE ARRAY['tools'] END, n % 10 = 0"
    " FROM generate_series(1, {models}) AS n",
    "INSERT INTO model_prices (model_id, source, input, output) SELECT m.id, 'admin', 0.000001 * n, 0.000002 * n"
    " FROM models m, generate_series(1, 200) AS n",
    "INSERT INTO subscriptions (account_id, model_id, status) SELECT a.id, 1 + (a.id + n * 7) % {models},"
    " CASE WHEN (a.id + n) % 997 = 0 THEN 'pending' WHEN (a.id + n) % 50 = 0 THEN 'cancelled'"
    " WHEN (a.id + n) % 501 = 0 THEN 'suspended' ELSE 'active' END"
    " FROM accounts a, generate_series(0, 9) AS n ON CONFLICT DO NOTHING",
    "INSERT INTO subscription_history (subscription_id, to_status, actor) SELECT id, status, 'bench'"
    " FROM subscriptions, generate_series(1, 3)",
    "INSERT INTO api_keys (account_id, user_id, name, digest, pepper_version, last_four, created_by, revoked_at,"
    " archived_at) SELECT CASE WHEN (n + u) % 5 <> 0 THEN u WHEN u % 20 = 0 THEN {users} + 3"
    " ELSE {users} + 1 + u % {teams} END, u, 'key ' || n,"
    " sha256((u || ' ' || n)::bytea), 1, 'abcd', 'bench', CASE WHEN n % 4 = 3 THEN now() END,"
    " CASE WHEN n % 8 = 7 THEN now() END FROM generate_series(0, 99) AS n, generate_series(1, {users}) AS u",
    "UPDATE users SET last_login_at = now() - id % 90 * interval '1 day' WHERE id % 3 > 0",
    # In the order of the keys, which is not that of their use.
    "INSERT INTO api_key_uses (api_key_id, account_id, user_id, last_used_at, idle_since, ended) SELECT id, account_id,"
    " user_id, now() - id * 7919 % 90 * interval '1 day', now() - id * 7919 % 90 * interval '1 day',"
    " revoked_at IS NOT NULL FROM api_keys",
    "INSERT INTO api_key_models (api_key_id, model_id) SELECT k.id, 1 + (k.account_id + n * 7) % {models}"
    " FROM api_keys k, LATERAL (SELECT (k.id % 10 + m) % 10 AS n FROM generate_series(0, k.id % 3) AS m) AS few",
    "INSERT INTO limits (account_id, level, subscription_id, kind, window_kind, amount)"
    " SELECT account_id, 'subscription', id, kind, 'month', 1000000"
    " FROM subscriptions, (VALUES ('requests'), ('tokens')) AS k (kind)",
    "INSERT INTO limits (account_id, level, api_key_id, kind, amount) SELECT account_id, 'key', id, 'rpm', 60"
    " FROM api_keys WHERE id % 10 = 0",
    "INSERT INTO limits (account_id, level, api_key_id, model_id, kind, amount)"
    " SELECT k.account_id, 'key_model', k.id, km.model_id, 'tpm', 10000"
    " FROM api_keys k JOIN api_key_models km ON km.api_key_id = k.id WHERE k.id % 50 = 0",
    "INSERT INTO limits (account_id, level, user_id, kind, window_kind, amount)"
    " SELECT account_id, 'user', user_id, 'cost', 'month', 50000000000 FROM team_members",
    "INSERT INTO limits (account_id, level, kind, window_kind, amount)"
    " SELECT id, 'team', 'cost', 'month', 5000000000000 FROM accounts WHERE kind = 'team'",
    # To the team after those that they are invited to.
    "INSERT INTO team_join_requests (account_id, user_id, reason)"
    " SELECT {users} + 1 + (id + 3) % {teams}, id, 'bench' FROM users ON CONFLICT DO NOTHING",
    # One of each person waits, the others were decided.
    "INSERT INTO limit_requests (limit_id, user_id, amount, reason, status) SELECT l.id, l.user_id, 2 * l.amount,"
    " 'bench',"
    " CASE n WHEN 0 THEN 'pending' WHEN 1 THEN 'approved' ELSE 'denied' END"
    " FROM limits l, generate_series(0, 9) AS n WHERE l.level = 'user'",
)
# Every change left an audit row. So many at a time: Postgres keeps a trigger of each until its transaction ends.
AUDITED: Final = 10_000
AUDIT_ROWS: Final = (
    "INSERT INTO audit_logs (at, actor, action, target_kind, target_id, old, new, request_id, ip,"
    " account_id, about, cause) SELECT now() - interval '90 days' + n * interval '90 days' / {audit_rows},"
    " 'user' || 1 + n % {users} || '@example.org',"
    " (ARRAY['key.create', 'key.revoke', 'subscription.create', 'limit.set'])[1 + n % 4],"
    " (ARRAY['key', 'key', 'subscription', 'limit'])[1 + n % 4], (1 + n / 2)::text,"
    " CASE WHEN n % 4 = 3 THEN '{{\"amount\": 5}}'::jsonb END,"
    " jsonb_build_object('name', 'key ' || n, 'models', ARRAY['model-1', 'model-2'], 'expires_at', NULL),"
    " gen_random_uuid(), '192.0.2.1', 1 + n % {users},"
    " ARRAY[(ARRAY['key', 'key', 'subscription', 'limit'])[1 + n % 4] || ':' || 1 + n / 2, 'user:' || 1 + n % {users}],"
    " 'POST /api/v1/api-keys' FROM generate_series({first}, {last}) AS n"
)
# Nine of ten alerts of long ago were acknowledged.
TRACES: Final = (
    "INSERT INTO alerts (account_id, user_id, level, scope, kind, window_kind, window_start, window_end, threshold,"
    " used, amount, about, created_at, acknowledged_at, acknowledged_by)"
    " SELECT a.id, a.owner_user_id, CASE a.kind WHEN 'team' THEN 'team' ELSE 'subscription' END, 'bench', 'tokens',"
    " 'day', day, day + interval '1 day', 80, 800000 + n, 1000000, '{{\"model\": \"model-1\"}}', day,"
    " CASE WHEN n <> 5 OR a.id % 1000 <> 0 THEN now() END, CASE WHEN n <> 5 OR a.id % 1000 <> 0 THEN 'bench' END"
    " FROM generate_series(1, 10) AS n, accounts a,"
    " LATERAL (SELECT date_trunc('day', now()) - n * interval '9 days' AS day) AS d",
    # Of every key in one hour of the last 60 days.
    "INSERT INTO refusals (hour, account_id, user_id, api_key_id, model_id, limit_id, code, count)"
    " SELECT date_trunc('hour', now()) - (id % 1440) * interval '1 hour', account_id, coalesce(user_id, 0), id,"
    " 1 + id % {models}, 0, (ARRAY['rate_limit_exceeded', 'insufficient_quota', 'model_not_found'])[1 + id % 3], 5"
    " FROM api_keys",
    "INSERT INTO webhooks (account_id, url, events, secret, created_by) SELECT n, 'https://hooks.example.org/' || n,"
    " ARRAY['alert'], 'sealed', 'bench' FROM generate_series(1, {users} / 10) AS n",
    "INSERT INTO deliveries (channel, user_id, alert_id, event, payload, tries, delivered_at)"
    " SELECT 'email', 1 + n % {users}, n, 'alert', '{{\"threshold\": 80}}', 1, now()"
    " FROM generate_series(1, {users} * 10) AS n",
    "INSERT INTO deliveries (channel, webhook_id, event, payload, tries, gave_up_at)"
    " SELECT 'webhook', 1 + n % ({users} / 10), 'alert', '{{\"threshold\": 80}}', 5, now()"
    " FROM generate_series(1, {users}) AS n",
    "INSERT INTO provider_keys (name, provider, sealed, last_four, created_by, updated_by)"
    " SELECT 'PROVIDER_' || n, 'openai', 'sealed', 'abcd', 'bench', 'bench' FROM generate_series(1, 200) AS n",
    "INSERT INTO personal_tokens (user_id, name, role, digest, pepper_version, last_four, expires_at, created_by)"
    " SELECT u, 'token ' || n, 'user', sha256((u || ' token ' || n)::bytea), 1, 'abcd', now() + interval '90 days',"
    " 'bench' FROM generate_series(1, {users}) AS u, generate_series(1, 3) AS n",
    "INSERT INTO sessions (user_id, digest, provider, ip, user_agent, expires_at)"
    " SELECT u, sha256((u || ' session ' || n)::bytea), 'oidc', '192.0.2.1', 'Mozilla/5.0', now() + interval '1 day'"
    " FROM generate_series(1, {users}) AS u, generate_series(1, 3) AS n",
    "INSERT INTO identities (issuer, subject, user_id)"
    " SELECT 'https://sso' || n || '.example.org', 'person ' || u, u"
    " FROM generate_series(1, {users}) AS u, generate_series(1, 3) AS n",
    "INSERT INTO model_syncs (at, actor, report) SELECT now() - n * interval '5 minutes', 'sync', jsonb_build_object("
    "'seen', {models}, 'problem', NULL, 'added', '[]'::jsonb, 'changed', '[]'::jsonb, 'returned', '[]'::jsonb,"
    " 'unlisted', '[]'::jsonb, 'priced', '[]'::jsonb, 'kept_admin_prices', jsonb_build_array('model-1', 'model-2'),"
    " 'without_price', '[]'::jsonb, 'differing_prices', '[]'::jsonb, 'skipped', '[]'::jsonb, 'missing', '[]'::jsonb)"
    " FROM generate_series(1, 8640) AS n",
)


async def make_rows(url: str, users: int, calls: int) -> dict[str, int]:
    """Creates all rows in an empty database, as its owner; returns the number of each."""
    owner = await asyncpg.connect(url, command_timeout=3600)
    try:
        await migrate(owner, app_role=APP)
        await owner.execute("SET synchronous_commit = off; SET jit = off; SET work_mem = '512MB'")
        for table in SILENT:
            await owner.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        sizes = {"users": users, "teams": users // 10, "models": MODELS, "audit_rows": users * 110}
        for statement in PEOPLE:
            await _run(owner, statement.format(**sizes))
        await _make_audit_rows(owner, sizes)
        for statement in TRACES:
            await _run(owner, statement.format(**sizes))
        await _make_usage(owner, keys=users * 10, calls=calls)
        for table in SILENT:
            await owner.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")
        await _run(owner, "VACUUM (ANALYZE)")
        return {table: await owner.fetchval(f"SELECT count(*) FROM {table}") for table in COUNTED}
    finally:
        await owner.close()


async def _make_audit_rows(owner: "Connection", sizes: Mapping[str, int]) -> None:
    begun, number = time.perf_counter(), sizes["audit_rows"]
    for first in range(1, number + 1, AUDITED):
        await owner.execute(AUDIT_ROWS.format(**sizes, first=first, last=min(first + AUDITED - 1, number)))
    print(f"{time.perf_counter() - begun:6.1f} s  {number} rows of audit_logs", flush=True)


async def _make_usage(owner: "Connection", *, keys: int, calls: int) -> None:
    """Of the first keys, over 90 days up to today; sums by the database's own function."""
    _, partitions, _, rows = CALLS.read_text().split("\n---- ")
    sizes = {"days": DAYS, "keys": keys}
    await owner.execute("-- " + _with(partitions, sizes))
    await owner.execute(
        "CREATE TABLE bench_keys AS SELECT id, account_id, user_id FROM api_keys WHERE id <= " + str(keys)
    )
    await owner.execute("ALTER TABLE bench_keys ADD PRIMARY KEY (id); ANALYZE bench_keys")
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    insert, begun = "-- " + _with(rows, sizes), time.perf_counter()
    for day in range(DAYS):
        share = calls * (day + 1) // DAYS - calls * day // DAYS
        await owner.execute(insert, today - timedelta(days=DAYS - day), share)
        if day % 15 == 14:
            print(f"{time.perf_counter() - begun:6.1f} s  {calls * (day + 1) // DAYS} rows of usage_logs", flush=True)
    await owner.execute("DROP TABLE bench_keys")
    await _run(owner, "SELECT rebuild_usage_rollups('-infinity')")


async def _run(owner: "Connection", statement: str) -> None:
    begun = time.perf_counter()
    await owner.execute(statement)
    print(f"{time.perf_counter() - begun:6.1f} s  {statement[:60]}", flush=True)


def _with(text: str, sizes: Mapping[str, int]) -> str:
    # Not str.format: the text has braces.
    for name, size in sizes.items():
        text = text.replace("{" + name + "}", str(size))
    return text
