"""Secrets of logins are planted everywhere, then searched for in all written data."""

import logging
from collections.abc import AsyncIterator

import httpx2
import pytest
from admin_client import LOGIN, TOKEN, settings_for
from conftest import Database
from factories import make_token, make_user
from identity_providers import ADMIN_URL, PLANTED_SECRET, FakeProvider, log_in

from admin_api.main import create_app
from gateway.storage.postgres import Pool

ME = "/api/v1/users/me"


@pytest.fixture
async def fake_provider() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as server:
        yield server


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


async def read_database(database: Database, pool: Pool) -> str:
    tables = await pool.fetch(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = current_schema()::regnamespace "
        "AND has_table_privilege(oid, 'SELECT')"
    )
    rows = [row for table in tables for row in await pool.fetch(f"SELECT t::text FROM {table['relname']} t")]  # noqa: S608
    return "\n".join(str(row["t"]) for row in rows)


async def test_no_secret_of_a_login_is_stored_or_logged(
    database: Database,
    pool: Pool,
    fake_provider: FakeProvider,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    # The HTTP client of this test logs its own requests, whose URLs contain planted secrets.
    caplog.set_level(logging.WARNING, "httpx2")
    user = await make_user(pool, role="admin")
    token = (await make_token(pool, user)).secret
    jwt = fake_provider.keys[0].sign(fake_provider.all_claims(aud="api"))
    app = create_app(
        settings_for(
            database.app_url,
            log_level="debug",
            admin_url=ADMIN_URL,
            oidc_issuer=fake_provider.url,
            oidc_client_id="litemaas",
            oidc_client_secret=PLANTED_SECRET,
            jwt_audience="api",
        )
    )
    said = []
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=ADMIN_URL) as client,
    ):
        await log_in(client)
        session = client.cookies["litemaas_session"]
        code = "planted-code-0123456789"
        for login in (LOGIN, bearer(token), bearer(jwt), bearer(token[:-1] + "x"), bearer(jwt[:-9] + "AAAAAAAAA"), {}):
            for method, path, body in (
                ("GET", ME, None),
                ("GET", f"/api/v1/users/{token}", None),
                ("POST", "/api/v1/users", {"email": token, "surprise": session}),
                ("PATCH", f"/api/v1/users/{user.id}", {"name": "x"}),
                ("POST", "/api/v1/users/me/tokens", {"name": "x"}),
            ):
                answer = await client.request(method, path, json=body, headers=login | {"x-litemaas-csrf": "1"})
                if answer.status_code >= 400 and token not in path:
                    said.append(answer.text)
        await client.get("/api/auth/login")
        said.append((await client.get(f"/api/auth/callback?code={code}&state=x")).text)
        # A provider that says no, and one whose token is wrong, with an error in the log.
        fake_provider.make_token = lambda claims: jwt
        said.append((await log_in(client)).text)
        made = (await client.post("/api/v1/users/me/tokens", json={}, headers=bearer(token))).json()["token"]

    written = capfd.readouterr()
    places = {
        "log": written.err + written.out + caplog.text,
        "errors": "\n".join(said),
        "database": await read_database(database, pool),
    }
    id_token_end = jwt.rpartition(".")[2]
    secrets = (TOKEN, PLANTED_SECRET, "ab" * 32, "planted-access-token", token, made, session, session.split(".")[0])
    found = [
        (place, secret)
        for place, text in places.items()
        for secret in (*secrets, jwt, id_token_end, code)
        if secret in text
    ]
    assert len(said) > 10
    assert found == []
