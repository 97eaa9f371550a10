"""Groups that the provider does not report leave the role as it is, and leave a trace (A4)."""

import json
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
from browsers import ME, bearer, oidc, running_admin_api
from conftest import Database
from identity_providers import FakeProvider, log_in

from gateway.storage.postgres import Pool

SOURCES: Final = {"src1": {"endpoint": "https://graph.example.org/users/1/getMemberObjects"}}
UNKNOWN: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "above 200 groups": ({"_claim_names": {"groups": "src1"}, "_claim_sources": SOURCES}, "elsewhere"),
    "in a part of them": ({"_claim_names": {"groups": "src1"}, "groups": ["staff"]}, "elsewhere"),
    "implicit flow": ({"hasgroups": True}, "elsewhere"),
    "hasgroups as text": ({"hasgroups": "true"}, "elsewhere"),
    "named source": ({"groups:src1": "https://graph.example.org"}, "elsewhere"),
    "an object": ({"groups": {"bosses": True}}, "unreadable"),
    "objects": ({"groups": [{"name": "staff"}]}, "unreadable"),
    "a number": ({"groups": 7}, "unreadable"),
    "missing": ({}, "missing"),
}


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as server:
        yield server


def settings(provider: FakeProvider, **more: Any) -> dict[str, Any]:
    return oidc(provider.url, jwt_audience="litemaas-api", group_roles="bosses:admin", log_level="info", **more)


def token(provider: FakeProvider, claims: dict[str, Any]) -> dict[str, str]:
    return bearer(provider.keys[0].sign(provider.all_claims(aud="litemaas-api", **claims)))


@pytest.mark.parametrize("case", UNKNOWN)
async def test_a4_a_role_stays_if_groups_are_unknown_in_logins_and_jwts_alike(
    database: Database, pool: Pool, provider: FakeProvider, capfd: pytest.CaptureFixture[str], case: str
) -> None:
    claims, cause = UNKNOWN[case]
    async with running_admin_api(database, **settings(provider)) as new_browser, new_browser() as browser:
        provider.claims = {"groups": ["bosses"]}
        await log_in(browser)
        provider.claims = claims
        await log_in(browser)
        by_login = (await browser.get(ME)).json()["role"]
        by_token = [(await new_browser().get(ME, headers=token(provider, claims))).json()["role"] for _ in range(2)]
        provider.claims = {"groups": []}
        await log_in(browser)
        after = (await browser.get(ME)).json()["role"]
    rows = await pool.fetch("SELECT actor, new FROM audit_logs WHERE action = 'user.keep_role' ORDER BY id")
    logged = [json.loads(line) for line in "".join(capfd.readouterr()).splitlines() if '"groups_unknown"' in line]

    assert (by_login, by_token, after) == ("admin", ["admin"] * 2, "user")
    assert [row["actor"] for row in rows] == ["login:oidc"] + ["login:jwt"] * (cause != "missing")
    for said in [json.loads(row["new"]) for row in rows] + logged:
        assert (said["cause"], said["claim"], said["role"]) == (f"groups_{cause}", "groups", "admin")
    assert len(logged) == len(rows)


async def test_a4_a_missing_claim_is_none_where_the_setting_says_so(
    database: Database, pool: Pool, provider: FakeProvider
) -> None:
    roles = []
    own = settings(provider, oidc_missing_groups="none")
    async with running_admin_api(database, **own) as new_browser, new_browser() as browser:
        for claims in ({"groups": ["bosses"]}, {"hasgroups": True}, {}):
            provider.claims = claims
            await log_in(browser)
            roles.append((await browser.get(ME)).json()["role"])
        provider.claims = {"groups": ["bosses"]}
        await log_in(browser)
        roles.append((await new_browser().get(ME, headers=token(provider, {}))).json()["role"])
    last = await pool.fetchrow(
        "SELECT actor, new FROM audit_logs WHERE action = 'user.update' ORDER BY id DESC LIMIT 1"
    )

    assert roles == ["admin", "admin", "user", "user"]
    assert last is not None
    assert last["actor"] == "login:jwt"
    assert json.loads(last["new"])["cause"] == f"login at {provider.url}"


async def test_a4_unknown_groups_give_no_role_and_a_kept_role_ends_with_its_setting(
    database: Database, provider: FakeProvider
) -> None:
    provider.claims = {"hasgroups": True}
    async with running_admin_api(database, **settings(provider)) as new_browser, new_browser() as browser:
        await log_in(browser)
        first = (await browser.get(ME)).json()["role"]
        provider.claims = {"groups": ["bosses"]}
        await log_in(browser)
    provider.claims = {"hasgroups": True}
    async with running_admin_api(database, **settings(provider) | {"group_roles": "x:user"}) as new_browser:
        browser = new_browser()
        await log_in(browser)
        without = (await browser.get(ME)).json()["role"]

    assert (first, without) == ("user", "user")
