"""Spellings of one e-mail address are one user, and what looks like it is none (S14)."""

from collections.abc import AsyncIterator
from typing import Final

import httpx2
import pytest
from admin_client import check_error
from browsers import bearer, oidc, running_admin_api
from conftest import Database
from identity_providers import FakeProvider, log_in

from gateway.storage.postgres import Pool

USERS: Final = "/api/v1/users"
MIKE: Final = "mike@example.org"
FORMS: Final = {
    "ligature": ("\ufb01ona@example.org", "fiona@example.org"),
    "full width": ("\uff4dike@example.org", MIKE),
    "Kelvin sign": ("mi\u212ae@example.org", MIKE),
    "full-width @": ("mike\uff20example.org", MIKE),
    "upper case and host": ("MIKE@EXAMPLE.\uff4frg", MIKE),
}
LOOK_ALIKES: Final = {
    "Cyrillic": "mik\u0435@example.org",
    "dotless i": "m\u0131ke@example.org",
    "zero width": "mi\u200bke@example.org",
    "Cyrillic in the host": "mike@ex\u0430mple.org",
}


@pytest.fixture
async def fake_provider() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as server:
        yield server


async def users(pool: Pool) -> list[str]:
    return [row["email"] for row in await pool.fetch("SELECT email FROM users ORDER BY id")]


@pytest.mark.parametrize("form", FORMS)
async def test_s14_forms_of_one_address_are_one_user(admin: httpx2.AsyncClient, pool: Pool, form: str) -> None:
    written, address = FORMS[form]
    made = await admin.post(USERS, json={"email": written})
    again = [await admin.post(USERS, json={"email": email}) for email in (address, address.upper(), written)]
    found = await admin.get(f"{USERS}/{written}")

    assert (made.status_code, made.json()["email"]) == (201, address)
    for answer in again:
        check_error(answer, 409, "conflict")
    assert found.json() == made.json()
    assert await users(pool) == [address]


@pytest.mark.parametrize("form", LOOK_ALIKES)
async def test_s14_a_look_alike_is_no_user(admin: httpx2.AsyncClient, pool: Pool, form: str) -> None:
    await admin.post(USERS, json={"email": MIKE})

    details = check_error(await admin.post(USERS, json={"email": LOOK_ALIKES[form]}), 422, "validation_failed")
    check_error(await admin.get(f"{USERS}/{LOOK_ALIKES[form]}"), 404, "not_found")

    assert [field["field"] for field in details["fields"]] == ["email"]  # type: ignore[attr-defined]  # JSON
    assert await users(pool) == [MIKE]


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("email", [form for form, _ in FORMS.values()][:4] + list(LOOK_ALIKES.values()))
async def test_s14_a_login_with_another_spelling_takes_over_and_creates_nobody(
    database: Database, pool: Pool, fake_provider: FakeProvider, email: str, *, there: bool
) -> None:
    """A proof that somebody has `mi\u212ae@` is no proof that they have `mike@`."""
    settings = oidc(fake_provider.url, jwt_audience="litemaas-api", initial_admins=f"{MIKE},fiona@example.org")
    fake_provider.claims = {"sub": "attacker", "email": email}
    async with running_admin_api(database, **settings) as new_browser, new_browser() as browser:
        if there:
            headers = bearer("0123456789abcdef0123456789abcdef")
            for address in (MIKE, "fiona@example.org"):
                assert (await browser.post(USERS, json={"email": address}, headers=headers)).status_code == 201
        before = await users(pool)
        token = fake_provider.keys[0].sign(fake_provider.all_claims(aud="litemaas-api", sub="attacker", email=email))
        answers = [await log_in(browser), await browser.get(f"{USERS}/me", headers=bearer(token))]

    assert [answer.status_code // 100 for answer in answers] == [4, 4], [answer.text for answer in answers]
    assert await users(pool) == before
    assert await pool.fetchval("SELECT count(*) FROM identities") == 0


async def test_s14_an_international_host_is_one_address_at_a_login_too(
    database: Database, pool: Pool, fake_provider: FakeProvider
) -> None:
    settings = oidc(fake_provider.url)
    async with running_admin_api(database, **settings) as new_browser:
        for subject, email in (("1", "Ann@B\u00fccher.de"), ("2", "ann@xn--bcher-kva.de")):
            fake_provider.claims = {"sub": subject, "email": email}
            await log_in(new_browser())

    assert await users(pool) == ["ann@xn--bcher-kva.de"]


async def test_s14_a_user_whose_address_was_stored_as_it_was_written_stays_one(
    database: Database, pool: Pool, fake_provider: FakeProvider
) -> None:
    """As versions before 0.2.0 did."""
    stored = "ann@b\u00fccher.de"
    user_id = await pool.fetchval("INSERT INTO users (email) VALUES ($1) RETURNING id", stored)
    insert = "INSERT INTO accounts (kind, name, owner_user_id) VALUES ('personal', $1, $2)"
    await pool.execute(insert, stored, user_id)
    fake_provider.claims = {"sub": "1", "email": "Ann@B\u00fccher.de"}
    headers = bearer("0123456789abcdef0123456789abcdef")
    async with running_admin_api(database, **oidc(fake_provider.url)) as new_browser, new_browser() as browser:
        twice = await browser.post(USERS, json={"email": "ANN@B\u00dcCHER.de"}, headers=headers)
        await log_in(browser)
        me = (await browser.get(f"{USERS}/me")).json()

    check_error(twice, 409, "conflict")
    # A login brings the address into its one form.
    assert me["email"] == "ann@xn--bcher-kva.de"
    assert await users(pool) == [me["email"]]
