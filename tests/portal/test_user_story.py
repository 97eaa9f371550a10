"""A user's way through the portal without JavaScript: from the login to a key, and back out."""

import re

import pytest
from factories import ADMIN

from admin_api.operations import subscriptions
from gateway.domain.keys import is_well_formed
from gateway.storage.postgres import Pool
from portal.conftest import OPEN, RESTRICTED, NewVisitor
from portal.visitors import Visitor


async def test_a_login_leads_back_to_the_page_that_was_asked_for(new_visitor: NewVisitor) -> None:
    visitor = await new_visitor(has_logged_in=False)

    page = await visitor.open("/models?search=open")

    assert visitor.path == "/login"
    (link,) = [link for link in page.xpath("//a/@href") if link.startswith("/api/auth/login")]
    assert link == "/api/auth/login?provider=oidc&next=/models%3Fsearch%3Dopen"


async def test_from_a_subscription_to_a_key(new_visitor: NewVisitor, pool: Pool) -> None:
    ana = await new_visitor()

    await ana.open("/models")
    await ana.submit("/subscriptions", model=OPEN)
    assert (ana.path, ana.rows("subscriptions")[0][:2]) == ("/subscriptions", [OPEN, "active"])
    assert f"You have subscribed to {OPEN}." in ana.text
    assert "You have subscribed" not in (await ana.open("/subscriptions")).text_content()

    await ana.open("/api-keys/new")
    await ana.submit("/api-keys", name="my app", rpm="60")
    secret = ana.page.get_element_by_id("new-secret-text").text
    assert is_well_formed(secret)
    assert secret not in (await ana.open(ana.path)).text_content()

    assert [row[:4] for row in await _keys(ana)] == [["my app", f"…{secret[-4:]}", "active", OPEN]]
    stored = await pool.fetchrow(
        "SELECT l.kind, l.amount FROM limits l JOIN api_keys k ON k.id = l.api_key_id "
        "WHERE k.name = 'my app' AND l.kind = 'rpm'"
    )
    assert stored is not None
    assert tuple(stored) == ("rpm", 60)


async def test_a_key_is_renamed_rotated_revoked_and_taken_out_of_the_list(new_visitor: NewVisitor, pool: Pool) -> None:
    ana = await new_visitor()
    await ana.open("/models")
    await ana.submit("/subscriptions", model=OPEN)
    await ana.open("/api-keys/new")
    await ana.submit("/api-keys", name="first")
    path = ana.path
    first = ana.page.get_element_by_id("new-secret-text").text

    await ana.open(f"{path}/edit")
    await ana.submit(f"{path}/edit", name="second")
    assert ana.page.findtext(".//h1") == "second"
    await ana.submit(f"{path}/rotate")
    rotated = ana.page.get_element_by_id("new-secret-text").text
    assert is_well_formed(rotated)
    assert rotated != first
    assert f"Earlier secret …{first[-4:]}" in ana.text
    await ana.submit(f"{path}/revoke")
    assert (await _keys(ana))[0][2] == "revoked"
    await ana.open(path)
    await ana.submit(f"{path}/archive")

    assert "No API keys yet" in ana.text
    audited = await pool.fetch("SELECT action FROM audit_logs WHERE target_kind = 'key' ORDER BY id")
    acts = ("create", "update", "rotate", "revoke", "archive")
    assert [row["action"] for row in audited] == [f"key.{act}" for act in acts]


async def test_a_restricted_model_waits_for_an_admin(new_visitor: NewVisitor, pool: Pool) -> None:
    ana = await new_visitor()
    await ana.open(f"/models/{RESTRICTED}")
    await ana.submit("/subscriptions")
    assert ana.rows("subscriptions")[0][:2] == [RESTRICTED, "waits for approval"]
    row = await pool.fetchrow("SELECT id FROM subscriptions")
    assert row is not None

    await subscriptions.change_subscription(pool, ADMIN, row["id"], "deny", reason="Ask in spring.")
    await ana.open("/subscriptions")
    assert ana.rows("subscriptions")[0][:3] == [RESTRICTED, "denied", "Ask in spring."]
    await ana.submit(f"/subscriptions/{row['id']}/request-review")

    assert ana.rows("subscriptions")[0][1] == "waits for approval"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"rpm": "many"}, "Write a whole number."),
        ({"expires_at": "31.1.2027"}, "Write a day as 2027-01-31."),
        ({"expires_at": "2001-01-01"}, "future"),
        ({"allowed_ips": "nonsense"}, "nonsense"),
    ],
)
async def test_a_form_that_is_refused_is_shown_again_with_what_was_typed(
    new_visitor: NewVisitor, pool: Pool, fields: dict[str, object], said: str
) -> None:
    ana = await new_visitor()
    await ana.open("/models")
    await ana.submit("/subscriptions", model=OPEN)
    await ana.open("/api-keys/new")

    await ana.submit("/api-keys", status=422, name="typed once", **fields)

    (name,) = fields
    assert ana.page.get_element_by_id("name").get("value") == "typed once"
    field = ana.page.get_element_by_id(name)
    assert field.get("value") == fields[name]
    assert field.get("aria-invalid") == "true"
    help_text = ana.page.get_element_by_id(field.get("aria-describedby")).text_content()
    assert said in help_text
    assert await pool.fetchval("SELECT count(*) FROM api_keys") == 0


async def test_settings_change_name_language_and_theme(new_visitor: NewVisitor) -> None:
    ana = await new_visitor()
    await ana.open("/settings")
    ana.language = "es"

    await ana.submit("/settings", name="Ana María", locale="es", theme="dark")

    assert ana.page.findtext(".//h1") == "Ajustes"
    assert "pf-v6-theme-dark" in ana.page.get("class")
    assert "Ana María" in ana.page.get_element_by_id("masthead").text_content()


async def test_sessions_are_ended_one_or_all(new_visitor: NewVisitor, pool: Pool) -> None:
    laptop, phone, bob = await new_visitor(), await new_visitor(), await new_visitor("bob")
    await laptop.open("/settings")
    assert len(laptop.rows("sessions")) == 2
    (one,) = [action for action in laptop.actions() if action.startswith("/settings/sessions/")]

    token = (await bob.open("/settings")).xpath("//input[@name='csrf_token']/@value")[0]
    headers = {"origin": str(bob.browser.base_url).rstrip("/"), "accept": "text/html"}
    foreign = await bob.browser.post(one, data={"csrf_token": token}, headers=headers)
    assert foreign.status_code == 404
    await laptop.submit(one)
    assert len(laptop.rows("sessions")) == 1
    assert (await phone.browser.get("/home", headers={"accept": "text/html"})).status_code == 303
    await laptop.submit("/settings/sessions")

    assert laptop.path == "/login"
    assert "You have logged out." in laptop.page.text_content()
    left = await pool.fetch("SELECT email FROM sessions JOIN users u ON u.id = user_id WHERE ended_at IS NULL")
    assert [row["email"] for row in left] == ["bob@example.org"]


async def test_after_the_logout_no_page_opens(new_visitor: NewVisitor) -> None:
    ana = await new_visitor()
    await ana.open("/home")
    headers = {"origin": "http://127.0.0.1:1", "accept": "text/html"}
    token = ana.page.xpath("//form[@action='/logout']//input[@name='csrf_token']/@value")[0]
    origin = str(ana.browser.base_url).rstrip("/")

    foreign = await ana.browser.post("/logout", data={"csrf_token": token}, headers=headers)
    out = await ana.browser.post("/logout", data={"csrf_token": token}, headers=headers | {"origin": origin})
    after = await ana.browser.get("/home", headers={"accept": "text/html"})

    assert (foreign.status_code, out.status_code, after.status_code) == (403, 303, 303)
    assert after.headers["location"] == "/login?next=%2Fhome"


async def _keys(visitor: Visitor) -> list[list[str]]:
    await visitor.open("/api-keys")
    return [[re.sub(r"\s+", " ", cell) for cell in row] for row in visitor.rows("api-keys")]


async def test_the_call_to_copy_has_the_gateways_address_and_a_model_of_theirs(new_visitor: NewVisitor) -> None:
    ana = await new_visitor()
    await ana.open("/models")
    await ana.submit("/subscriptions", model=OPEN)

    await ana.open("/home")

    assert "curl https://models.example.org/v1/chat/completions" in ana.text
    assert f'"model": "{OPEN}"' in ana.text
