"""Keys of sessions at a real gateway: they work as a key of the user, end with the session, and nobody sees them."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import aiohttp
import httpx2
import pytest
from admin_client import LOGIN, ROUTES, settings_for
from browsers import bearer
from callers import chat_body
from factories import ADMIN, PEPPERS, make_subscription, make_token, make_user
from gateways import Backends, GatewayThread, Ledger

from admin_api.encryption import SecretKeys
from admin_api.main import create_app
from admin_api.operations.actors import Actor
from admin_api.operations.keys import keys
from admin_api.operations.keys.session_keys import SessionKeys, open_session_key
from admin_api.operations.limits import limits
from admin_api.operations.limits.limits import LimitInput
from admin_api.operations.people import sessions, users
from admin_api.operations.runtime_settings import update_settings
from admin_api.operations.usage.reports import break_down
from admin_api.operations.usage.scope import UsageFilter
from admin_api.storage.users import User
from gateway.domain.errors import GatewayError
from gateway.domain.keys import is_well_formed
from gateway.storage.postgres import Pool

MODEL = "demo-chat"
OLD, NEW = "1:" + "0123456789abcdef" * 4, "2:" + "fedcba9876543210" * 4
MADE = SessionKeys(PEPPERS, SecretKeys.parse(OLD), 3600.0)
TIMES = sessions.SessionTimes(idle_s=3600, lifetime_s=7200)


@dataclass(frozen=True, slots=True)
class Browser:
    """A session of a user."""

    pool: Pool
    user: User
    actor: Actor
    cookie: str

    async def key(self, made: SessionKeys = MADE) -> str:
        return await open_session_key(self.pool, self.actor, made, self.cookie)


async def log_in(pool: Pool, user: User) -> Browser:
    cookie = await sessions.open_session(
        pool, PEPPERS, MADE.secret_keys, user, provider="oidc", times=TIMES, request_id=None, ip=None, user_agent=None
    )
    actor = await sessions.log_in_by_session(pool, PEPPERS, MADE.secret_keys, cookie, TIMES, request_id=None, ip=None)
    return Browser(pool, user, actor, cookie)


@pytest.fixture
async def ana(pool: Pool) -> Browser:
    user = await make_user(pool)
    await make_subscription(pool, user, MODEL)
    return await log_in(pool, user)


@pytest.fixture
def call(gateway: GatewayThread, http: aiohttp.ClientSession) -> Callable[..., Any]:
    async def call(key: str, model: str = MODEL) -> tuple[int, str]:
        body = chat_body("Hi [tokens=3]", model=model)
        async with http.post(f"{gateway.url}/v1/chat/completions", json=body, headers=bearer(key)) as answer:
            return answer.status, ((await answer.json()).get("error") or {}).get("code", "")

    return call


async def test_calls_are_the_users_own(
    ana: Browser, call: Callable[..., Any], ledger: Ledger, pool: Pool, gateway: GatewayThread
) -> None:
    key = await ana.key()

    assert is_well_formed(key)
    assert await call(key) == (200, "")
    assert await call(key, "demo-chat-large") == (404, "model_not_found")
    row = await ledger.row(ana.user.account_id)
    assert (row["user_id"], row["cost_nano_usd"] > 0) == (ana.user.id, True)
    asked = UsageFilter(user=str(ana.user.id), period="today")
    (group,) = (await break_down(pool, ana.actor, asked, by="key")).groups
    assert (group.name, group.sums.cost_nano_usd) == ("Playground", row["cost_nano_usd"])

    # A model that is subscribed to later is the key's too.
    await make_subscription(pool, ana.user, "demo-chat-large")
    await gateway.wait_for_changes(pool)
    assert await call(key, "demo-chat-large") == (200, "")


async def test_a_new_login_does_not_begin_its_limits_again(
    ana: Browser, call: Callable[..., Any], pool: Pool, gateway: GatewayThread
) -> None:
    await update_settings(pool, ADMIN, {"key_maximum_rpm": 2, "user_maximum_keys": 1})
    try:
        first = await ana.key()
        second = await (await log_in(pool, ana.user)).key()
        assert first != second

        answers = [await call(key) for key in (first, second, second, first)]

        assert answers[:2] == [(200, "")] * 2
        assert (429, "rate_limit_exceeded") in answers[2:]
        # It takes no place among the user's keys.
        own = await keys.create_key(pool, ana.actor, PEPPERS, keys.KeyInput(models=[MODEL]))
        assert [row.id for row in (await keys.list_keys(pool, ana.actor)).rows] == [own.row.id]
    finally:
        await update_settings(pool, ADMIN, {"key_maximum_rpm": None, "user_maximum_keys": None})


async def test_limits_of_the_user_hold(
    ana: Browser, call: Callable[..., Any], pool: Pool, gateway: GatewayThread
) -> None:
    key = await ana.key()
    assert (await call(key))[0] == 200
    none_left = LimitInput(kind="requests", window="day", amount=1, confirmed=True)
    await limits.set_limit(pool, ADMIN, none_left, level="user", target=str(ana.user.id), model=None, team=None)
    await gateway.wait_for_changes(pool)

    assert await call(key) == (429, "insufficient_quota")


async def test_it_ends_with_its_session(
    ana: Browser, call: Callable[..., Any], pool: Pool, gateway: GatewayThread
) -> None:
    second, third = await log_in(pool, ana.user), await log_in(pool, ana.user)
    opened = [await browser.key() for browser in (ana, second, third)]

    async def statuses() -> list[int]:
        await gateway.wait_for_changes(pool)
        return [(await call(key))[0] for key in opened]

    assert await statuses() == [200, 200, 200]
    await sessions.end_sessions(pool, ana.actor)
    assert await statuses() == [401, 200, 200]
    await sessions.end_sessions_of(pool, ADMIN, str(ana.user.id), session_id=second.actor.session_id)
    assert await statuses() == [401, 401, 200]
    await users.update_user(pool, ADMIN, str(ana.user.id), status="deactivated")
    assert await statuses() == [401, 401, 401]
    with pytest.raises(GatewayError, match="deactivated"):
        await third.key()
    await users.update_user(pool, ADMIN, str(ana.user.id), status="active")
    assert await statuses() == [401, 401, 401]
    for browser in (ana, second, third):
        with pytest.raises(GatewayError, match="Log in again"):
            await browser.key()


async def test_it_is_renewed_by_use_and_no_longer_than_the_session(
    ana: Browser, call: Callable[..., Any], pool: Pool, gateway: GatewayThread
) -> None:
    async def left() -> timedelta:
        sql = "SELECT expires_at - now() FROM session_keys WHERE session_id = $1"
        shown: timedelta = await pool.fetchval(sql, ana.actor.session_id)
        return shown

    async def move(seconds: int) -> None:
        sql = "UPDATE session_keys SET expires_at = expires_at - make_interval(secs => $2) WHERE session_id = $1"
        await pool.execute(sql, ana.actor.session_id, seconds)
        await gateway.wait_for_changes(pool)

    key = await ana.key()
    hour, minute = timedelta(hours=1), timedelta(minutes=1)
    assert hour - minute < await left() <= hour
    await move(1500)
    assert await ana.key() == key
    assert await left() < hour / 1.5, "fresh enough: nothing is written"
    await move(600)
    assert await ana.key() == key
    assert hour - minute < await left() <= hour

    await move(3700)
    assert await call(key) == (401, "api_key_expired")
    assert await ana.key() == key
    await gateway.wait_for_changes(pool)
    assert (await call(key))[0] == 200

    # The session has half an hour left.
    await pool.execute("UPDATE sessions SET expires_at = now() + interval '30 min' WHERE id = $1", ana.actor.session_id)
    await move(3500)
    await ana.key()
    assert await left() <= timedelta(minutes=30)


async def test_a_new_secret_key_of_the_deployment_keeps_keys_until_all_replicas_have_it(ana: Browser) -> None:
    both = replace(MADE, secret_keys=SecretKeys.parse(f"{OLD},{NEW}"))

    first = await ana.key()

    assert await ana.key(both) == first
    assert await ana.key(replace(MADE, secret_keys=SecretKeys.parse(NEW))) != first


async def test_only_cookie_and_deployment_together_make_it(ana: Browser, pool: Pool) -> None:
    ben = await log_in(pool, ana.user)

    with pytest.raises(GatewayError, match="have logged in"):
        await open_session_key(pool, replace(ana.actor, session_id=None), MADE, ana.cookie)
    key = await ana.key()
    assert key != await ben.key()
    tables = ("api_keys", "session_keys", "sessions", "audit_logs")
    stored = [str(await pool.fetch(f"SELECT * FROM {table}")) for table in tables]  # noqa: S608  names from here
    assert not [text for text in stored if key in text or key[6:] in text]


async def test_no_route_shows_or_changes_it(
    ana: Browser, call: Callable[..., Any], pool: Pool, backends: Backends, ledger: Ledger
) -> None:
    key = await ana.key()
    await call(key)
    await ledger.row(ana.user.account_id)
    key_id = await pool.fetchval("SELECT id FROM api_keys WHERE user_id = $1 AND kind = 'session'", ana.user.id)
    about = {"redis_url": backends.valkey.url()}
    app = create_app(settings_for(backends.database.app_url, **about))
    own = f"/api/v1/api-keys/{key_id}"
    acts = [("GET", own), ("PATCH", own), ("DELETE", own)]
    acts += [("POST", f"{own}/{act}") for act in ("rotate", "archive", "unarchive")]
    lists = [path for method, path in ROUTES if method == "GET" and "{" not in path and path.startswith("/api/v1")]
    async with app.router.lifespan_context(app):
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://admin") as admin:
            for login in (LOGIN, bearer((await make_token(pool, ana.user)).secret)):
                answers = {path: (await admin.get(path, headers=login)).text for path in lists}
                assert not [path for path, text in answers.items() if key in text]
                shown = json.loads(answers["/api/v1/api-keys"])["rows"]
                assert key_id not in [one["id"] for one in shown]
                codes = [
                    (
                        await admin.request(method, path, headers=login, json={} if method == "PATCH" else None)
                    ).status_code
                    for method, path in acts
                ]
                assert codes == [404] * len(acts)
    assert await pool.fetchval("SELECT ended FROM api_key_uses WHERE api_key_id = $1", key_id)
    assert await pool.fetchval("SELECT last_used_at FROM api_key_uses WHERE api_key_id = $1", key_id) is not None
