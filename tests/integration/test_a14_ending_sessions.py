"""Admins see and end the sessions of a user (case A14)."""

from collections.abc import AsyncIterator

import httpx2
import pytest
from admin_client import LOGIN, check_error
from browsers import ME, oidc, running_admin_api
from command_line import CommandLine
from conftest import Database
from identity_providers import FakeProvider, log_in

from gateway.storage.postgres import Pool

ANN = "ann@example.org"
SESSIONS = f"/api/v1/users/{ANN}/sessions"


@pytest.fixture
async def fake_provider() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as server:
        yield server


async def ask(browser: httpx2.AsyncClient, method: str = "GET", path: str = SESSIONS) -> httpx2.Response:
    """As the admin, whose token stands before the cookie."""
    return await browser.request(method, path, headers=LOGIN)


async def test_a14_an_admin_ends_all_sessions_of_a_user_on_every_replica(
    database: Database, pool: Pool, fake_provider: FakeProvider
) -> None:
    settings = oidc(fake_provider.url)
    async with (
        running_admin_api(database, **settings) as here,
        running_admin_api(database, **settings) as there,
        here() as laptop,
        there() as phone,
        here() as admin,
    ):
        for browser in (laptop, phone):
            await log_in(browser)
        before = [(await browser.get(ME)).status_code for browser in (laptop, phone)]
        seen = (await ask(admin)).json()["rows"]
        ended = await ask(admin, "DELETE")
        after = [await browser.get(ME) for browser in (laptop, phone)]
        left = (await ask(admin)).json()["rows"]
        again = await log_in(laptop)

    assert before == [200, 200]
    assert [(row["id"], row["is_this_one"]) for row in seen] == [(2, False), (1, False)]
    assert (ended.json(), left) == ({"ended": 2}, [])
    for answer in after:
        check_error(answer, 401, "not_authenticated")
    assert again.status_code == 302
    rows = await pool.fetch("SELECT actor, target_id FROM audit_logs WHERE action = 'session.end' ORDER BY target_id")
    assert [tuple(row) for row in rows] == [("admin-token", "1"), ("admin-token", "2")]


async def test_a14_one_session_is_ended_and_no_other(database: Database, fake_provider: FakeProvider) -> None:
    command_line = CommandLine({"LITEMAAS_DATABASE_URL": database.app_url})
    async with (
        running_admin_api(database, **oidc(fake_provider.url)) as new_browser,
        new_browser() as laptop,
        new_browser() as phone,
        new_browser() as admin,
    ):
        for browser in (laptop, phone):
            await log_in(browser)
        listed = (await command_line.run("users", "sessions", ANN, "--json")).json()["rows"]
        shown = await command_line.run("users", "sessions", ANN)
        ended = await command_line.run("users", "end-sessions", ANN, "--session", "1")
        again = await ask(admin, "DELETE", f"{SESSIONS}/1")
        unknown = await ask(admin, "DELETE", f"{SESSIONS}/{2**63 - 1}")
        nobody = await ask(admin, "DELETE", "/api/v1/users/bob@example.org/sessions")
        after = [(await browser.get(ME)).status_code for browser in (laptop, phone)]

    assert [row["id"] for row in listed] == [2, 1]
    assert shown.out.count("oidc") == 2
    assert ended.out == f"1 sessions of {ANN} ended.\n"
    for answer in (again, unknown, nobody):
        check_error(answer, 404, "not_found")
    assert after == [401, 200]


async def test_a14_another_users_session_is_not_found(
    admin: httpx2.AsyncClient, pool: Pool, database: Database, fake_provider: FakeProvider
) -> None:
    async with running_admin_api(database, **oidc(fake_provider.url)) as new_browser, new_browser() as ann:
        await log_in(ann)
        await admin.post("/api/v1/users", json={"email": "bob@example.org"})
        refused = await ask(ann, "DELETE", "/api/v1/users/bob@example.org/sessions/1")
        still = await ann.get(ME)

    check_error(refused, 404, "not_found")
    assert still.status_code == 200
