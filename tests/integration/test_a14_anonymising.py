"""Anonymising a user: their names and addresses go from everywhere, and the audit chain holds (case A14)."""

import json
from collections.abc import AsyncIterator
from typing import Any, Final

import asyncpg
import httpx2
import pytest
from admin_client import LOGIN, SECRET_KEYS, check_error
from browsers import CSRF, ME, bearer, oidc, running_admin_api
from command_line import CommandLine
from conftest import Database
from factories import ADMIN, make_model, make_team, make_user, owner_of
from identity_providers import FakeProvider, log_in

from admin_api.encryption import SecretKeys
from admin_api.operations.actors import Actor, note
from admin_api.operations.audit import verify_audit
from admin_api.operations.people import teams, users
from admin_api.operations.people.anonymise import anonymise_user
from admin_api.storage.users import User
from gateway.domain.errors import GatewayError
from gateway.storage.postgres import Pool

KEYS: Final = SecretKeys.parse(SECRET_KEYS)
# The person: the last address and name, one of before, and who they are at the identity provider.
ADDRESS: Final = "zephyrine@quill.example"
OLD_ADDRESS: Final = "zephyrine.old@quill.example"
NAME: Final = 'Zephyrine "Zé" Quillfeather'
OLD_NAME: Final = "Zephyrine"
SUBJECT: Final = "s-1-zephyrine"
# What must be nowhere afterwards, in lower case.
TRACES: Final = ("zephyrine", "quillfeather", "192.0.2.77", "telltale-browser")
# Others, whose names have the person's in them.
NEIGHBOUR: Final = "not-zephyrine@quill.example.org"
TABLES: Final = """
SELECT c.oid::regclass::text FROM pg_class c
WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace ORDER BY 1
"""
IDEMPOTENT: Final = {"idempotency-key": "made-once"}


@pytest.fixture
async def fake_provider() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as server:
        yield server


@pytest.fixture
async def owner(database: Database) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database.owner_url)
    yield connection
    await connection.close()


async def dump(owner: asyncpg.Connection) -> dict[str, list[str]]:
    """Every row of every table, as text in lower case."""
    tables = [row[0] for row in await owner.fetch(TABLES)]
    return {
        table: [row[0].lower() for row in await owner.fetch(f"SELECT t::text FROM {table} AS t")]  # noqa: S608
        for table in tables
    }


def traces_in(rows: dict[str, list[str]]) -> dict[str, list[str]]:
    """The rows that name the person, by table."""
    found = {}
    for table, texts in rows.items():
        cleaned = [text.replace(NEIGHBOUR, "") for text in texts]
        found[table] = [text for text in cleaned if any(trace in text for trace in TRACES)]
    return {table: texts for table, texts in found.items() if texts}


async def expect(answer: httpx2.Response) -> Any:
    assert answer.is_success, answer.text
    return answer.json() if answer.content else None


async def plant(admin: httpx2.AsyncClient, browser: httpx2.AsyncClient, pool: Pool, provider: FakeProvider) -> int:
    """Names and addresses of the person through every door; returns their id."""
    api = "/api/v1"
    made = await expect(
        await admin.post(f"{api}/users", json={"email": OLD_ADDRESS, "name": OLD_NAME}, headers=IDEMPOTENT)
    )
    user_id: int = made["id"]
    await expect(await admin.patch(f"{api}/users/{user_id}", json={"email": ADDRESS, "name": NAME}))
    provider.claims = {"sub": SUBJECT, "email": ADDRESS, "name": NAME}
    # Refused first, then let in.
    provider.claims["email_verified"] = False
    assert (await log_in(browser)).status_code == 403
    provider.claims["email_verified"] = True
    assert (await log_in(browser)).status_code == 302
    assert (await expect(await browser.get(ME)))["id"] == user_id
    model = await make_model(pool)
    await expect(
        await admin.patch(f"{api}/models/{model}", json={"restricted": True, "description": f"Ask {NAME} about it"})
    )
    bob = await make_user(pool, NEIGHBOUR)
    team = await make_team(pool, bob, name=f"Friends of {NAME}")
    await teams.add_member(pool, ADMIN, str(team.id), user=ADDRESS, role="owner")
    other = await make_team(pool)
    await expect(await admin.post(f"{api}/teams/{other.id}/invitations", json={"user": ADDRESS}))
    hook = {"url": "https://hooks.example.com/x", "events": ["subscription.pending", "team.invited"]}
    await expect(await admin.post(f"{api}/webhooks", json=hook))

    async def act(method: str, path: str, body: dict[str, Any]) -> Any:
        return await expect(await browser.request(method, f"{api}{path}", json=body, headers=CSRF))

    carl = await make_user(pool)
    await act("POST", f"/teams/{team.id}/invitations", {"user": carl.email})
    asked = await act("POST", "/subscriptions", {"model": model})
    reason = {"reason": f"Not yet.\n{ADDRESS}, ask <{ADDRESS.upper()}> again, says {NAME}"}
    await expect(await admin.post(f"{api}/subscriptions/{asked['id']}/deny", json=reason))
    await act("POST", f"/subscriptions/{asked['id']}/request-review", {})
    await expect(await admin.post(f"{api}/subscriptions/{asked['id']}/approve", json={}))
    key = await act(
        "POST",
        "/api-keys",
        {"models": [model], "name": "Zephyrine's laptop", "allowed_ips": ["192.0.2.77"]},
    )
    await act("POST", "/users/me/tokens", {"name": "Zephyrine's script"})
    limit = {"level": "key", "id": key["id"], "kind": "requests", "window": "day", "amount": 7}
    limit_id = (await expect(await admin.put(f"{api}/limits", json=limit)))["id"]
    boost = {"amount": 9, "expires_at": "2099-01-01T00:00:00Z", "reason": f"for {NAME}"}
    await expect(await admin.post(f"{api}/admin/limits/{limit_id}/boost", json=boost))
    insert = (
        "INSERT INTO alerts (account_id, user_id, level, scope, kind, window_kind, window_start, threshold, used, "
        "amount, about, acknowledged_by) VALUES ($1, $2, 'key', 'k', 'tokens', 'day', now(), 80, 8, 10, $3, $4)"
    )
    await pool.execute(insert, made["account_id"], user_id, json.dumps({"user": ADDRESS, "name": OLD_NAME}), ADDRESS)
    await pool.execute("UPDATE deliveries SET last_error = '550 no such user ' || $1", ADDRESS)
    await pool.execute("UPDATE sessions SET ip = '192.0.2.77', user_agent = 'telltale-browser'")
    reason = f"{NAME} is on leave"
    await pool.execute("UPDATE users SET status_reason = $2 WHERE id = $1", user_id, reason)
    await pool.execute("UPDATE accounts SET status_reason = $2 WHERE id = $1", made["account_id"], reason)
    refused = (
        "INSERT INTO refused_calls (request_id, at, account_id, user_id, api_key_id, model_asked, status, code,"
        " message, details) VALUES (gen_random_uuid(), now(), $1, $2, 1, 'zephyrine', 403, 'account_suspended',"
        " $3, '{}')"
    )
    await pool.execute(refused, made["account_id"], user_id, reason)
    async with pool.acquire() as connection, connection.transaction():
        person = Actor(name=ADDRESS, role="admin", user_id=user_id, ip="192.0.2.77", via=f"of {ADDRESS}.")
        await note(connection, person, "user.update", "user", bob.id, old={"name": "x"}, new={"name": "y"})
        text = {"message": f"'{ADDRESS}' is deactivated", "link": f"https://x/?who={ADDRESS.replace('@', '%40')}"}
        await note(connection, ADMIN, "login.refuse", "login", "oidc", new=text)
    return user_id


async def test_a14_an_anonymised_users_names_are_nowhere(
    database: Database, pool: Pool, owner: asyncpg.Connection, fake_provider: FakeProvider
) -> None:
    async with (
        running_admin_api(database, **oidc(fake_provider.url)) as new_browser,
        new_browser() as browser,
        new_browser() as admin,
    ):
        admin.headers.update(LOGIN)
        user_id = await plant(admin, browser, pool, fake_provider)
        planted = traces_in(await dump(owner))
        neighbours = {table: sum(NEIGHBOUR in row for row in rows) for table, rows in (await dump(owner)).items()}
        assert (await verify_audit(pool, ADMIN)).findings == ()

        done = await expect(await admin.post(f"/api/v1/users/{ADDRESS}/anonymise"))

        left = traces_in(await dump(owner))
        after = {table: sum(NEIGHBOUR in row for row in rows) for table, rows in (await dump(owner)).items()}
        kept_out = await browser.get(ME)
        again = await admin.post("/api/v1/users", json={"email": OLD_ADDRESS, "name": OLD_NAME}, headers=IDEMPOTENT)
        shown = [await admin.get(path) for path in paths_of(user_id)]
        check = await verify_audit(pool, ADMIN)
        new_login = await log_in(browser)
        new_self = await expect(await browser.get(ME))

    # Nothing is tested that was not planted.
    assert set(planted) >= {
        "accounts", "alerts", "api_keys", "audit_logs", "deliveries", "identities", "limits", "models",
        "refused_calls",
        "personal_tokens", "sessions", "subscription_history", "users",
    }  # fmt: skip
    assert left == {}
    assert after == neighbours
    assert sum(neighbours.values()) > 3
    for answer in shown:
        assert answer.status_code == 200, answer.text
        assert not [trace for trace in TRACES if trace in answer.text.lower().replace(NEIGHBOUR, "")], answer.url
    assert check.findings == ()
    user = done["user"]
    assert (user["email"], user["name"], user["status"]) == (f"anonymised-{user_id}@users.invalid", "", "deactivated")
    counts = ("sessions", "identities", "teams", "tokens", "keys", "subscriptions", "answers")
    assert {name: done[name] for name in counts} == dict.fromkeys(counts, 1)
    check_error(kept_out, 401, "not_authenticated")
    # An answer with the name is not given again, and nothing is made twice.
    check_error(again, 409, "conflict")
    # At the provider they are who they were: here they are new, with nothing of what was theirs.
    assert new_login.status_code == 302
    assert (new_self["id"] > user_id, new_self["email"], new_self["role"]) == (True, ADDRESS, "user")


def paths_of(user_id: int) -> list[str]:
    """What shows users, and what was theirs."""
    api = "/api/v1"
    lists = ("users", "teams", "models", "subscriptions", "api-keys", "limits", "webhooks", "admin/alerts")
    more = (
        "admin/audit",
        f"admin/audit?about=user:{user_id}",
        "admin/audit/export",
        "admin/deliveries",
        "usage/breakdown/user",
        f"users/{user_id}",
        f"users/{user_id}/tokens",
        f"users/{user_id}/identities",
        f"users/{user_id}/sessions",
        "subscriptions/1",
    )
    return [f"{api}/{path}" for path in (*lists, *more)]


async def make_person(pool: Pool) -> User:
    """With three audit rows: two about them, one of theirs."""
    user = await users.create_user(pool, ADMIN, email=ADDRESS, name=NAME)
    await users.update_self(pool, owner_of(user), name=OLD_NAME)
    return await users.update_user(pool, ADMIN, ADDRESS, role="admin-readonly")


UNTRIGGERED: Final = "ALTER TABLE audit_logs DISABLE TRIGGER USER; {}; ALTER TABLE audit_logs ENABLE TRIGGER USER"
# What an owner of the database could do to the erased rows, and what `verify` says of them.
TAMPERINGS: Final[dict[str, tuple[str, set[tuple[str, int]]]]] = {
    "change an erased row": ("UPDATE audit_logs SET actor = 'x' WHERE id = 2", {("changed", 2)}),
    "take away what is left of it": (
        "DELETE FROM audit_erasures WHERE audit_id = 2",
        {("names_erased", 1), ("names_erased", 2)},
    ),
    "erase another row": (
        "UPDATE audit_logs SET actor = 'x' WHERE id = 3; UPDATE audit_chain SET salt = NULL WHERE audit_id = 3;"
        " INSERT INTO audit_erasures (user_id, audit_id, salt, names)"
        " SELECT 1, 3, 's', hash_of_names('s', a) FROM audit_logs a WHERE a.id = 3",
        {("names_erased", 1), ("names_erased", 2), ("names_erased", 3)},
    ),
    "erase as of a user who was not anonymised": (
        "UPDATE audit_logs SET actor = 'x' WHERE id = 3; UPDATE audit_chain SET salt = NULL WHERE audit_id = 3;"
        " INSERT INTO audit_erasures (user_id, audit_id, salt, names)"
        " SELECT 7, 3, 's', hash_of_names('s', a) FROM audit_logs a WHERE a.id = 3",
        {("names_erased", 3)},
    ),
    "change the act": (
        "UPDATE audit_logs SET new = new - 'digest' WHERE action = 'user.anonymise'",
        {("changed", 4), ("names_erased", 1), ("names_erased", 2)},
    ),
}


@pytest.mark.parametrize("kind", TAMPERINGS)
async def test_a14_tampering_with_erased_rows_is_found(pool: Pool, owner: asyncpg.Connection, kind: str) -> None:
    await make_person(pool)
    await anonymise_user(pool, ADMIN, KEYS, ADDRESS)
    assert (await verify_audit(pool, ADMIN)).findings == ()
    statements, expected = TAMPERINGS[kind]

    await owner.execute(UNTRIGGERED.format(statements))

    assert {(one.fault, one.audit_id) for one in (await verify_audit(pool, ADMIN)).findings} == expected


async def test_a14_an_erased_name_cannot_be_guessed_back(pool: Pool, owner: asyncpg.Connection) -> None:
    await make_person(pool)
    await anonymise_user(pool, ADMIN, KEYS, ADDRESS)

    salts = await owner.fetch(
        "SELECT c.salt FROM audit_chain c JOIN audit_erasures e ON e.audit_id = c.audit_id WHERE e.user_id = 1"
    )

    assert [row["salt"] for row in salts] == [None, None]


async def test_a14_two_users_of_one_row_are_anonymised_one_after_the_other(
    pool: Pool, owner: asyncpg.Connection
) -> None:
    ann, bob = await make_user(pool, "ann@example.org"), await make_user(pool, "bob@example.org")
    async with pool.acquire() as connection, connection.transaction():
        await note(connection, owner_of(ann), "team.add_member", "team", 1, new={"email": bob.email})

    for user in (ann, bob):
        await anonymise_user(pool, ADMIN, KEYS, user.email)

    row = await pool.fetchrow("SELECT actor, new FROM audit_logs WHERE action = 'team.add_member'")
    assert (row["actor"], row["new"]) == ("anonymised-1@users.invalid", '{"email": "anonymised-2@users.invalid"}')
    assert (await verify_audit(pool, ADMIN)).findings == ()
    assert await owner.fetchval("SELECT count(*) FROM audit_erasures WHERE salt IS NULL") == 1


async def test_a14_the_app_cannot_erase_what_no_act_says(pool: Pool) -> None:
    await make_person(pool)

    await pool.fetch("SELECT erase_names_of_user(1)")

    assert {one.fault for one in (await verify_audit(pool, ADMIN)).findings} == {"names_erased"}
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await pool.execute("SET litemaas.erases_names = 'on'; UPDATE audit_logs SET actor = 'x'")


async def test_a14_short_names_are_replaced_only_in_what_is_the_users(pool: Pool) -> None:
    mark = await users.create_user(pool, ADMIN, email="mark@example.org", name="Mark")
    await users.create_user(pool, ADMIN, email="will@example.org", name="Mark")
    model = await make_model(pool)
    await pool.execute("UPDATE models SET description = 'Mark the day; write to mark@example.org.eu'")

    await anonymise_user(pool, ADMIN, KEYS, mark.email)

    assert await pool.fetchval("SELECT description FROM models WHERE name = $1", model) == (
        "Mark the day; write to mark@example.org.eu"
    )
    rows = await pool.fetch("SELECT new ->> 'name' AS name FROM audit_logs WHERE action = 'user.create' ORDER BY id")
    assert [row["name"] for row in rows] == ["anonymised-1@users.invalid", "Mark"]


async def test_a14_who_cannot_be_anonymised(pool: Pool) -> None:
    boss = await make_user(pool, "boss@example.org", role="admin")
    ann = await make_user(pool, "ann@example.org")
    self = Actor(name=boss.email, role="admin", user_id=boss.id)
    codes = []
    for actor, who in ((self, boss), (ADMIN, boss), (owner_of(ann), ann), (ADMIN, ann), (ADMIN, ann)):
        try:
            await anonymise_user(pool, actor, KEYS, str(who.id))
            codes.append("done")
        except GatewayError as error:
            codes.append(error.code)

    assert codes == ["conflict", "conflict", "forbidden", "done", "conflict"]
    for change in ({"status": "active"}, {"role": "admin"}, {"email": "ann@example.org"}, {"name": "Ann"}):
        with pytest.raises(GatewayError, match="anonymised, which is for good"):
            await users.update_user(pool, ADMIN, str(ann.id), **change)


async def test_a14_a_token_of_before_makes_no_new_user(database: Database, fake_provider: FakeProvider) -> None:
    settings = oidc(fake_provider.url, jwt_audience="litemaas")

    def token(issued_s_ago: int) -> dict[str, str]:
        claims = fake_provider.all_claims()
        return bearer(fake_provider.keys[0].sign(claims | {"iat": claims["iat"] - issued_s_ago}))

    async with running_admin_api(database, **settings) as new_browser, new_browser() as script:
        first = await expect(await script.get(ME, headers=token(60)))
        await expect(await script.post(f"/api/v1/users/{first['id']}/anonymise", headers=LOGIN))
        stale = await script.get(ME, headers=token(60))
        fresh = await expect(await script.get(ME, headers=token(-2)))

    check_error(stale, 403, "forbidden")
    assert fresh["id"] != first["id"]


async def test_a14_the_command_anonymises(database: Database, pool: Pool) -> None:
    command_line = CommandLine({"LITEMAAS_DATABASE_URL": database.app_url, "LITEMAAS_SECRET_KEYS": SECRET_KEYS})
    user = await make_person(pool)

    asked = await command_line.run("users", "anonymise", ADDRESS)
    done = (await command_line.run("users", "anonymise", ADDRESS, "--yes", "--json")).json()
    verified = await command_line.run("audit", "verify")

    assert asked.code == 1
    assert (done["user"]["id"], done["user"]["anonymised_at"] is None) == (user.id, False)
    assert verified.code == 0, verified.out
