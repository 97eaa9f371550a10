"""Claims as identity providers really report them, in logins and in JWTs alike (A5)."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from admin_client import check_error
from browsers import ME, bearer, oidc, running_admin_api
from conftest import Database
from identity_providers import FakeProvider, log_in
from provider_claims import EMAIL, FORMS, GROUP, TABLE, ReportedClaims

from admin_api import metrics
from gateway.storage.postgres import Pool

LOGINS = (Path(__file__).parents[2] / "docs/logins.md").read_text()
HTML = {"accept": "text/html,application/xhtml+xml"}


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as server:
        server.more = {}
        yield server


def settings_of(provider: FakeProvider, row: ReportedClaims) -> dict[str, Any]:
    own = {f"oidc_{name}": value for name, value in row.settings.items()}
    return oidc(provider.url, jwt_audience="litemaas-api", group_roles=f"{row.group}:admin", **own)


def jwt_of(provider: FakeProvider, claims: dict[str, Any]) -> dict[str, str]:
    merged = provider.all_claims(aud="litemaas-api") | claims
    return bearer(provider.keys[0].sign({name: value for name, value in merged.items() if value is not None}))


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.provider)
async def test_a5_a_login_works_with_the_settings_of_each_provider(
    database: Database, provider: FakeProvider, row: ReportedClaims
) -> None:
    provider.claims, provider.more = row.claims, row.more
    async with running_admin_api(database, **settings_of(provider, row)) as new_browser, new_browser() as browser:
        back = await log_in(browser)
        by_login = (await browser.get(ME)).json()
        # A JWT brings all its claims itself.
        by_token = (await new_browser().get(ME, headers=jwt_of(provider, row.claims | row.more))).json()

    assert back.status_code == 302, back.text
    assert (by_login["email"], by_login["role"]) == (EMAIL, "admin")
    assert by_token == by_login


@pytest.mark.parametrize("form", FORMS)
async def test_a5_other_forms_of_a_claim_are_read_by_logins_and_jwts_alike(
    database: Database, provider: FakeProvider, form: str
) -> None:
    provider.claims = FORMS[form]
    row = ReportedClaims(form, FORMS[form])
    async with running_admin_api(database, **settings_of(provider, row)) as new_browser, new_browser() as browser:
        first = await new_browser().get(ME, headers=jwt_of(provider, row.claims | {"sub": "bob", "email": "b@x.org"}))
        await log_in(browser)
        by_login = (await browser.get(ME)).json()

    assert (first.status_code, first.json()["role"]) == (200, "admin"), first.text
    assert (by_login["email"], by_login["role"]) == (EMAIL, "admin")


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.provider)
def test_a5_the_docs_name_each_provider_and_its_settings(row: ReportedClaims) -> None:
    line = next((line for line in LOGINS.splitlines() if line.startswith(f"| {row.provider} |")), "")
    written = [f"`{name.upper()}={value}`" for name, value in row.settings.items()]

    assert line, f"docs/logins.md has no row for {row.provider}"
    assert [setting for setting in written if setting not in line] == []


REFUSED: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "no address": (
        {"email": None, "preferred_username": EMAIL},
        {"cause": "email_missing", "claim": "email", "setting": "LITEMAAS_OIDC_EMAIL_CLAIM"},
    ),
    "unverified": (
        {"email_verified": "false"},
        {"cause": "email_unverified", "claim": "email_verified", "setting": "LITEMAAS_OIDC_TRUST_EMAILS"},
    ),
    "not said": (
        {"email_verified": None},
        {"cause": "email_unverified", "claim": "email_verified", "setting": "LITEMAAS_OIDC_TRUST_EMAILS"},
    ),
    "not ASCII": ({"email": "\u0430nn@example.org"}, {"cause": "email_not_valid", "claim": "email"}),
    "no mailbox": ({"email": "ann@"}, {"cause": "email_missing", "claim": "email"}),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_a5_a_refused_login_names_claim_and_setting_and_is_counted_logged_and_audited(
    database: Database, pool: Pool, provider: FakeProvider, capfd: pytest.CaptureFixture[str], case: str
) -> None:
    provider.claims, expected = REFUSED[case]
    settings = oidc(provider.url, jwt_audience="litemaas-api", log_level="info")

    def counted(login: str) -> float:
        labels = {"login": login, "cause": expected["cause"]}
        return metrics.REGISTRY.get_sample_value("litemaas_admin_logins_refused_total", labels) or 0.0

    before = [counted("oidc"), counted("jwt")]
    async with running_admin_api(database, **settings) as new_browser, new_browser() as browser:
        answer = await log_in(browser)
        token = jwt_of(provider, provider.claims)
        by_token = [await new_browser().get(ME, headers=token) for _ in range(3)]
    rows = await pool.fetch("SELECT actor, new FROM audit_logs WHERE action = 'login.refuse' ORDER BY id")
    logged = [line for line in "".join(capfd.readouterr()).splitlines() if '"login_refused"' in line]

    for one in (answer, *by_token):
        details = check_error(one, 403, "forbidden")
        assert {name: details.get(name) for name in expected} == expected
    for word in (expected["claim"], expected.get("setting", "")):
        assert word in answer.json()["error"]["message"]
    assert [counted("oidc"), counted("jwt")] == [before[0] + 1, before[1] + 3]
    # The same JWT three times is one row.
    assert [row["actor"] for row in rows] == ["login:oidc", "login:jwt"]
    for new in (json.loads(row["new"]) for row in rows):
        assert expected.items() <= new.items()
        assert (new["issuer"], new["subject"]) == (provider.url, "ann")
    assert [json.loads(line)["cause"] for line in logged] == [expected["cause"]] * 2


async def test_a5_a_person_reads_a_refusal_as_a_page(database: Database, provider: FakeProvider) -> None:
    provider.claims = {"email": None, "<b>x": "a@b"}
    async with running_admin_api(database, **oidc(provider.url)) as new_browser, new_browser() as browser:
        browser.headers.update(HTML)
        page = await log_in(browser)
        lost = await browser.get("/api/auth/callback?state=x&code=y")

    assert (page.status_code, page.headers["content-type"]) == (403, "text/html; charset=utf-8")
    assert "claim &#x27;email&#x27;" in page.text
    assert "LITEMAAS_OIDC_EMAIL_CLAIM" in page.text
    assert "<b>x" not in page.text
    assert page.headers["x-request-id"] in page.text
    assert '<a href="/api/auth/login?provider=oidc">' in page.text
    assert (lost.status_code, lost.headers["content-type"]) == (400, "text/html; charset=utf-8")


async def test_a5_a_verified_address_is_not_verified_by_another(database: Database, provider: FakeProvider) -> None:
    """`email_verified` is about `email`, and the user endpoint's is about the address there."""
    other = oidc(provider.url, oidc_email_claim="upn")
    provider.claims = {"upn": "boss@example.org", "email_verified": True}
    async with running_admin_api(database, **other) as new_browser:
        by_upn = await log_in(new_browser())
    provider.claims = {"email": "boss@example.org", "email_verified": None}
    provider.more = {"email": EMAIL, "email_verified": True}
    async with running_admin_api(database, **oidc(provider.url)) as new_browser:
        by_endpoint = await log_in(new_browser())

    for answer in (by_upn, by_endpoint):
        assert check_error(answer, 403, "forbidden")["cause"] == "email_unverified"


async def test_a5_an_exact_name_comes_before_a_path_and_what_is_no_group_gives_no_role(
    database: Database, provider: FakeProvider
) -> None:
    settings = oidc(provider.url, oidc_groups_claim="realm_access.roles", group_roles=f"{GROUP}:admin,True:admin")
    roles = []
    async with running_admin_api(database, **settings) as new_browser, new_browser() as browser:
        for claims in (
            {"realm_access.roles": ["staff"], "realm_access": {"roles": [GROUP]}},
            {"realm_access": [GROUP]},
            {"realm_access": {"roles": {GROUP: True}}},
            {"realm_access": {"roles": [{"name": GROUP}]}},
            {"realm_access": {"roles": [True]}},
        ):
            provider.claims = claims
            assert (await log_in(browser)).status_code == 302
            roles.append((await browser.get(ME)).json()["role"])

    assert roles == ["user"] * 5
