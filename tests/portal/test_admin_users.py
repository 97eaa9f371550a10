"""An admin looks after users without a terminal: each form does what it says, is audited, and is for admins only."""

from typing import Any

from factories import ADMIN, make_key, make_subscription, make_team, make_user

from admin_api.operations.people import invitations, users
from admin_api.portal.navigation import READERS
from admin_api.portal.routes import PAGES
from gateway.storage.postgres import Pool
from portal.conftest import OPEN, RESTRICTED, NewVisitor
from portal.forms import send
from portal.visitors import Visitor

# Of everything that a form can change.
COUNT_CHANGES = "SELECT count(*) FROM audit_logs WHERE action <> 'session.open' AND action NOT LIKE 'login.%'"
EXAMPLES = {"{id:int}": "1", "{name:path}": OPEN, "{action}": "suspend"}


async def id_of(pool: Pool, name: str) -> int:
    found: int = await pool.fetchval("SELECT id FROM users WHERE email = $1", f"{name}@example.org")
    return found


async def find(pool: Pool, name: str) -> Any:
    return await users.find_user(pool, ADMIN, f"{name}@example.org")


async def actions(pool: Pool) -> list[str]:
    rows = await pool.fetch("SELECT action FROM audit_logs WHERE actor = 'ana@example.org' ORDER BY id")
    return [row["action"] for row in rows if row["action"] != "session.open"]


async def test_an_admin_looks_after_a_user(new_visitor: NewVisitor, pool: Pool) -> None:
    ana, bob = await new_visitor("ana", is_admin=True), await new_visitor("bob")
    person = await find(pool, "bob")
    subscription = await make_subscription(pool, person, OPEN)
    await make_key(pool, person, OPEN)
    await invitations.invite(pool, ADMIN, str((await make_team(pool, name="red")).id), user=person.email, role="owner")
    before = len(await actions(pool))

    await make_user(pool, "aaa@example.org")
    await ana.open("/admin/users")
    by_email, by_login = ana.page.get_element_by_id("users").xpath(".//th//a/@href")
    await ana.open(by_email)
    assert [row[0][:3] for row in ana.rows("users")] == ["aaa", "ana", "bob"]
    await ana.open(by_login)
    assert [row[0][:3] for row in ana.rows("users")] == ["ana", "bob", "aaa"]
    await ana.open("/admin/users?status=active&idle=0")
    await ana.submit("/admin/users", search="BOB", role="user")
    assert [row[0] for row in ana.rows("users")] == ["bob@example.org"]
    base = f"/admin/users/{person.id}"
    await ana.open(base)
    assert [row[2:] for row in ana.rows("api-keys")] == [["active", OPEN, "never"]]
    assert [row[:2] for row in ana.rows("invitations")] == [["red", "owner"]]
    await ana.submit(base, name="Bob B.", role="admin-readonly", locale="fr", time_zone="Europe/Madrid")
    changed = await find(pool, "bob")
    assert (changed.name, changed.role, changed.locale) == ("Bob B.", "admin-readonly", "fr")
    assert changed.time_zone == "Europe/Madrid"

    await ana.submit(f"{base}/set-limit", status=422, kind="cost:month", amount="lots")
    assert "amount must be a decimal number" in ana.text
    await ana.submit(f"{base}/set-limit", kind="cost:month", amount="25.50", reason="for June")
    rows = [dict(row) for row in await pool.fetch("SELECT amount, reason FROM limits WHERE level = 'user'")]
    assert rows == [{"amount": 25_500_000_000, "reason": "for June"}]
    assert ["Cost per month", "$25.50"] in [row[1:3] for row in ana.rows("limits")]
    await ana.submit(
        f"{base}/remove-limit", limit=str(await pool.fetchval("SELECT id FROM limits WHERE level = 'user'"))
    )
    assert await pool.fetchval("SELECT count(*) FROM limits WHERE level = 'user'") == 0

    await ana.submit(f"{base}/subscription", status=422, move="suspend")
    await ana.submit(f"{base}/subscription", move="suspend", reason="unpaid")
    found = await pool.fetchrow("SELECT status, reason FROM subscriptions WHERE id = $1", subscription.id)
    assert tuple(found) == ("suspended", "unpaid")

    await ana.submit(f"{base}/end-sessions")
    assert "1 session has ended." in ana.text
    bob.zone = None
    await bob.open("/home")
    assert bob.path == "/login"
    await ana.submit(f"{base}/suspend", status=422)
    assert "A reason is required" in ana.text
    await ana.submit(f"{base}/suspend", reason="left")
    assert ((await find(pool, "bob")).status, (await find(pool, "bob")).status_reason) == ("deactivated", "left")
    await ana.submit(f"{base}/reactivate")
    assert (await find(pool, "bob")).status == "active"
    await ana.submit(f"{base}/unlink")
    assert await pool.fetchval("SELECT count(*) FROM identities WHERE user_id = $1", person.id) == 0
    assert (await actions(pool))[before:] == [
        "user.update", "limit.set", "limit.delete", "subscription.suspend", "session.end", "user.update", "user.update",
        "user.unlink",
    ]  # fmt: skip

    await ana.open(f"{base}/anonymise")
    assert "cannot be undone" in ana.text
    await ana.submit(f"{base}/anonymise", status=422, address="somebody else")
    assert (await find(pool, "bob")).anonymised_at is None
    await ana.submit(f"{base}/anonymise", address="bob@example.org")
    assert await pool.fetchval("SELECT count(*) FROM users WHERE email = 'bob@example.org'") == 0
    assert ana.actions() == {"/logout"}


async def test_a_user_is_created_with_a_budget(new_visitor: NewVisitor, pool: Pool) -> None:
    ana = await new_visitor("ana", is_admin=True)

    await ana.open("/admin/users/new")
    await ana.submit("/admin/users", status=409, email="ana@example.org", name="Twice")
    assert "There is already a user" in ana.text
    assert ana.page.get_element_by_id("name").get("value") == "Twice"
    await ana.submit("/admin/users", email="carl@example.org", monthly_cost_usd="12.345678901", locale="es")

    row = await pool.fetchrow(
        "SELECT u.locale, l.amount FROM users u JOIN limits l ON l.user_id = u.id WHERE u.email = 'carl@example.org'"
    )
    assert tuple(row) == ("es", 12_345_678_901)


async def test_two_admins_at_one_form_are_shown_what_changed(new_visitor: NewVisitor, pool: Pool) -> None:
    ana, eva = await new_visitor("ana", is_admin=True), await new_visitor("eva", is_admin=True)
    await new_visitor("bob")
    path = f"/admin/users/{await id_of(pool, 'bob')}"
    await ana.open(path)
    await eva.open(path)

    await eva.submit(path, name="Robert")
    await ana.submit(path, status=412, name="Bobby")

    assert "eva@example.org changed this meanwhile: name: Bob → Robert" in ana.text
    assert (await find(pool, "bob")).name == "Robert"
    await ana.submit(path)
    assert (await find(pool, "bob")).name == "Bobby"


def admin_paths(method: int) -> list[str]:
    """Of all pages of admins that have a GET (0) or take a POST (1)."""
    found = []
    for path, views in PAGES.items():
        # The styleguide has forms that do nothing.
        if path.startswith("/admin") and path != "/admin/styleguide" and views[method] is not None:
            for part, example in EXAMPLES.items():
                path = path.replace(part, example)
            found.append(path)
    return found


def post_forms(visitor: Visitor) -> set[str]:
    return {str(form.get("action")) for form in visitor.page.iter("form") if form.get("method") == "post"}


async def test_pages_of_admins_are_for_their_roles(new_visitor: NewVisitor, pool: Pool) -> None:
    """Everything is there, so that only the role can refuse: a user 1, a webhook 1, a delivery, a team."""
    ana, bob = await new_visitor("ana", is_admin=True), await new_visitor("bob")
    reader = await new_visitor("rita")
    await users.update_user(pool, ADMIN, "rita@example.org", role="admin-readonly")
    await make_subscription(pool, await find(pool, "bob"), RESTRICTED)
    await ana.open("/admin/webhooks/new")
    await ana.submit("/admin/webhooks", url="https://93.184.216.34/hook")
    ids = {"users": await id_of(pool, "bob"), "webhooks": await pool.fetchval("SELECT id FROM webhooks")}
    ids["teams"] = (await make_team(pool, name="red")).id
    await bob.open("/home")
    await reader.open("/home")
    before = await pool.fetchval(COUNT_CHANGES)

    def with_ids(path: str) -> str:
        kind = path.removeprefix("/admin").strip("/").split("/")[0]
        return path.replace("/1", f"/{ids[kind]}") if kind in ids else path

    for path in admin_paths(0):
        await bob.open(with_ids(path), status=403)
        only_for_changes = path.endswith(("/new", "/bulk")) or path == "/admin/teams/1/suspend"
        await reader.open(with_ids(path), status=403 if only_for_changes else 200)
        assert post_forms(reader) == {"/logout"}, path
    for path in admin_paths(1):
        for visitor in (bob, reader):
            # A user may not learn which alerts there are.
            status = 404 if visitor is bob and path.startswith("/admin/alerts") else 403
            await send(visitor, with_ids(path), status=status, decision="approve", ids="1", reason="x", address="x")

    assert await pool.fetchval(COUNT_CHANGES) == before
    assert READERS == ("admin", "admin-readonly")


async def test_texts_of_users_are_text(new_visitor: NewVisitor, pool: Pool) -> None:
    script = "<script>alert(1)</script>"
    ana = await new_visitor("ana", is_admin=True)
    await new_visitor("bob")
    person = await find(pool, "bob")
    await make_subscription(pool, person, OPEN)
    await make_key(pool, person, OPEN)
    for statement in (
        "UPDATE users SET name = $1, status_reason = $1 WHERE email = 'bob@example.org'",
        "UPDATE sessions SET user_agent = $1",
        "UPDATE identities SET subject = $1 WHERE user_id = 2",
        "UPDATE api_keys SET name = $1",
        "UPDATE subscriptions SET reason = $1",
    ):
        await pool.execute(statement, script)

    for path in ("/admin/users", f"/admin/users/{person.id}"):
        page = await ana.open(path)
        assert script in page.text_content()
        assert not [one for one in page.iter("script") if one.text]
