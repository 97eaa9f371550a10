"""Logins by OpenID Connect, OpenShift and JWT: who can log in, with which role."""

import base64
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import jwt
import pytest
from admin_client import check_error, settings_for
from browsers import CSRF, ME, bearer, oidc, running_admin_api
from conftest import Database
from factories import ADMIN, make_user
from identity_providers import ADMIN_URL, PLANTED_SECRET, FakeProvider, OIDCProvider, OpenShift, SigningKey, log_in

from admin_api.main import create_app
from admin_api.operations.people import users
from gateway.storage.postgres import Pool


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OIDCProvider]:
    with OIDCProvider(tmp_path_factory.mktemp("oidc")) as started:
        yield started


@pytest.fixture
async def fake_provider() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as server:
        yield server


async def test_a_first_login_creates_a_user_who_can_log_out(
    database: Database, pool: Pool, provider: OIDCProvider
) -> None:
    provider.put_user("ann", email="Ann@Example.org", email_verified=True, name="Ann")
    async with running_admin_api(database, **oidc(provider.url)) as new_browser, new_browser() as browser:
        back = await log_in(browser, subject="ann", next="/usage?month=5")
        me = await browser.get(ME)
        sessions = await browser.get("/api/auth/sessions")
        out = await browser.post("/api/auth/logout", headers=CSRF)
        after = await browser.get(ME)
        await log_in(browser, subject="ann")
        again = await browser.get(ME)

    assert (back.status_code, back.headers["location"]) == (302, "/usage?month=5")
    cookie = next(value for name, value in back.headers.multi_items() if "litemaas_session" in value)
    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= set(cookie.split("; "))
    assert (me.json()["email"], me.json()["name"], me.json()["role"]) == ("ann@example.org", "Ann", "user")
    assert [row["is_this_one"] for row in sessions.json()["rows"]] == [True]
    assert out.json()["logout_url"].startswith(provider.url)
    check_error(after, 401, "not_authenticated")
    assert again.json()["id"] == me.json()["id"]
    actions = [row["action"] for row in await pool.fetch("SELECT action FROM audit_logs ORDER BY id")]
    assert actions == ["user.create", "user.link", "session.open", "session.end", "session.open"]


async def test_cookies_are_host_only_secure_and_http_only(database: Database, fake_provider: FakeProvider) -> None:
    public = "https://litemaas.example.com"
    app = create_app(settings_for(database.app_url, admin_url=public, **oidc(fake_provider.url)))
    transport = httpx2.ASGITransport(app=app)
    async with app.router.lifespan_context(app), httpx2.AsyncClient(transport=transport, base_url=public) as browser:
        away = await browser.get("/api/auth/login")
        async with httpx2.AsyncClient() as elsewhere:
            back = (await elsewhere.get(away.headers["location"])).headers["location"]
        inside = await browser.get(back)
        me = await browser.get(ME)

    made = [value for answer in (away, inside) for value in answer.headers.get_list("set-cookie")]
    assert {value.partition("=")[0] for value in made} == {"__Host-litemaas_login", "__Host-litemaas_session"}
    assert len(made) == 3  # the last one takes the login's away
    for value in made:
        words = set(value.split("; ")[1:])
        assert {"HttpOnly", "Secure", "SameSite=lax", "Path=/"} <= words
        assert not [word for word in words if word.lower().startswith("domain")]
    assert me.status_code == 200


async def test_a_role_follows_the_group_of_the_user(database: Database, provider: OIDCProvider) -> None:
    group_roles = "bosses:admin,look:ers:admin-readonly"
    seen = []
    async with (
        running_admin_api(database, **oidc(provider.url, group_roles=group_roles)) as new_browser,
        new_browser() as browser,
    ):
        for groups in (["bosses", "look:ers"], ["look:ers"], [], None):
            claims = {} if groups is None else {"groups": groups}
            provider.put_user("gus", email="gus@example.org", email_verified=True, **claims)
            await log_in(browser, subject="gus")
            seen.append((await browser.get(ME)).json()["role"])

    assert seen == ["admin", "admin-readonly", "user", "user"]


async def test_an_assigned_role_does_not_follow_groups(database: Database, pool: Pool, provider: OIDCProvider) -> None:
    await make_user(pool, "pat@example.org", role="admin-readonly")
    seen = []
    async with (
        running_admin_api(database, **oidc(provider.url, group_roles="bosses:admin")) as new_browser,
        new_browser() as b,
    ):
        for groups in (["bosses"], []):
            provider.put_user("pat", email="pat@example.org", email_verified=True, groups=groups)
            await log_in(b, subject="pat")
            seen.append((await b.get(ME)).json()["role"])

    assert seen == ["admin", "admin-readonly"]


async def test_initial_admins_are_admins_at_their_login(database: Database, provider: OIDCProvider) -> None:
    provider.put_user("root", email="root@example.org", email_verified=True)
    provider.put_user("fake", email="root2@example.org", email_verified=False)
    settings = oidc(provider.url, initial_admins="Root@example.org,root2@example.org")
    async with running_admin_api(database, **settings) as new_browser, new_browser() as browser:
        await log_in(browser, subject="root")
        role = (await browser.get(ME)).json()["role"]
        fake = await log_in(new_browser(), subject="fake")

    assert role == "admin"
    check_error(fake, 403, "forbidden")


async def test_an_unverified_or_taken_email_address_creates_no_account(
    database: Database, pool: Pool, provider: OIDCProvider
) -> None:
    await make_user(pool, "boss@example.org", role="admin")
    provider.put_user("boss", email="boss@example.org", email_verified=True)
    provider.put_user("thief", email="boss@example.org", email_verified=False)
    provider.put_user("heir", email="boss@example.org", email_verified=True)
    async with running_admin_api(database, **oidc(provider.url)) as new_browser:
        answers = [await log_in(new_browser(), subject=subject) for subject in ("thief", "boss", "heir")]

    assert [answer.status_code for answer in answers] == [403, 302, 403]
    assert await pool.fetchval("SELECT count(*) FROM identities") == 1


async def test_a_deactivated_user_loses_their_session_and_cannot_log_in(
    database: Database, pool: Pool, provider: OIDCProvider
) -> None:
    provider.put_user("dan", email="dan@example.org", email_verified=True)
    async with running_admin_api(database, **oidc(provider.url)) as new_browser, new_browser() as browser:
        await log_in(browser, subject="dan")
        await users.update_user(pool, ADMIN, "dan@example.org", status="deactivated")
        stays = await browser.get(ME)
        comes = await log_in(new_browser(), subject="dan")

    check_error(stays, 401, "not_authenticated")
    check_error(comes, 403, "forbidden")


async def test_a_callback_is_accepted_once_and_only_in_the_browser_that_began_the_login(
    database: Database, fake_provider: FakeProvider
) -> None:
    async with (
        running_admin_api(database, **oidc(fake_provider.url)) as new_browser,
        new_browser() as ann,
        new_browser() as eve,
    ):
        away = await ann.get("/api/auth/login")
        async with httpx2.AsyncClient() as elsewhere:
            back = (await elsewhere.get(away.headers["location"])).headers["location"]
        path = back.removeprefix(ADMIN_URL)
        stranger = await eve.get(path)
        await eve.get("/api/auth/login")
        other_state = await eve.get(path)
        changed = await ann.get(path.replace("state=", "state=x"))
        right = await ann.get(path)
        replayed = await ann.get(path)

    for answer in (stranger, other_state, changed, replayed):
        check_error(answer, 400, "login_failed")
    assert right.status_code == 302


def unsigned(claims: dict[str, Any]) -> str:
    parts = ({"alg": "none"}, claims)
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts) + "."


OTHER_KEY = SigningKey("first")
WRONG_TOKENS: dict[str, Any] = {
    "wrong signature": OTHER_KEY.sign,
    "no signature": unsigned,
    "signed with the client's secret": lambda claims: jwt.encode(claims, PLANTED_SECRET, "HS256"),
    "no token": lambda claims: "x",
    "another nonce": {"nonce": "other"},
    "no nonce": {"nonce": None},
    "another issuer": {"iss": "http://127.0.0.1:1"},
    "another audience": {"aud": "other", "azp": "litemaas"},
    "no audience": {"aud": None},
    "expired": {"exp": 1_000_000_000},
    "no subject": {"sub": None},
    "another authorized party": {"aud": ["litemaas", "other"], "azp": "other"},
}


@pytest.mark.parametrize("lie", WRONG_TOKENS)
async def test_an_invalid_id_token_is_no_login(
    database: Database, pool: Pool, fake_provider: FakeProvider, lie: str
) -> None:
    made = WRONG_TOKENS[lie]
    if callable(made):
        fake_provider.make_token = made
    else:
        fake_provider.claims = made
    async with running_admin_api(database, **oidc(fake_provider.url)) as new_browser, new_browser() as browser:
        answer = await log_in(browser)
        after = await browser.get(ME)

    check_error(answer, 400, "login_failed")
    check_error(after, 401, "not_authenticated")
    assert await pool.fetchval("SELECT count(*) FROM users") == 0


async def test_next_redirects_to_this_host_only(database: Database, fake_provider: FakeProvider) -> None:
    wrong = ["https://evil.example", "//evil.example", "/\\evil.example", "evil", "/a\\..\\b", "/a\r\nset-cookie: x"]
    async with running_admin_api(database, **oidc(fake_provider.url)) as new_browser:
        led = [(await log_in(new_browser(), next=path)).headers["location"] for path in wrong]

    assert led == ["/"] * len(wrong)


async def test_a_page_of_another_origin_cannot_use_a_session(database: Database, fake_provider: FakeProvider) -> None:
    async with running_admin_api(
        database, **oidc(fake_provider.url, cors_origins="https://portal.example")
    ) as new_browser:
        browser = new_browser()
        await log_in(browser)

        async def change(**headers: str) -> int:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return (await browser.patch(ME, json={"name": "x"}, headers=named)).status_code

        refused = [
            await change(),
            await change(x_litemaas_csrf="1", origin="https://evil.example"),
            await change(x_litemaas_csrf="1", origin="null"),
            await change(x_litemaas_csrf="1", sec_fetch_site="cross-site"),
            await change(x_litemaas_csrf="1", sec_fetch_site="same-site"),
        ]
        allowed = [
            await change(x_litemaas_csrf="1"),
            await change(x_litemaas_csrf="1", origin=ADMIN_URL, sec_fetch_site="same-origin"),
            await change(x_litemaas_csrf="1", origin="https://portal.example", sec_fetch_site="same-site"),
        ]

    assert refused == [403] * 5
    assert allowed == [200] * 3


async def test_sessions_expire_and_a_modified_cookie_is_refused(
    database: Database, pool: Pool, fake_provider: FakeProvider
) -> None:
    async with running_admin_api(database, **oidc(fake_provider.url)) as new_browser, new_browser() as browser:
        await log_in(browser)
        cookie = browser.cookies["litemaas_session"]
        other = "1" if cookie.endswith("0") else "0"
        touched = await new_browser().get(ME, headers={"cookie": f"litemaas_session={cookie[:-1]}{other}"})
        unsigned_one = await new_browser().get(ME, headers={"cookie": f"litemaas_session={cookie.split('.')[0]}"})
        beside = await browser.get(ME, headers={"authorization": "Bearer wrong"})
        works = await browser.get(ME)
        await pool.execute("UPDATE sessions SET last_seen_at = now() - interval '8 hours'")
        idle = await browser.get(ME)
        await pool.execute("UPDATE sessions SET last_seen_at = now(), expires_at = now()")
        over = await browser.get(ME)

    assert works.status_code == 200
    for answer in (touched, unsigned_one, beside, idle, over):
        check_error(answer, 401, "not_authenticated")


@pytest.mark.parametrize(("idle_s", "pause_s"), [(30, 20), (8 * 3600, 61), (600, 61)])
async def test_a_used_session_does_not_reach_the_idle_timeout(
    database: Database, pool: Pool, fake_provider: FakeProvider, idle_s: int, pause_s: int
) -> None:
    async with (
        running_admin_api(database, **oidc(fake_provider.url, session_idle_s=idle_s)) as new_browser,
        new_browser() as browser,
    ):
        await log_in(browser)
        answers = []
        for _ in range(idle_s // pause_s + 2 if idle_s < 3600 else 3):
            await pool.execute("UPDATE sessions SET last_seen_at = last_seen_at - make_interval(secs => $1)", pause_s)
            answers.append((await browser.get(ME)).status_code)
        noted = await pool.fetchval("SELECT now() - last_seen_at < interval '15 seconds' FROM sessions")

    assert set(answers) == {200}
    assert noted


async def test_a_user_logs_in_at_openshift(database: Database) -> None:
    async with OpenShift() as cluster:
        settings = {
            "openshift_url": cluster.url,
            "openshift_api_url": cluster.url,
            "openshift_client_id": "litemaas",
            "openshift_client_secret": PLANTED_SECRET,
            "group_roles": "litemaas-admins:admin",
        }
        seen = []
        async with running_admin_api(database, **settings) as new_browser, new_browser() as browser:
            for groups in (["litemaas-admins"], None):
                cluster.user["groups"] = groups
                back = await log_in(browser)
                me = (await browser.get(ME)).json()
                seen.append((back.status_code, me["email"], me["name"], me["role"]))

    assert seen == [
        (302, "ann@openshift.invalid", "Ann", "admin"),
        (302, "ann@openshift.invalid", "Ann", "user"),
    ]


async def test_an_unreachable_provider_is_reported(database: Database) -> None:
    async with running_admin_api(database, **oidc("http://127.0.0.1:1")) as new_browser, new_browser() as browser:
        check_error(await browser.get("/api/auth/login"), 503, "upstream_unavailable")


async def test_a_jwt_of_the_provider_is_a_login(database: Database, pool: Pool, fake_provider: FakeProvider) -> None:
    settings = oidc(fake_provider.url, jwt_audience="litemaas-api", group_roles="bosses:admin")
    key = fake_provider.keys[0]
    async with running_admin_api(database, **settings) as new_browser, new_browser() as client:
        roles = []
        for more in ({"groups": ["bosses"]}, {}, {"groups": []}):
            claims = fake_provider.all_claims(aud=["litemaas-api"]) | more
            roles.append((await client.get(ME, headers=bearer(key.sign(claims)))).json()["role"])
        good = fake_provider.all_claims(aud="litemaas-api")
        wrong = {
            "audience": key.sign(good | {"aud": "litemaas"}),
            "no audience": key.sign({name: value for name, value in good.items() if name != "aud"}),
            "issuer": key.sign(good | {"iss": "http://127.0.0.1:1"}),
            "expired": key.sign(good | {"exp": 1_000_000_000}),
            "no end": key.sign({name: value for name, value in good.items() if name != "exp"}),
            "signature": OTHER_KEY.sign(good),
            "unsigned": unsigned(good),
            "shared secret": jwt.encode(good, PLANTED_SECRET, "HS256", headers={"kid": "first"}),
            "no words": "a.b.c",
            "unknown key": SigningKey("other").sign(good),
        }
        for token in wrong.values():
            check_error(await client.get(ME, headers=bearer(token)), 401, "not_authenticated")

    assert roles == ["admin", "admin", "user"]
    assert fake_provider.jwks_asked == 1


async def test_without_an_audience_no_jwt_is_accepted(database: Database, fake_provider: FakeProvider) -> None:
    token = fake_provider.keys[0].sign(fake_provider.all_claims())
    async with running_admin_api(database, **oidc(fake_provider.url)) as new_browser, new_browser() as client:
        check_error(await client.get(ME, headers=bearer(token)), 401, "not_authenticated")

    assert fake_provider.jwks_asked == 0


async def test_a_new_provider_key_is_found_and_old_ones_survive_an_outage(
    database: Database, fake_provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("admin_api.identity.jwt_logins.ASK_AGAIN_S", 0.0)
    monkeypatch.setattr("admin_api.identity.jwt_logins.TIMEOUT_S", 2.0)
    settings = oidc(fake_provider.url, jwt_audience="litemaas-api")
    claims = fake_provider.all_claims(aud="litemaas-api")
    async with running_admin_api(database, **settings) as new_browser, new_browser() as client:
        old, new = fake_provider.keys[0], SigningKey("second")
        first = await client.get(ME, headers=bearer(old.sign(claims)))
        fake_provider.keys.append(new)
        second = await client.get(ME, headers=bearer(new.sign(claims)))
        await fake_provider.__aexit__(None, None, None)
        third = await client.get(ME, headers=bearer(SigningKey("third").sign(claims)))
        fourth = await client.get(ME, headers=bearer(new.sign(claims)))

    assert [answer.status_code for answer in (first, second, third, fourth)] == [200, 200, 401, 200]
