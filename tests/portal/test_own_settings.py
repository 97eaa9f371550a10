"""A person's own settings: profile, personal access tokens."""

from factories import ADMIN

from admin_api.operations.notifications.email_choices import EMAILS
from admin_api.operations.people import users
from admin_api.portal.word_texts import EVENTS
from gateway.domain.keys import PERSONAL_PREFIX, is_well_formed
from gateway.storage.postgres import Pool
from portal.conftest import NewVisitor
from portal.visitors import Visitor

SCRIPT = "<script>alert(1)</script>"
TOKENS, CHOICES = "/settings/tokens", "/settings/notifications"


async def status_with(visitor: Visitor, token: str) -> int:
    """Of a call of the admin API with a token, and without the browser's session."""
    headers = {"authorization": f"Bearer {token}", "cookie": ""}
    return (await visitor.browser.get("/api/v1/users/me", headers=headers)).status_code


async def test_a_token_is_shown_once_works_and_is_revoked(new_visitor: NewVisitor, pool: Pool) -> None:
    ana, bob = await new_visitor("ana", is_admin=True), await new_visitor("bob")

    await bob.open(TOKENS)
    assert "role" not in bob.page.xpath("//form[@action='/settings/tokens']//@name")
    await bob.submit(TOKENS, status=422, name="late", expires_at="2001-01-01")
    assert bob.page.get_element_by_id("expires_at").get("aria-invalid") == "true"
    assert bob.page.get_element_by_id("name").get("value") == "late"
    await bob.submit(TOKENS, name=SCRIPT, expires_at="")
    first = bob.page.get_element_by_id("new-secret-text").text
    assert is_well_formed(first, PERSONAL_PREFIX)
    assert first not in (await bob.open(TOKENS)).text_content()
    assert [row[:4] for row in bob.rows("tokens")] == [[SCRIPT, f"…{first[-4:]}", "active", "user"]]
    days = "SELECT extract(epoch FROM expires_at - created_at) / 86400 FROM personal_tokens"
    assert round(await pool.fetchval(days)) == 90
    assert await status_with(bob, first) == 200
    own = await pool.fetchval("SELECT id FROM personal_tokens")

    # Ana's page has other tokens, and does not revoke Bob's; as an admin she does so on the page of this user.
    await ana.open(TOKENS)
    await ana.submit(TOKENS, name="", role="admin-readonly")
    assert [row[3] for row in ana.rows("tokens")] == ["admin who only reads"]
    assert (await ana.post(f"{TOKENS}/{own}/revoke")).status_code == 404
    assert await status_with(bob, first) == 200
    user = await pool.fetchval("SELECT id FROM users WHERE email = 'bob@example.org'")
    await ana.open(f"/admin/users/{user}")
    assert [row[0] for row in ana.rows("tokens")] == [SCRIPT]
    await ana.submit(f"/admin/users/{user}/revoke-token")
    assert [row[2] for row in ana.rows("tokens")] == ["revoked"]
    assert await status_with(bob, first) == 401

    await bob.open(TOKENS)
    await bob.submit(TOKENS, name="second")
    second = bob.page.get_element_by_id("new-secret-text").text
    last = await pool.fetchval("SELECT max(id) FROM personal_tokens")
    await bob.submit(f"{TOKENS}/{last}/revoke")
    assert [row[2] for row in bob.rows("tokens")] == ["revoked", "revoked"]
    assert await status_with(bob, second) == 401
    acts = await pool.fetch("SELECT actor, action FROM audit_logs WHERE target_kind = 'personal_token' ORDER BY id")
    names = [(row["actor"].split("@")[0], row["action"].rpartition(".")[2]) for row in acts]
    assert names == [
        ("bob", "create"), ("ana", "create"), ("ana", "revoke"), ("bob", "create"), ("bob", "revoke"),
    ]  # fmt: skip


async def test_a_person_chooses_which_emails_they_get(new_visitor: NewVisitor, pool: Pool) -> None:
    ana = await new_visitor("ana", is_admin=True)
    muted = "SELECT muted_emails FROM users WHERE email = 'ana@example.org'"

    page = await ana.open(CHOICES)
    wanted = page.xpath("//input[@name='wanted' and @checked]/@value")
    assert set(wanted) == set(EMAILS) <= set(EVENTS)
    assert "No mail server is set up here" in ana.text
    await ana.submit(CHOICES, wanted=[event for event in wanted if not event.startswith("key.")])
    assert await pool.fetchval(muted) == ["key.ended", "key.ending"]
    # Somebody else's choice for what the page did not show stays.
    await ana.post(CHOICES, shown=["key.ended"], wanted=["key.ended"])
    assert await pool.fetchval(muted) == ["key.ending"]
    assert (await ana.post(CHOICES, shown=["weather"])).status_code == 422
    acts = await pool.fetch("SELECT old::text, new::text FROM audit_logs WHERE new::text LIKE '%muted%' ORDER BY id")
    assert ["key.ended" in row["new"] for row in acts] == [True, False]


async def test_the_language_goes_back_to_the_browsers(new_visitor: NewVisitor, pool: Pool) -> None:
    ana, bob = await new_visitor("ana", is_admin=True), await new_visitor("bob")
    user = await pool.fetchval("SELECT id FROM users WHERE email = 'bob@example.org'")
    kept = "SELECT locale FROM users WHERE id = $1"

    for visitor, form in ((bob, "/settings"), (ana, f"/admin/users/{user}")):
        await visitor.open(form)
        visitor.language = "fr" if visitor is bob else "en"
        await visitor.submit(form, locale="fr")
        assert await pool.fetchval(kept, user) == "fr"
        visitor.language = "en"
        await visitor.submit(form, locale="")
        assert await pool.fetchval(kept, user) is None


async def test_read_only_admins_choose_a_theme_and_nothing_else(new_visitor: NewVisitor, pool: Pool) -> None:
    rita = await new_visitor("rita")
    await users.update_user(pool, ADMIN, "rita@example.org", role="admin-readonly", name="Rita")

    await rita.open(TOKENS)
    assert rita.actions() == {"/logout"}
    assert (await rita.post(TOKENS, name="mine")).status_code == 403
    await rita.open(CHOICES)
    assert rita.actions() == {"/logout"}
    assert (await rita.post(CHOICES, shown="key.ended")).status_code == 403
    await rita.open("/settings")
    await rita.submit("/settings", theme="dark")
    assert rita.page.get("data-theme") == "dark"
    assert (await rita.post("/settings", name="Margarita")).status_code == 403
    assert await pool.fetchval("SELECT name FROM users") == "Rita"
    assert await pool.fetchval("SELECT count(*) FROM personal_tokens") == 0
