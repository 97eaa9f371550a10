"""A role follows its group: an older statement of the provider does not restore it."""

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from admin_client import check_error
from browsers import ME, bearer, oidc, running_admin_api
from conftest import Database
from factories import ADMIN, make_token
from identity_providers import FakeProvider, log_in

from admin_api.operations.people import users
from gateway.storage.postgres import Pool

ANN = "ann@example.org"


@pytest.fixture
async def fake_provider() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as server:
        yield server


def token(fake_provider: FakeProvider, age_s: int, **claims: Any) -> dict[str, str]:
    """A token issued `age_s` seconds ago, valid for an hour."""
    now = int(time.time())
    claims = fake_provider.all_claims(aud="litemaas-api", iat=now - age_s, exp=now - age_s + 3600) | claims
    return bearer(fake_provider.keys[0].sign({name: value for name, value in claims.items() if value is not None}))


def settings(fake_provider: FakeProvider) -> dict[str, Any]:
    return oidc(fake_provider.url, jwt_audience="litemaas-api", group_roles="bosses:admin")


async def test_a_token_older_than_a_group_change_does_not_restore_the_role(
    database: Database, pool: Pool, fake_provider: FakeProvider
) -> None:
    old, new = token(fake_provider, 100, groups=["bosses"]), token(fake_provider, 50, groups=[])
    newest = token(fake_provider, 10, groups=["bosses"])
    async with running_admin_api(database, **settings(fake_provider)) as new_browser, new_browser() as client:
        roles = [(await client.get(ME, headers=login)).json()["role"] for login in (old, old, new, new, old)]
        own = await make_token(pool, await users.find_user(pool, ADMIN, ANN), role="user")
        forbidden = await client.get("/api/v1/users", headers=bearer(own.secret))
        back = (await client.get(ME, headers=newest)).json()["role"]

    assert roles == ["admin", "admin", "user", "user", "user"]
    check_error(forbidden, 403, "forbidden")
    assert back == "admin"
    assert await pool.fetchval("SELECT count(*) FROM audit_logs WHERE action = 'user.update'") == 3


async def test_a_browser_login_is_newer_than_a_token_issued_before(
    database: Database, pool: Pool, fake_provider: FakeProvider
) -> None:
    old = token(fake_provider, 100, groups=["bosses"])
    fake_provider.claims = {"groups": []}
    async with running_admin_api(database, **settings(fake_provider)) as new_browser, new_browser() as client:
        before = (await client.get(ME, headers=old)).json()["role"]
        await log_in(client)
        after = [(await client.get(ME)).json()["role"], (await new_browser().get(ME, headers=old)).json()["role"]]

    assert (before, after) == ("admin", ["user", "user"])


async def test_new_tokens_with_the_same_groups_change_nothing(
    database: Database, pool: Pool, fake_provider: FakeProvider
) -> None:
    async with running_admin_api(database, **settings(fake_provider)) as new_browser, new_browser() as client:
        for age_s in (40, 30, 20, 30):
            assert (await client.get(ME, headers=token(fake_provider, age_s, groups=[]))).status_code == 200
    seen = await pool.fetchval("SELECT round(extract(epoch FROM now() - groups_told_at) / 10) FROM identities")

    assert int(seen) == 2
    assert await pool.fetch("SELECT action FROM audit_logs ORDER BY id") == [("user.create",), ("user.link",)]


async def test_a_token_without_issue_time_overrides_nothing_newer(
    database: Database, fake_provider: FakeProvider
) -> None:
    undated, dated = token(fake_provider, 0, iat=None, groups=["bosses"]), token(fake_provider, 50, groups=[])
    async with running_admin_api(database, **settings(fake_provider)) as new_browser, new_browser() as client:
        roles = [(await client.get(ME, headers=login)).json()["role"] for login in (undated, dated, undated)]

    assert roles == ["admin", "user", "user"]


async def test_a_new_token_of_a_deactivated_user_is_no_login(
    database: Database, pool: Pool, fake_provider: FakeProvider
) -> None:
    async with running_admin_api(database, **settings(fake_provider)) as new_browser, new_browser() as client:
        await client.get(ME, headers=token(fake_provider, 20, groups=[]))
        await users.update_user(pool, ADMIN, ANN, status="deactivated")
        check_error(await client.get(ME, headers=token(fake_provider, 10, groups=["bosses"])), 401, "not_authenticated")
