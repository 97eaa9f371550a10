"""Users follow what the provider reports of them, and admins can correct it (A6)."""

import json
from collections.abc import AsyncIterator

import pytest
from admin_client import LOGIN, check_error
from browsers import ME, oidc, running_admin_api
from conftest import Database
from factories import make_user
from identity_providers import FakeProvider, log_in

from gateway.storage.postgres import Pool

USERS = "/api/v1/users"


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as server:
        yield server


async def test_a6_address_and_name_follow_the_provider_and_a_new_subject_makes_no_second_user(
    database: Database, pool: Pool, provider: FakeProvider
) -> None:
    async with running_admin_api(database, **oidc(provider.url)) as new_browser, new_browser() as browser:
        provider.claims = {"name": "Ann Old"}
        await log_in(browser)
        before = (await browser.get(ME)).json()
        provider.claims = {"name": "Ann New", "email": "Ann.New@example.org"}
        await log_in(browser)
        after = (await browser.get(ME)).json()
        provider.claims = {"sub": "ann-2", "email": "ann.new@example.org"}
        second = await log_in(new_browser())
    row = await pool.fetchrow("SELECT actor, old, new FROM audit_logs WHERE action = 'user.update'")

    assert (after["id"], after["email"], after["name"]) == (before["id"], "ann.new@example.org", "Ann New")
    assert row is not None
    assert row["actor"] == "login:oidc"
    assert json.loads(row["old"]) == {"email": "ann@example.org", "name": "Ann Old"}
    assert json.loads(row["new"])["email"] == "ann.new@example.org"
    assert check_error(second, 403, "forbidden")["cause"] == "linked_to_another"
    assert await pool.fetchval("SELECT name FROM accounts WHERE owner_user_id = $1", after["id"]) == after["email"]
    assert await pool.fetchval("SELECT count(*) FROM users") == 1


@pytest.mark.parametrize("spelling", ["boss@example.org", "BOSS@Example.org"])
async def test_a6_an_address_of_another_user_is_not_taken_over(
    database: Database, pool: Pool, provider: FakeProvider, spelling: str
) -> None:
    await make_user(pool, "boss@example.org", role="admin")
    async with running_admin_api(database, **oidc(provider.url)) as new_browser, new_browser() as browser:
        await log_in(browser)
        provider.claims = {"email": spelling}
        back = await log_in(browser)
        me = (await browser.get(ME)).json()
        # Free again: it is followed then.
        await browser.patch(f"{USERS}/boss@example.org", json={"email": "chief@example.org"}, headers=LOGIN)
        await log_in(browser)
        later = (await browser.get(ME)).json()
    row = await pool.fetchrow("SELECT actor, old, new FROM audit_logs WHERE action = 'user.keep_email'")

    assert (back.status_code, me["email"], me["role"]) == (302, "ann@example.org", "user")
    assert row is not None
    assert json.loads(row["new"])["email"] == "boss@example.org"
    assert later["email"] == "boss@example.org"


@pytest.mark.parametrize("claims", [{"email_verified": False}, {"email": "\u0430nn@example.org"}, {"email": None}])
async def test_a6_an_address_that_is_not_verified_is_not_followed(
    database: Database, provider: FakeProvider, claims: dict[str, object]
) -> None:
    async with running_admin_api(database, **oidc(provider.url)) as new_browser, new_browser() as browser:
        await log_in(browser)
        provider.claims = {"email": "other@example.org"} | claims
        back = await log_in(browser)
        me = (await browser.get(ME)).json()

    assert (back.status_code, me["email"]) == (302, "ann@example.org")


async def test_a6_what_an_admin_corrects_stays_until_the_provider_reports_another(
    database: Database, pool: Pool, provider: FakeProvider
) -> None:
    await make_user(pool, "boss@example.org")
    seen = []
    async with running_admin_api(database, **oidc(provider.url)) as new_browser, new_browser() as browser:
        await log_in(browser)
        user_id = (await browser.get(ME)).json()["id"]
        taken = await browser.patch(f"{USERS}/{user_id}", json={"email": "Boss@example.org"}, headers=LOGIN)
        change = {"email": "Right@example.org", "name": "Right"}
        changed = await browser.patch(f"{USERS}/{user_id}", json=change, headers=LOGIN)
        for email in ("ann@example.org", "third@example.org"):
            provider.claims = {"email": email}
            await log_in(browser)
            seen.append((await browser.get(ME)).json()["email"])

    check_error(taken, 409, "conflict")
    assert (changed.json()["email"], changed.json()["name"]) == ("right@example.org", "Right")
    assert seen == ["right@example.org", "third@example.org"]
