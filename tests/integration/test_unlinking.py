"""A user with a recreated identity: refused, unlinked by an admin, and then the same user again."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from admin_client import SECRET_KEYS, check_error
from browsers import ME, bearer, oidc, running_admin_api
from command_line import CommandLine
from conftest import Database
from factories import ADMIN, PEPPERS, READER, make_key, make_model, make_subscription, make_token, make_user, owner_of
from identity_providers import PLANTED_SECRET, FakeProvider, OpenShift, log_in

from admin_api.encryption import SecretKeys
from admin_api.operations.people import identities, users
from admin_api.operations.people.logins import Person, RoleRules, admit_person
from admin_api.operations.people.sessions import SessionTimes, open_session
from admin_api.routes import auth
from admin_api.storage.users import User
from gateway.domain.errors import GatewayError
from gateway.storage.postgres import Pool

ANN = "ann@example.org"
RULES = RoleRules(group_roles={"bosses": "admin"}, initial_admins=())


@pytest.fixture
async def fake_provider() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as server:
        yield server


def settings(fake_provider: FakeProvider) -> dict[str, Any]:
    return oidc(fake_provider.url, jwt_audience="litemaas-api", group_roles="bosses:admin")


def token(fake_provider: FakeProvider, subject: str, *, age_s: int = 0, **claims: Any) -> dict[str, str]:
    now = int(time.time())
    about = fake_provider.all_claims(aud="litemaas-api", sub=subject, iat=now - age_s, exp=now + 3600) | claims
    return bearer(fake_provider.keys[0].sign({name: value for name, value in about.items() if value is not None}))


async def identity_of(pool: Pool, user: str = ANN) -> int:
    (row,) = (await identities.list_identities(pool, READER, user)).rows
    return row.id


async def unlink(pool: Pool, user: str = ANN) -> None:
    await identities.unlink_identity(pool, ADMIN, user, await identity_of(pool, user))


async def link(pool: Pool, user: User, subject: str = "ann", issuer: str = "https://sso") -> int:
    insert = "INSERT INTO identities (issuer, subject, user_id) VALUES ($1, $2, $3) RETURNING id"
    identity_id: int = await pool.fetchval(insert, issuer, subject, user.id)
    return identity_id


async def test_a_recreated_identity_is_the_same_user_after_an_admin_unlinked_the_old_one(
    database: Database, pool: Pool, fake_provider: FakeProvider
) -> None:
    admin = bearer((await make_token(pool, await make_user(pool, role="admin"))).secret)
    async with (
        running_admin_api(database, **settings(fake_provider)) as new_browser,
        new_browser() as old,
        new_browser() as new,
    ):
        await log_in(old)
        was = (await old.get(ME)).json()
        ann = await users.find_user(pool, ADMIN, ANN)
        await make_subscription(pool, ann, await make_model(pool))
        key = (await make_key(pool, ann)).row.id

        fake_provider.claims = {"sub": "ann-2"}
        refused = await log_in(new)
        place = f"/api/v1/users/{ANN}/identities"
        async with new_browser() as client:
            (seen,) = (await client.get(place, headers=admin)).json()["rows"]
            gone = await client.delete(f"{place}/{seen['id']}", headers=admin)
            again = await client.delete(f"{place}/{seen['id']}", headers=admin)
        stays = await old.get(ME)
        back = await log_in(new)
        now = (await new.get(ME)).json()
        keys = (await new.get("/api/v1/api-keys")).json()["rows"]

        fake_provider.claims = {"sub": "ann"}
        former = [await log_in(old), await new_browser().get(ME, headers=token(fake_provider, "ann"))]
        inside = await new_browser().get(ME, headers=token(fake_provider, "ann-2"))

    check_error(refused, 403, "forbidden")
    assert "ask an admin to unlink" in refused.json()["error"]["message"]
    assert (seen["issuer"], seen["subject"], seen["user_id"]) == (fake_provider.url, "ann", was["id"])
    assert gone.status_code == 204
    check_error(again, 404, "not_found")
    check_error(stays, 401, "not_authenticated")
    assert (back.status_code, now["id"], [row["id"] for row in keys]) == (302, was["id"], [key])
    for answer in former:
        check_error(answer, 403, "forbidden")
    assert inside.json()["id"] == was["id"]
    rows = await pool.fetch("SELECT user_id, subject FROM identities")
    assert [tuple(row) for row in rows] == [(was["id"], "ann-2")]
    reported = "SELECT target_id, old->>'issuer', old->>'subject' FROM audit_logs WHERE action = 'user.unlink'"
    assert [tuple(row) for row in await pool.fetch(reported)] == [(str(was["id"]), fake_provider.url, "ann")]


async def test_a_recreated_openshift_user_is_the_same_user_after_unlinking(database: Database, pool: Pool) -> None:
    async with OpenShift() as cluster:
        about = {"openshift_url": cluster.url, "openshift_api_url": cluster.url, "openshift_client_id": "litemaas"}
        about |= {"openshift_client_secret": PLANTED_SECRET}
        seen = []
        async with running_admin_api(database, **about) as new_browser, new_browser() as browser:
            await log_in(browser)
            first = (await browser.get(ME)).json()
            for uid in ("u-2", "u-2", "u-1"):
                cluster.user["metadata"]["uid"] = uid
                if seen == [403]:
                    await unlink(pool, first["email"])
                seen.append((await log_in(browser)).status_code)
            again = (await browser.get(ME)).json()

    assert seen == [403, 302, 403]
    assert again["id"] == first["id"]


async def test_tokens_issued_before_an_unlinking_link_no_user(
    database: Database, pool: Pool, fake_provider: FakeProvider
) -> None:
    boss = token(fake_provider, "ann", age_s=60, groups=["bosses"])
    undated = token(fake_provider, "ann", iat=None, groups=["bosses"])
    async with running_admin_api(database, **settings(fake_provider)) as new_browser, new_browser() as client:
        await make_user(pool, "other@example.org", role="admin")
        assert (await client.get(ME, headers=boss)).json()["role"] == "admin"
        await unlink(pool)
        for login in (boss, undated):
            check_error(await client.get(ME, headers=login), 403, "forbidden")
        assert await pool.fetchval("SELECT count(*) FROM identities") == 0
        assert (await client.get(ME, headers=token(fake_provider, "ann-2"))).json()["role"] == "user"


async def test_unlinking_removes_a_group_role_and_keeps_an_assigned_one(pool: Pool) -> None:
    await make_user(pool, "other@example.org", role="admin")
    roles = []
    for email, assigned in ((ANN, "user"), ("pat@example.org", "admin-readonly")):
        user = await make_user(pool, email, role=assigned)
        await link(pool, user, email)
        await pool.execute("UPDATE users SET role = 'admin', group_role = 'admin' WHERE id = $1", user.id)
        await unlink(pool, email)
        now = await users.find_user(pool, ADMIN, email)
        roles.append((now.role, now.group_role))

    assert roles == [("user", None), ("admin-readonly", None)]
    changes = "SELECT old->>'role', new->>'role' FROM audit_logs WHERE action = 'user.update' ORDER BY id"
    assert [tuple(row) for row in await pool.fetch(changes)] == [("admin", "user"), ("admin", "admin-readonly")]


async def test_the_last_admin_by_group_cannot_be_unlinked(pool: Pool) -> None:
    ann = await make_user(pool, ANN)
    identity_id = await link(pool, ann)
    await pool.execute("UPDATE users SET role = 'admin', group_role = 'admin' WHERE id = $1", ann.id)

    with pytest.raises(GatewayError, match="last active admin") as refused:
        await identities.unlink_identity(pool, ADMIN, ANN, identity_id)

    assert refused.value.code == "conflict"
    assert await identity_of(pool) == identity_id
    assert (await users.find_user(pool, ADMIN, ANN)).role == "admin"
    assert await pool.fetchval("SELECT count(*) FROM audit_logs WHERE action LIKE 'user.un%'") == 0
    await users.update_user(pool, ADMIN, ANN, role="admin")
    await identities.unlink_identity(pool, ADMIN, ANN, identity_id)
    assert (await users.find_user(pool, ADMIN, ANN)).role == "admin"


async def test_of_two_admins_by_group_unlinked_concurrently_one_stays(pool: Pool) -> None:
    people = [await make_user(pool, f"{name}@example.org") for name in ("ann", "bob")]
    links = [await link(pool, user, user.email) for user in people]
    for _ in range(10):
        await pool.execute("UPDATE users SET role = 'admin', group_role = 'admin'")
        outcomes = await asyncio.gather(
            *(
                identities.unlink_identity(pool, ADMIN, user.email, one)
                for user, one in zip(people, links, strict=True)
            ),
            return_exceptions=True,
        )
        assert sorted(getattr(outcome, "code", "done") for outcome in outcomes) == ["conflict", "done"]
        assert await pool.fetchval("SELECT count(*) FROM users WHERE role = 'admin'") == 1
        await pool.execute("DELETE FROM identities")
        links = [await link(pool, user, user.email) for user in people]


@pytest.mark.parametrize("identity_id", [0, -1, 2**63, "another's"])
async def test_only_an_identity_of_the_user_can_be_unlinked(pool: Pool, identity_id: Any) -> None:
    await make_user(pool, ANN)
    bob = await make_user(pool, "bob@example.org")
    bobs = await link(pool, bob)

    with pytest.raises(GatewayError) as refused:
        await identities.unlink_identity(pool, ADMIN, ANN, bobs if identity_id == "another's" else identity_id)

    assert refused.value.code == "not_found"
    assert await identity_of(pool, bob.email) == bobs


async def test_unlinking_without_the_right_is_refused(pool: Pool) -> None:
    ann = await make_user(pool, ANN)
    identity_id = await link(pool, ann)

    for actor in (READER, owner_of(ann)):
        with pytest.raises(GatewayError, match="admin"):
            await identities.unlink_identity(pool, actor, ANN, identity_id)
    with pytest.raises(GatewayError, match="admin"):
        await identities.list_identities(pool, owner_of(ann), ANN)
    assert await identity_of(pool) == identity_id


async def test_a_login_concurrent_with_an_unlinking_leaves_no_session(pool: Pool) -> None:
    person = Person(
        issuer="https://sso", subject="ann", email=ANN, is_email_verified=True, name="", groups=None, issued_at=None
    )
    keys, times = SecretKeys.parse(SECRET_KEYS), SessionTimes(idle_s=60.0, lifetime_s=60.0)
    user = await admit_person(pool, person, RULES)

    async def come_in() -> str:
        about: dict[str, Any] = {"times": times, "request_id": None, "ip": None, "user_agent": None}
        return await open_session(pool, PEPPERS, keys, user, person=person, provider="oidc", **about)

    for _ in range(20):
        # Admitted while linked; in either order, no valid session remains.
        outcomes = await asyncio.gather(come_in(), unlink(pool), return_exceptions=True)
        refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        assert [getattr(error, "code", error) for error in refused] in ([], ["forbidden"])
        assert await pool.fetchval("SELECT count(*) FROM sessions WHERE ended_at IS NULL") == 0
        with pytest.raises(GatewayError, match="unlinked"):
            await come_in()
        await link(pool, user)


async def test_a_callback_concurrent_with_an_unlinking_opens_no_session(
    database: Database, pool: Pool, fake_provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def admit_and_be_unlinked(*about: Any, **more: Any) -> User:
        user = await admit_person(*about, **more)
        await unlink(pool)
        return user

    async with running_admin_api(database, **oidc(fake_provider.url)) as new_browser, new_browser() as browser:
        with monkeypatch.context() as patched:
            patched.setattr(auth, "admit_person", admit_and_be_unlinked)
            refused = await log_in(browser)
        stays_out = await browser.get(ME)
        again = await log_in(browser)

    check_error(refused, 403, "forbidden")
    check_error(stays_out, 401, "not_authenticated")
    assert again.status_code == 302


async def test_identities_are_listed_in_pages(admin: httpx2.AsyncClient, pool: Pool) -> None:
    ann = await make_user(pool, ANN)
    made = [await link(pool, ann, issuer=f"https://sso{n}") for n in range(3)]
    await link(pool, await make_user(pool))

    first = (await admin.get(f"/api/v1/users/{ANN}/identities", params={"limit": 2})).json()
    after = {"cursor": first["next_cursor"]}
    second = (await admin.get(f"/api/v1/users/{ann.id}/identities", params=after)).json()

    assert [[row["id"] for row in page["rows"]] for page in (first, second)] == [made[:2], made[2:]]
    assert second["next_cursor"] is None
    assert set(first["rows"][0]) == {"id", "user_id", "issuer", "subject", "created_at", "groups_told_at"}


async def test_commands_list_and_unlink_identities(database: Database, pool: Pool) -> None:
    command_line = CommandLine({"LITEMAAS_DATABASE_URL": database.app_url})
    identity_id = await link(pool, await make_user(pool, ANN))

    listed = (await command_line.run("users", "identities", ANN, "--json")).json()
    done = await command_line.run("users", "unlink", ANN, str(identity_id))
    again = await command_line.run("users", "unlink", ANN, str(identity_id))

    assert [(row["id"], row["subject"]) for row in listed["rows"]] == [(identity_id, "ann")]
    assert (done.code, again.code) == (0, 1)
    assert f"'{ANN}' has no identity {identity_id}." in again.err
    assert await pool.fetchval("SELECT count(*) FROM identities") == 0
