"""When keys were last used and users last logged in: shown, filtered, and written seldom (case A14)."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx2
import pytest
from browsers import ME, bearer, oidc, running_admin_api
from command_line import CommandLine
from conftest import Database
from factories import ADMIN, PEPPERS, make_key, make_model, make_team, make_token, make_user
from identity_providers import FakeProvider, log_in
from usage_rows import make_usage_row, write_rows

from admin_api.operations import subscriptions
from admin_api.operations.keys import keys
from admin_api.operations.people import teams
from gateway.storage.postgres import Pool

NOW = datetime.now(UTC).replace(microsecond=0)
AGE = "UPDATE api_key_uses SET idle_since = $2 WHERE api_key_id = $1"


@pytest.fixture
async def fake_provider() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as server:
        yield server


async def use(pool: Pool, key: keys.NewKey, at: datetime) -> None:
    """A call with the key."""
    row = make_usage_row(at, account_id=key.row.account_id, user_id=key.row.user_id, api_key_id=key.row.id)
    await write_rows(pool, [row])


async def key_of_another(pool: Pool) -> keys.NewKey:
    """Of a new user, for the model that is there."""
    user = await make_user(pool)
    await subscriptions.create_subscription(pool, ADMIN, model="small", user=user.email)
    return await make_key(pool, user)


async def ids(admin: httpx2.AsyncClient, path: str = "api-keys", **asked: Any) -> list[int]:
    """Of all pages, of two rows each."""
    found, more = [], {}
    login = asked.pop("login", {})
    while True:
        answer = await admin.get(f"/api/v1/{path}", params={"limit": 2} | asked | more, headers=login)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += [row["id"] for row in page["rows"]]
        if page["next_cursor"] is None:
            return found
        more = {"cursor": page["next_cursor"]}


async def test_a14_a_key_shows_its_last_use_to_the_hour(admin: httpx2.AsyncClient, pool: Pool) -> None:
    key = await make_key(pool)
    path = f"/api/v1/api-keys/{key.row.id}"
    unused = await admin.get(path)
    seen = []
    for minutes in (0, 59, 61, -300):
        await use(pool, key, NOW - timedelta(hours=5) + timedelta(minutes=minutes))
        seen.append((await admin.get(path)).json()["last_used_at"])
    used = await admin.get(path)

    first, second = ((NOW - timedelta(hours=5) + timedelta(minutes=m)).isoformat() for m in (0, 61))
    assert unused.json()["last_used_at"] is None
    # The second call is of the same hour, the last one of before.
    assert [datetime.fromisoformat(one).isoformat() for one in seen] == [first, first, second, second]
    # Its use is no change of the key.
    assert used.headers["etag"] == unused.headers["etag"]


async def test_a14_the_use_of_a_key_tells_gateways_nothing(pool: Pool, database: Database) -> None:
    key = await make_key(pool)
    heard: list[str] = []
    listener = await asyncpg.connect(database.app_url)
    await listener.add_listener("litemaas_changes", lambda *values: heard.append(str(values[-1])))
    await use(pool, key, NOW)
    await pool.execute("SELECT pg_notify('litemaas_changes', 'end')")
    while "end" not in heard:
        await listener.fetchval("SELECT pg_sleep(0.01)")
    await listener.close()

    assert await pool.fetchval("SELECT last_used_at FROM api_key_uses") is not None
    assert heard == ["end"]


async def test_a14_unused_keys_are_listed_longest_first(admin: httpx2.AsyncClient, pool: Pool) -> None:
    ann = await make_user(pool, "ann@example.org")
    model = await make_model(pool)
    await subscriptions.create_subscription(pool, ADMIN, model=model, user=ann.email)
    made = [await make_key(pool, ann) for _ in range(6)]
    team = await make_team(pool, name="red")
    await teams.add_member(pool, ADMIN, "red", user=ann.email, role="owner")
    await subscriptions.create_subscription(pool, ADMIN, model=model, team="red")
    in_team = keys.KeyInput(models=[model], team="red", user=ann.email)
    made.append(await keys.create_key(pool, ADMIN, PEPPERS, in_team))
    made.append(await key_of_another(pool))
    # Days without use; the second is used today, the third revoked.
    for key, days in zip(made, (100, 200, 300, 95, 95, 10, 150, 400), strict=True):
        await pool.execute(AGE, key.row.id, NOW - timedelta(days=days))
    await use(pool, made[1], NOW)
    await keys.revoke_key(pool, ADMIN, made[2].row.id)
    numbers = [key.row.id for key in made]
    before = (NOW - timedelta(days=90)).isoformat()
    login = bearer((await make_token(pool, ann)).secret)

    every = await ids(admin, last_used_before=before)
    own = await ids(admin, last_used_before=before, login=login)
    of_ann = await ids(admin, last_used_before=before, user=ann.email)
    of_team = await ids(admin, last_used_before=before, team="red")
    odd = await admin.get("/api/v1/api-keys", params={"last_used_before": before, "archived": True})
    wrong = [
        await admin.get("/api/v1/api-keys", params={"last_used_before": before, "cursor": cursor})
        for cursor in ("7", "x.1", "1.x", f"{2**63 - 1}.1", "1.2.3")
    ]

    expected = [numbers[n] for n in (7, 6, 0, 3, 4)]
    assert every == expected
    assert own == of_ann == expected[1:]
    assert of_team == [numbers[6]]
    assert team.id
    assert [answer.status_code for answer in (odd, *wrong)] == [422] * 6


async def test_a14_a_login_is_shown_and_users_without_one_are_found(
    database: Database, pool: Pool, fake_provider: FakeProvider
) -> None:
    bob, carl = await make_user(pool, "bob@example.org"), await make_user(pool, "carl@example.org")
    settings = oidc(fake_provider.url, jwt_audience="litemaas")
    async with (
        running_admin_api(database, **settings) as new_browser,
        new_browser() as browser,
        new_browser() as script,
        new_browser() as admin,
    ):
        await log_in(browser)
        ann = (await browser.get(ME)).json()
        await pool.execute("UPDATE users SET last_login_at = now() - interval '2 hours' WHERE id = $1", ann["id"])
        token = bearer(fake_provider.keys[0].sign(fake_provider.all_claims()))
        by_jwt = [(await script.get(ME, headers=token)).json()["last_login_at"] for _ in range(2)]
        await pool.execute("UPDATE users SET created_at = now() - interval '100 days' WHERE id = $1", bob.id)
        await pool.execute("UPDATE users SET last_login_at = now() - interval '200 days' WHERE id = $1", carl.id)
        before = (NOW - timedelta(days=90)).isoformat()
        admin.headers["authorization"] = "Bearer " + (await make_token(pool, await make_boss(pool))).secret
        found = await ids(admin, "users", last_login_before=before)
        active = await ids(admin, "users", last_login_before=before, status="deactivated")

    assert ann["last_login_at"] is not None
    assert by_jwt[1] == by_jwt[0] > ann["last_login_at"]
    assert (found, active) == ([carl.id, bob.id], [])


async def make_boss(pool: Pool) -> Any:
    return await make_user(pool, "boss@example.org", role="admin")


async def test_a14_commands_list_what_is_unused(database: Database, pool: Pool) -> None:
    command_line = CommandLine({"LITEMAAS_DATABASE_URL": database.app_url})
    old = await make_key(pool)
    new = await key_of_another(pool)
    await pool.execute(AGE, old.row.id, NOW - timedelta(days=91))
    await pool.execute("UPDATE users SET created_at = now() - interval '100 days' WHERE id = $1", old.row.user_id)

    listed = (await command_line.run("keys", "list", "--unused-for", "90d", "--json")).json()["rows"]
    people = (await command_line.run("users", "list", "--no-login-for", "12w", "--json")).json()["rows"]
    wrong = [await command_line.run("keys", "list", "--unused-for", age) for age in ("90", "d", "9999999d", "-1d")]

    assert [row["id"] for row in listed] == [old.row.id] != [new.row.id]
    assert [row["id"] for row in people] == [old.row.user_id]
    assert [one.code for one in wrong] == [2, 2, 2, 2]
