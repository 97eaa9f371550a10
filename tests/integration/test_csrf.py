"""Cross-site request forgery: which forms of pages are accepted, and which are not."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import time
from typing import Any, Final

import httpx2
import pytest
from admin_client import SECRET_KEYS, check_error, settings_for
from browsers import ME, bearer, oidc
from conftest import Database
from factories import ADMIN, PEPPERS
from identity_providers import ADMIN_URL, FakeProvider, log_in
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from admin_api.encryption import SecretKeys
from admin_api.main import create_app
from admin_api.operations.people import personal_tokens, users
from admin_api.web import csrf
from admin_api.web.authenticate import authenticate_page
from gateway.storage.postgres import Pool

FORM: Final = "/account"
LOGIN_FORM: Final = "/language"
JSON_FORM: Final = "/json"
API_FORM: Final = "/api/v1/account"
KEYS: Final = SecretKeys.parse(SECRET_KEYS)
OTHER_ORIGINS: Final = {
    "another origin": {"origin": "https://evil.example"},
    "another port": {"origin": "http://127.0.0.1:1"},
    "no origin that may be named": {"origin": "null"},
    "an origin for the API only": {"origin": "https://partner.example"},
    "cross-site": {"sec-fetch-site": "cross-site"},
    "another host of the domain": {"sec-fetch-site": "same-site"},
}
NewBrowser = Callable[[], httpx2.AsyncClient]


async def account(request: Request) -> Response:
    """A page with a session, and its form."""
    actor = await authenticate_page(request)
    if request.method == "GET":
        assert actor.session_id is not None
        return HTMLResponse(csrf.form_token(request.app.state.settings.encryption_keys, actor.session_id))
    name = str((await request.form())["name"])
    await users.update_self(request.app.state.pool, actor, name=name, locale=None)
    return RedirectResponse(FORM, 303)


async def language(request: Request) -> Response:
    """A page before the login, and its form."""
    if request.method == "GET":
        token = csrf.login_token(request)
        answer = HTMLResponse(token)
        csrf.set_login_token(answer, request.app.state.settings, token)
        return answer
    csrf.check_login_form(request, await request.form())
    return RedirectResponse(LOGIN_FORM, 303)


async def json_form(request: Request) -> Response:
    """A page that reads its fields as JSON, whatever the content type."""
    fields = json.loads(await request.body())
    csrf.check_form(request, fields, fields["session_id"])
    return Response()


@pytest.fixture
async def fake_provider() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as server:
        yield server


@asynccontextmanager
async def pages(database: Database, fake_provider: FakeProvider, **settings: Any) -> AsyncIterator[NewBrowser]:
    about = {"admin_url": ADMIN_URL, "cors_origins": "https://partner.example"} | settings
    app = create_app(settings_for(database.app_url, **about, **oidc(fake_provider.url)))
    for path, page in ((FORM, account), (API_FORM, account), (LOGIN_FORM, language), (JSON_FORM, json_form)):
        app.router.routes.append(Route(path, page, methods=["GET", "POST"]))
    transport = httpx2.ASGITransport(app=app)
    async with app.router.lifespan_context(app):
        yield lambda: httpx2.AsyncClient(transport=transport, base_url=about["admin_url"])


@asynccontextmanager
async def logged_in(database: Database, fake_provider: FakeProvider) -> AsyncIterator[tuple[httpx2.AsyncClient, str]]:
    """A browser with a session, and the token of its page."""
    async with pages(database, fake_provider) as new_browser, new_browser() as browser:
        await log_in(browser)
        yield browser, (await browser.get(FORM)).text


async def sent(browser: httpx2.AsyncClient, token: str | None, path: str = FORM, **headers: str) -> httpx2.Response:
    """The form as a browser without JavaScript sends it."""
    fields = {"name": "changed"} | ({} if token is None else {"csrf_token": token})
    return await browser.post(
        path, data=fields, headers={"origin": ADMIN_URL, "sec-fetch-site": "same-origin", **headers}
    )


async def name_of(pool: Pool) -> str:
    name: str = await pool.fetchval("SELECT name FROM users WHERE email = 'ann@example.org'")
    return name


async def test_a_form_of_our_own_page_is_accepted(database: Database, pool: Pool, fake_provider: FakeProvider) -> None:
    async with logged_in(database, fake_provider) as (browser, token):
        answer = await sent(browser, token)
        multipart = await browser.post(FORM, data={"csrf_token": token}, files={"name": (None, "by parts")})

    assert (answer.status_code, multipart.status_code) == (303, 303)
    assert await name_of(pool) == "by parts"


async def test_browsers_are_asked_to_name_the_origin_of_a_form(database: Database, fake_provider: FakeProvider) -> None:
    async with pages(database, fake_provider) as new_browser, new_browser() as browser:
        page = await browser.get(LOGIN_FORM)

    assert page.headers["referrer-policy"] == "same-origin"
    assert "form-action 'self'" in page.headers["content-security-policy"]


async def test_a_token_that_is_not_of_this_session_changes_nothing(
    database: Database, pool: Pool, fake_provider: FakeProvider
) -> None:
    async with pages(database, fake_provider) as new_browser, new_browser() as browser, new_browser() as other:
        await log_in(browser)
        await log_in(other)
        token, of_other = (await browser.get(FORM)).text, (await other.get(FORM)).text
        before_login = (await browser.get(LOGIN_FORM)).text
        touched = token[:-1] + ("1" if token.endswith("0") else "0")
        answers = [await sent(browser, one) for one in (None, "", of_other, before_login, touched, "é" * 64)]

    assert token != of_other
    for answer in answers:
        check_error(answer, 403, "cross_site_request")
    assert await name_of(pool) == ""


@pytest.mark.parametrize("headers", OTHER_ORIGINS.values(), ids=OTHER_ORIGINS)
async def test_a_form_of_another_page_changes_nothing(
    database: Database, pool: Pool, fake_provider: FakeProvider, headers: dict[str, str]
) -> None:
    async with logged_in(database, fake_provider) as (browser, token):
        refused = await sent(browser, token, **headers)

    check_error(refused, 403, "cross_site_request")
    assert await name_of(pool) == ""


async def test_without_a_session_that_works_a_form_changes_nothing(
    database: Database, pool: Pool, fake_provider: FakeProvider
) -> None:
    async with logged_in(database, fake_provider) as (browser, token):
        personal = await personal_tokens.create_token(pool, ADMIN, PEPPERS, user="ann@example.org")
        without_cookie = await browser.post(
            FORM, data={"name": "x", "csrf_token": token}, headers=bearer(personal.secret) | {"cookie": ""}
        )
        await pool.execute("UPDATE sessions SET expires_at = now()")
        expired = await sent(browser, token)

    for answer in (without_cookie, expired):
        check_error(answer, 401, "not_authenticated")
    assert await name_of(pool) == ""


async def test_a_forms_token_is_for_forms_of_pages_only(
    database: Database, pool: Pool, fake_provider: FakeProvider
) -> None:
    fields = {"name": "changed", "csrf_token": "?"}
    async with logged_in(database, fake_provider) as (browser, token):
        fields["csrf_token"] = token
        own = {"origin": ADMIN_URL}
        plain = "\r\n".join(f"{name}={value}" for name, value in fields.items())
        answers = [
            await browser.post(FORM, json=fields, headers=own),
            await browser.post(FORM, content=plain, headers=own | {"content-type": "text/plain"}),
            await browser.post(FORM, content=plain, headers=own),
            await sent(browser, token, API_FORM),
            await browser.patch(ME, json={"name": "x"}, headers=own | {"x-csrf-token": token}),
            await browser.request("PATCH", ME, data=fields, headers=own),
        ]

    for answer in answers:
        check_error(answer, 403, "cross_site_request")
    assert await name_of(pool) == ""


async def test_a_token_counts_only_with_the_content_type_of_a_form(
    database: Database, fake_provider: FakeProvider
) -> None:
    content = json.dumps({"session_id": 5, "csrf_token": csrf.form_token(KEYS, 5)})
    statuses = {}
    async with pages(database, fake_provider) as new_browser, new_browser() as browser:
        for content_type in ("application/json", "text/plain", "", "application/x-www-form-urlencoded; charset=utf-8"):
            headers = {"origin": ADMIN_URL, "content-type": content_type}
            statuses[content_type] = (await browser.post(JSON_FORM, content=content, headers=headers)).status_code

    assert list(statuses.values()) == [403, 403, 403, 200]


async def test_a_form_before_the_login_needs_the_cookie_of_its_page(
    database: Database, fake_provider: FakeProvider
) -> None:
    async with pages(database, fake_provider) as new_browser, new_browser() as browser, new_browser() as other:
        page = await browser.get(LOGIN_FORM)
        of_other = (await other.get(LOGIN_FORM)).text
        second_tab = await browser.get(LOGIN_FORM)
        right = await sent(browser, page.text, LOGIN_FORM)
        refused = [await sent(browser, one, LOGIN_FORM) for one in (None, "", of_other)]
        foreign = [await sent(browser, page.text, LOGIN_FORM, **one) for one in OTHER_ORIGINS.values()]
        as_json = await browser.post(LOGIN_FORM, json={"csrf_token": page.text}, headers={"origin": ADMIN_URL})
        without_cookie = await sent(new_browser(), page.text, LOGIN_FORM)
        # Decoded by the charset that the form declares, to text that no UTF-8 holds.
        kind = "multipart/form-data; boundary=b; charset=unicode_escape"
        part = b'--b\r\ncontent-disposition: form-data; name="csrf_token"\r\n\r\n\\ud800.x\r\n--b--\r\n'
        odd = await browser.post(LOGIN_FORM, content=part, headers={"origin": ADMIN_URL, "content-type": kind})

    assert right.status_code == 303
    assert second_tab.text == page.text != of_other
    for answer in (*refused, *foreign, as_json, without_cookie, odd):
        check_error(answer, 403, "cross_site_request")


async def test_a_cookie_that_was_not_made_here_or_is_old_proves_nothing(
    database: Database, fake_provider: FakeProvider
) -> None:
    def made(keys: SecretKeys, until: float, purpose: str = csrf.LOGIN_FORM) -> str:
        value = f"chosen.{int(until)}"
        return f"{value}.{keys.sign(value, purpose=purpose)}"

    others = SecretKeys.parse("1:" + "fedcba9876543210" * 4)
    wrong = {
        "unsigned": f"chosen.{int(time()) + 600}.",
        "signed elsewhere": made(others, time() + 600),
        "for something else": made(KEYS, time() + 600, "csrf form"),
        "old": made(KEYS, time() - 1),
        "no token": "chosen",
    }
    answers = {}
    async with pages(database, fake_provider) as new_browser:
        for why, token in (wrong | {"right": made(KEYS, time() + 600)}).items():
            async with new_browser() as browser:
                browser.cookies.set("litemaas_csrf", token)
                answers[why] = (await sent(browser, token, LOGIN_FORM)).status_code
        async with new_browser() as browser:
            browser.cookies.set("litemaas_csrf", made(KEYS, time() + 60))
            renewed = await browser.get(LOGIN_FORM)

    assert answers == dict.fromkeys(wrong, 403) | {"right": 303}
    assert "litemaas_csrf" in renewed.headers["set-cookie"]
    assert int(renewed.text.split(".")[1]) > time() + 3000


async def test_the_cookie_before_the_login_is_for_this_host_over_https_and_no_script(
    database: Database, fake_provider: FakeProvider
) -> None:
    async with (
        pages(database, fake_provider, admin_url="https://maas.example.com") as new_browser,
        new_browser() as browser,
    ):
        cookie = (await browser.get(LOGIN_FORM)).headers["set-cookie"]

    assert cookie.startswith("__Host-litemaas_csrf=")
    assert {"HttpOnly", "Path=/", "Secure", "SameSite=lax"} <= set(cookie.split("; "))
    assert "Domain" not in cookie


async def test_a_form_that_is_refused_counts_against_its_address(
    database: Database, fake_provider: FakeProvider, redis_url: str
) -> None:
    limited = {"redis_url": redis_url, "admin_calls_per_minute": 5}
    async with pages(database, fake_provider, **limited) as new_browser, new_browser() as browser:
        answers = [(await sent(browser, "x")).status_code for _ in range(7)]

    assert answers[0] == 401
    assert answers[-1] == 429
