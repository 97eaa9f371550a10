"""An answer stored for an Idempotency-Key belongs to the login, role and request that it was made for (S6)."""

import time
from collections.abc import AsyncIterator
from typing import Any, Final

import httpx2
import pytest
from admin_client import LOGIN, check_error
from browsers import CSRF, bearer, oidc, running_admin_api
from conftest import Database
from factories import ADMIN, make_token
from fastapi import APIRouter, FastAPI
from identity_providers import FakeProvider, log_in

from admin_api.operations.people import users
from admin_api.routes.dependencies import LoggedIn
from gateway.storage.postgres import Pool

ANN: Final = "ann@example.org"
KEY: Final = {"idempotency-key": "one"}
TOKENS: Final = "/api/v1/users/me/tokens"


@pytest.fixture
async def fake_provider() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as server:
        yield server


def signed_jwt(fake_provider: FakeProvider, age_s: int, **claims: Any) -> dict[str, str]:
    now = int(time.time())
    claims = fake_provider.all_claims(aud="litemaas-api", iat=now - age_s, exp=now - age_s + 3600) | claims
    return bearer(fake_provider.keys[0].sign(claims))


async def create_token(client: httpx2.AsyncClient, headers: dict[str, str]) -> httpx2.Response:
    return await client.post(TOKENS, json={"role": "user"}, headers=headers | KEY)


async def test_s6_no_login_of_a_user_is_shown_what_another_login_created(
    database: Database, pool: Pool, fake_provider: FakeProvider
) -> None:
    settings = oidc(fake_provider.url, jwt_audience="litemaas-api", group_roles="bosses:admin")
    groups = {"groups": ["bosses"]}
    async with running_admin_api(database, **settings) as new_browser, new_browser() as client:
        jwts = {
            "JWT": signed_jwt(fake_provider, 10, azp="cli", sid="1", **groups),
            "JWT of another client": signed_jwt(fake_provider, 10, azp="bot", sid="1", **groups),
            "JWT of another session": signed_jwt(fake_provider, 10, azp="cli", sid="2", **groups),
        }
        assert (await client.get("/api/v1/users/me", headers=jwts["JWT"])).json()["role"] == "admin"
        ann = await users.find_user(pool, ADMIN, ANN)
        of_role: dict[str, Any] = {"user": "user", "admin": "admin", "another admin": "admin"}
        logins = {name: bearer((await make_token(pool, ann, role=role)).secret) for name, role in of_role.items()}
        fake_provider.claims = groups
        browsers = [new_browser(), new_browser()]
        for browser in browsers:
            await log_in(browser)
        first = {name: await create_token(client, login) for name, login in (logins | jwts).items()}
        first |= {str(index): await create_token(browser, CSRF) for index, browser in enumerate(browsers)}
        again = {name: await create_token(client, login) for name, login in (logins | jwts).items()}
        again |= {str(index): await create_token(browser, CSRF) for index, browser in enumerate(browsers)}
        renewed = await create_token(client, signed_jwt(fake_provider, 5, azp="cli", sid="1", **groups))

    assert {name: answer.status_code for name, answer in first.items()} == dict.fromkeys(first, 201)
    assert [name for name, answer in first.items() if "idempotent-replayed" in answer.headers] == []
    assert len({answer.json()["token"] for answer in first.values()}) == len(first) == 8
    assert {name: answer.text for name, answer in again.items()} == {name: one.text for name, one in first.items()}
    assert renewed.text == first["JWT"].text


async def test_s6_a_demoted_user_is_not_shown_what_they_created_as_an_admin(
    database: Database, pool: Pool, admin: httpx2.AsyncClient
) -> None:
    boss = await users.create_user(pool, ADMIN, email=ANN, role="admin")
    await users.create_user(pool, ADMIN, email="bob@example.org", role="admin")
    login, path = bearer((await make_token(pool, boss, role="admin")).secret), "/api/v1/users/bob@example.org/tokens"

    made = await admin.post(path, json={}, headers=login | KEY)
    await users.update_user(pool, ADMIN, ANN, role="user")
    demoted = await admin.post(path, json={}, headers=login | KEY)

    assert made.status_code == 201
    check_error(demoted, 403, "forbidden")


async def test_s6_a_new_admin_token_is_another_login(database: Database, pool: Pool) -> None:
    await users.create_user(pool, ADMIN, email=ANN)
    path, answers = f"/api/v1/users/{ANN}/tokens", []
    for token in ("f" * 16 + "0123456789abcdef", "e" * 16 + "0123456789abcdef"):
        async with running_admin_api(database, admin_token=token) as new_browser, new_browser() as client:
            answers.append(await client.post(path, json={}, headers=bearer(token) | KEY))

    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json()["token"] != answers[1].json()["token"]


async def test_s6_a_key_is_for_one_path(admin: httpx2.AsyncClient) -> None:
    for name in ("red", "red?a=b"):
        await admin.post("/api/v1/teams", json={"name": name})
    await admin.post("/api/v1/users", json={"email": ANN})
    body = {"user": ANN}

    made = await admin.post("/api/v1/teams/red%3Fa=b/members", json=body, headers=LOGIN | KEY)
    other = await admin.post("/api/v1/teams/red/members", json=body, headers=LOGIN | KEY)

    assert made.status_code == 201
    check_error(other, 422, "idempotency_key_reused")


async def test_s6_a_key_is_for_one_query(admin: httpx2.AsyncClient, admin_app: FastAPI) -> None:
    """No POST route has a query parameter so far, and others are refused: this one is the test's own."""
    router = APIRouter()

    @router.post("/words")
    async def write(actor: LoggedIn, word: str) -> dict[str, str]:
        return {"by": actor.name, "word": word}

    admin_app.include_router(router)

    made = await admin.post("/words?word=b", headers=LOGIN | KEY)
    again = await admin.post("/words?word=b", headers=LOGIN | KEY)
    other = await admin.post("/words?word=c", headers=LOGIN | KEY)

    assert made.json()["word"] == "b"
    assert (again.json(), again.headers["idempotent-replayed"]) == (made.json(), "true")
    check_error(other, 422, "idempotency_key_reused")
