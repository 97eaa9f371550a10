"""An admin's way through the portal without JavaScript: requests, users, and who spent most."""

import pytest
from factories import ADMIN

from admin_api.operations.people import users
from gateway.storage.postgres import Pool
from portal.conftest import RESTRICTED, NewVisitor

ADMIN_PAGES = ("/admin/requests", "/admin/users", "/admin/usage")


async def test_users_have_no_admin_pages(new_visitor: NewVisitor) -> None:
    ana = await new_visitor()

    page = await ana.open("/home")
    links = set(page.xpath("//nav//a/@href"))

    assert links.isdisjoint(ADMIN_PAGES)
    for path in ADMIN_PAGES:
        await ana.open(path, status=403)
        assert ana.page.findtext(".//h1") == "You may not do this"


async def test_requests_are_decided_many_at_a_time(new_visitor: NewVisitor, pool: Pool) -> None:
    ana, bob = await new_visitor("ana"), await new_visitor("bob")
    for one in (ana, bob):
        await one.open(f"/models/{RESTRICTED}")
        await one.submit("/subscriptions")
    await users.update_user(pool, ADMIN, "ana@example.org", role="admin")
    ids = [str(row["id"]) for row in await pool.fetch("SELECT id FROM subscriptions ORDER BY id")]

    await ana.open("/admin/requests")
    assert [row[1:3] for row in ana.rows("requests")] == [
        ["ana@example.org", RESTRICTED],
        ["bob@example.org", RESTRICTED],
    ]
    await ana.submit("/admin/requests", status=422, button="Deny", ids=ids)
    assert "reason" in ana.text
    await ana.submit("/admin/requests", button="Approve", ids=ids)

    assert "Nothing waits" in ana.text
    assert [row["status"] for row in await pool.fetch("SELECT status FROM subscriptions")] == ["active", "active"]


@pytest.mark.parametrize("search", ["bob", ""])
async def test_users_are_found(new_visitor: NewVisitor, search: str) -> None:
    ana = await new_visitor("ana", is_admin=True)
    await new_visitor("bob")

    await ana.open("/admin/users")
    await ana.submit("/admin/users", search=search)

    found = [row[0] for row in ana.rows("users")]
    assert found == (["bob@example.org"] if search else ["ana@example.org", "bob@example.org"])
