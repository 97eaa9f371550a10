"""Unusual identity providers and proxies: trailing slashes, concurrent key requests, no response."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest
from admin_client import check_error, settings_for
from browsers import CSRF, ME, bearer, oidc, running_admin_api
from conftest import Database
from factories import make_token, make_user
from identity_providers import PLANTED_SECRET, FakeProvider, OpenShift, log_in
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from admin_api.main import create_app
from gateway.storage.postgres import Pool

AT_ONCE = 8


@pytest.fixture
async def fake_provider() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as server:
        yield server


@pytest.mark.parametrize("configured", ["", "/"])
@pytest.mark.parametrize("reported", ["", "/"])
async def test_a_provider_issuer_may_end_with_a_slash(
    database: Database, fake_provider: FakeProvider, configured: str, reported: str
) -> None:
    fake_provider.claims = {"iss": fake_provider.url + reported}
    settings = oidc(fake_provider.url + configured, jwt_audience="litemaas-api")
    token = fake_provider.keys[0].sign(fake_provider.all_claims(aud="litemaas-api", iss=fake_provider.url + reported))
    async with running_admin_api(database, **settings) as new_browser, new_browser() as browser:
        back = await log_in(browser)
        by_token = await new_browser().get(ME, headers=bearer(token))

    assert (back.status_code, by_token.status_code) == (302, 200), (back.text, by_token.text)


class Unwell(FakeProvider):
    """A provider with unreadable responses."""

    answer: Response = PlainTextResponse("<html>Back soon</html>")

    async def _discovery(self, _: Request) -> Any:
        return self.answer


@pytest.mark.parametrize("answer", [PlainTextResponse("<html>Back soon</html>"), JSONResponse([1])])
async def test_logout_works_whatever_the_provider_responds(
    database: Database, fake_provider: FakeProvider, answer: Response
) -> None:
    async with running_admin_api(database, **oidc(fake_provider.url)) as new_browser, new_browser() as browser:
        await log_in(browser)
        cookies = dict(browser.cookies)
    # Another replica, which has not read the provider's metadata yet.
    async with (
        Unwell() as provider,
        running_admin_api(database, **oidc(provider.url)) as new_browser,
        new_browser() as browser,
    ):
        provider.answer = answer
        browser.cookies.update(cookies)
        out = await browser.post("/api/auth/logout", headers=CSRF)
        after = await browser.get(ME)
        away = await browser.get("/api/auth/login")

    assert (out.status_code, out.json()) == (200, {"logout_url": None})
    check_error(after, 401, "not_authenticated")
    check_error(away, 400, "login_failed")


class WithEnd(FakeProvider):
    """A provider with an end-session endpoint."""

    async def _discovery(self, request: Request) -> JSONResponse:
        reported = json.loads(bytes((await super()._discovery(request)).body))
        return JSONResponse(reported | {"end_session_endpoint": f"{self.url}/end?a=b"})


async def test_the_logout_url_of_the_provider_has_each_parameter_once(database: Database) -> None:
    async with (
        WithEnd() as provider,
        running_admin_api(database, **oidc(provider.url)) as new_browser,
        new_browser() as browser,
    ):
        await log_in(browser)
        url = (await browser.post("/api/auth/logout", headers=CSRF)).json()["logout_url"]

    # A repeated parameter makes a request invalid (RFC 6749, 3.1).
    assert parse_qsl(urlsplit(url).query) == [("a", "b"), ("client_id", "litemaas")]


async def test_logout_redirects_only_to_the_provider_of_the_login(database: Database, pool: Pool) -> None:
    async with WithEnd() as provider, OpenShift() as cluster:
        beside = {
            "openshift_url": cluster.url,
            "openshift_api_url": cluster.url,
            "openshift_client_id": "litemaas",
            "openshift_client_secret": PLANTED_SECRET,
        }
        async with running_admin_api(database, **oidc(provider.url), **beside) as new_browser, new_browser() as browser:
            reported = []
            for name in ("oidc", "openshift"):
                assert (await log_in(browser, provider=name)).status_code == 302
                reported.append((await browser.post("/api/auth/logout", headers=CSRF)).json()["logout_url"])
            token = await make_token(pool, await make_user(pool))
            reported.append((await browser.post("/api/auth/logout", headers=bearer(token.secret))).json()["logout_url"])

    assert reported == [f"{provider.url}/end?a=b&client_id=litemaas", None, None]


async def test_concurrent_first_tokens_are_accepted_and_fetch_the_keys_once(
    database: Database, fake_provider: FakeProvider
) -> None:
    token = fake_provider.keys[0].sign(fake_provider.all_claims(aud="litemaas-api"))
    settings = oidc(fake_provider.url, jwt_audience="litemaas-api")
    async with running_admin_api(database, **settings) as new_browser, new_browser() as client:
        answers = await asyncio.gather(*(client.get(ME, headers=bearer(token)) for _ in range(AT_ONCE)))

    assert [answer.status_code for answer in answers] == [200] * AT_ONCE
    assert fake_provider.jwks_asked == 1


async def test_a_hanging_provider_is_requested_once_and_blocks_no_token_with_a_known_key(
    database: Database, fake_provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, hung = oidc(fake_provider.url, jwt_audience="litemaas-api"), 0
    token = fake_provider.keys[0].sign(fake_provider.all_claims(aud="litemaas-api"))

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal hung
        hung += 1
        await reader.read()
        writer.close()

    async def ask(client: httpx2.AsyncClient) -> list[int]:
        answers = await asyncio.gather(*(client.get(ME, headers=bearer(token)) for _ in range(AT_ONCE)))
        return [answer.status_code for answer in answers]

    async with running_admin_api(database, **settings) as open_old, open_old() as old:
        await ask(old)
        await fake_provider.__aexit__(None, None, None)
        # Longer than the minimum time between two requests.
        monkeypatch.setattr("admin_api.identity.jwt_logins.TIMEOUT_S", 0.6)
        monkeypatch.setattr("admin_api.identity.jwt_logins.ASK_AGAIN_S", 0.4)
        async with await asyncio.start_server(hang, "127.0.0.1", int(fake_provider.url.rpartition(":")[2])):
            async with running_admin_api(database, **settings) as open_new, open_new() as new:
                without_keys, asked_by_new = await ask(new), hung
            monkeypatch.setattr("admin_api.identity.jwt_logins.KEEP_S", 0.5)
            await asyncio.sleep(0.6)
            with_keys, asked_by_old = await ask(old), hung - asked_by_new

    assert without_keys == [503] * AT_ONCE
    assert with_keys == [200] * AT_ONCE
    assert (asked_by_new, asked_by_old) == (1, 1)


@pytest.mark.parametrize(
    "public", ["https://Portal.Example.com", "https://portal.example.com:443", "https://portal.example.com/litemaas"]
)
async def test_the_configured_url_matches_the_form_browsers_send(
    database: Database, fake_provider: FakeProvider, public: str
) -> None:
    app = create_app(settings_for(database.app_url, admin_url=public, **oidc(fake_provider.url)))
    transport, origin = httpx2.ASGITransport(app=app), "https://portal.example.com"
    async with app.router.lifespan_context(app), httpx2.AsyncClient(transport=transport, base_url=origin) as browser:
        away = await browser.get("/api/auth/login")
        async with httpx2.AsyncClient() as elsewhere:
            back = (await elsewhere.get(away.headers["location"])).headers["location"]
        await browser.get(f"/api/auth/callback?{urlsplit(back).query}")
        cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    # TLS ends at a proxy: the admin API receives plain HTTP.
    plain = httpx2.AsyncClient(transport=transport, base_url="http://portal.example.com")

    async def change(page: str) -> int:
        headers = CSRF | {"origin": page, "cookie": cookie}
        return (await plain.patch(ME, json={"name": "x"}, headers=headers)).status_code

    async with app.router.lifespan_context(app), plain:
        statuses = [await change(page) for page in (origin, "https://example.com", f"{origin}:444", f"{origin}.evil")]

    assert statuses == [200, 403, 403, 403]
