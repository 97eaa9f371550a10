"""What ends with the deactivation of a user and does not return at their reactivation."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from admin_client import SECRET_KEYS, check_error
from browsers import ME, bearer, oidc, running_admin_api
from conftest import Database
from factories import ADMIN, PEPPERS, make_token
from identity_providers import FakeProvider, log_in

from admin_api.encryption import SecretKeys
from admin_api.operations.people import users
from admin_api.operations.people.sessions import SessionTimes, open_session
from gateway.domain.errors import GatewayError
from gateway.storage.postgres import Pool

ANN = "ann@example.org"


@pytest.fixture
async def fake_provider() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as server:
        yield server


async def test_a_session_ends_at_deactivation_and_does_not_return_at_reactivation(
    database: Database, pool: Pool, fake_provider: FakeProvider
) -> None:
    async with (
        running_admin_api(database, **oidc(fake_provider.url)) as new_browser,
        new_browser() as ann,
        new_browser() as thief,
    ):
        for browser in (ann, thief):
            await log_in(browser)
        token = (await make_token(pool, await users.find_user(pool, ADMIN, ANN))).secret
        await users.update_user(pool, ADMIN, ANN, status="deactivated")
        while_out = [await ann.get(ME), await ann.get(ME, headers=bearer(token))]
        await users.update_user(pool, ADMIN, ANN, status="active")
        after = [await browser.get(ME) for browser in (ann, thief)]
        by_token = await ann.get(ME, headers=bearer(token))
        again = await log_in(ann)

    for answer in (*while_out, *after):
        check_error(answer, 401, "not_authenticated")
    assert (by_token.status_code, again.status_code) == (200, 302)
    ended = await pool.fetch("SELECT actor, target_id FROM audit_logs WHERE action = 'session.end' ORDER BY target_id")
    assert [tuple(row) for row in ended] == [(ADMIN.name, "1"), (ADMIN.name, "2")]


async def test_a_login_concurrent_with_a_deactivation_leaves_no_session(pool: Pool) -> None:
    user = await users.create_user(pool, ADMIN, email=ANN)
    keys = SecretKeys.parse(SECRET_KEYS)
    times = SessionTimes(idle_s=60.0, lifetime_s=60.0)

    async def come_in() -> str:
        return await open_session(
            pool, PEPPERS, keys, user, provider="oidc", times=times, request_id=None, ip=None, user_agent=None
        )

    for _ in range(20):
        # Admitted while active; in either order, no valid session remains.
        outcomes = await asyncio.gather(
            come_in(), users.update_user(pool, ADMIN, ANN, status="deactivated"), return_exceptions=True
        )
        refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        assert [getattr(error, "code", error) for error in refused] in ([], ["forbidden"])
        assert await pool.fetchval("SELECT count(*) FROM sessions WHERE ended_at IS NULL") == 0
        with pytest.raises(GatewayError):
            await come_in()
        await users.update_user(pool, ADMIN, ANN, status="active")
