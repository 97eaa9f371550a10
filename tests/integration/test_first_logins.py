"""First logins: concurrent ones, and invalid subjects."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import httpx2
import pytest
from admin_client import check_error
from browsers import ME, bearer, oidc, running_admin_api
from conftest import Database
from factories import ADMIN
from identity_providers import FakeProvider, log_in

from admin_api.operations.runtime_settings import update_settings
from gateway.storage.postgres import Pool

AT_ONCE = 6


@pytest.fixture
async def fake_provider() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as server:
        yield server


async def actions(pool: Pool) -> Counter[str]:
    rows = await pool.fetch("SELECT action FROM audit_logs")
    return Counter(row["action"] for row in rows)


async def test_concurrent_first_logins_create_one_user_with_an_audit_row(
    database: Database, pool: Pool, fake_provider: FakeProvider
) -> None:
    people = 5
    async with running_admin_api(database, **oidc(fake_provider.url)) as new_browser:
        for person in range(people):
            fake_provider.claims = {"sub": f"p{person}", "email": f"p{person}@example.org"}
            answers = await asyncio.gather(*(log_in(new_browser()) for _ in range(AT_ONCE)))
            assert [answer.status_code for answer in answers] == [302] * AT_ONCE

    assert await pool.fetchval("SELECT count(*) FROM users") == people
    assert await actions(pool) == {"user.create": people, "user.link": people, "session.open": people * AT_ONCE}


@pytest.mark.parametrize("subject", ["", "x" * 501, "a\x00b", "\ud800"])
async def test_a_subject_that_cannot_be_stored_is_refused(
    database: Database, pool: Pool, fake_provider: FakeProvider, subject: str
) -> None:
    fake_provider.claims = {"sub": subject}
    settings = oidc(fake_provider.url, jwt_audience="litemaas-api")
    async with running_admin_api(database, **settings) as new_browser, new_browser() as browser:
        token = fake_provider.keys[0].sign(fake_provider.all_claims(aud="litemaas-api", sub=subject))
        answers: list[httpx2.Response] = [await log_in(browser), await browser.get(ME, headers=bearer(token))]

    assert [answer.status_code for answer in answers] == [403, 403], [answer.text for answer in answers]
    for answer in answers:
        check_error(answer, 403, "forbidden")
    assert await pool.fetchval("SELECT count(*) FROM users") == 0


async def test_a20_a_first_login_has_the_default_budget(
    database: Database, pool: Pool, fake_provider: FakeProvider
) -> None:
    await update_settings(pool, ADMIN, {"user_default_monthly_cost_usd": "10"})
    fake_provider.claims = {"sub": "p1", "email": "p1@example.org"}
    async with running_admin_api(database, **oidc(fake_provider.url)) as new_browser:
        answers = await asyncio.gather(*(log_in(new_browser()) for _ in range(AT_ONCE)))

    assert [answer.status_code for answer in answers] == [302] * AT_ONCE
    limits = await pool.fetch("SELECT level, kind, window_kind, amount FROM limits")
    assert [tuple(row) for row in limits] == [("user", "cost", "month", 10 * 10**9)]
