"""An admin's way in a real browser: who waits, whom there is, and who has used what."""

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs

import pytest
from factories import make_subscription, make_user
from playwright.async_api import Route, expect
from usage_rows import make_usage_row, write_rows

from gateway.storage.postgres import Pool
from portal.browser.stories import Person
from portal.browser.windows import PHONE, Looks
from portal.conftest import OPEN, RESTRICTED, NewWindow


@pytest.mark.parametrize(
    "looks",
    [
        pytest.param(Looks("fr"), id="by keyboard, in French"),
        pytest.param(Looks("en", "dark", PHONE, has_script=False), id="on a phone, without JavaScript"),
    ],
)
async def test_from_requests_to_who_used_most(new_window: NewWindow, pool: Pool, looks: Looks) -> None:
    bob, eve = await make_user(pool, "bob@example.org"), await make_user(pool, "eve@example.org")
    for user in (bob, eve):
        await make_subscription(pool, user, RESTRICTED)
    await write_usage(pool, {"bob@example.org": 3, "eve@example.org": 1})
    window = await new_window("ana", looks, is_admin=True)
    person = Person.at(window)
    await window.open("/home")

    await deny_and_approve(person, pool)
    await find_a_user(person)
    await see_who_used_most(person)
    await person.log_out()


async def test_many_requests_are_decided_with_progress_and_a_result_for_each(new_window: NewWindow, pool: Pool) -> None:
    """A few at a time; where the server goes away in between, the page says how far it came, and the rest waits."""
    for number in range(23):
        await make_subscription(pool, await make_user(pool, f"u{number}@example.org"), RESTRICTED)
    window = await new_window("ana", is_admin=True)
    await window.open("/admin/requests")
    page, sent = window.page, []

    async def cut_second(route: Route) -> None:
        sent.append(parse_qs(route.request.post_data or "")["ids"])
        await (route.abort() if len(sent) == 2 else route.continue_())

    await page.route(lambda url: url.endswith("/admin/requests"), cut_second)
    await page.get_by_label("All on this page").check()
    await page.get_by_role("button", name="Approve", exact=True).click()
    bar, rows = page.get_by_role("progressbar"), page.locator("#results tbody tr")
    await expect(bar).to_have_attribute("aria-valuetext", "10 of 23")
    await expect(rows).to_have_count(10)
    assert window.take_problems() != []
    assert await count_active(pool) == 10
    await window.check_accessibility()

    await page.get_by_label("All on this page").check()
    await page.get_by_role("button", name="Approve", exact=True).click()
    await expect(bar).to_have_attribute("aria-valuetext", "13 of 13")
    await expect(rows).to_have_count(13)
    assert [len(ids) for ids in sent] == [10, 10, 10, 3]
    assert await rows.locator("td:nth-child(2)").all_inner_texts() == ["active"] * 13
    await expect(page.locator("#announcements")).to_have_text("13 of 13")
    assert await count_active(pool) == 23
    await window.check_accessibility()


async def count_active(pool: Pool) -> int:
    found: int = await pool.fetchval("SELECT count(*) FROM subscriptions WHERE status = 'active'")
    return found


async def write_usage(pool: Pool, calls: dict[str, int]) -> None:
    now = datetime.now(UTC)
    model_id = await pool.fetchval("SELECT id FROM models WHERE name = $1", OPEN)
    for email, count in calls.items():
        row = await pool.fetchrow(
            "SELECT u.id AS user_id, a.id AS account_id FROM users u JOIN accounts a ON a.owner_user_id = u.id "
            "WHERE u.email = $1", email,
        )  # fmt: skip
        assert row is not None
        about = {**row, "model_id": model_id, "model_asked": OPEN}
        moments = [now - timedelta(seconds=n) for n in range(count)]
        await write_rows(pool, [make_usage_row(moment, **about) for moment in moments])


async def deny_and_approve(person: Person, pool: Pool) -> None:
    person.window.expect(422)
    await person.go_to("/admin/requests", "Requests")
    row = person.page.locator("#requests tbody tr", has_text="eve@example.org")
    await person.press(row.locator("input[type=checkbox]"))
    await person.press(person.button("Deny"))
    # What was chosen stays; the message stands beside the field.
    await expect(person.field("Reason")).to_have_attribute("aria-invalid", "true")
    await expect(row.locator("input[type=checkbox]")).to_be_checked()
    await person.hand.write(person.field("Reason"), "Ask in spring.")
    await person.press(person.button("Deny"))
    await expect(row).to_have_count(0)

    await person.press(person.page.locator("#requests tbody tr input[type=checkbox]"))
    await person.press(person.button("Approve"))
    await person.sees("Nothing waits")
    found = await pool.fetch(
        "SELECT a.name, s.status, s.reason FROM subscriptions s JOIN accounts a ON a.id = account_id"
    )
    assert {row["name"]: (row["status"], row["reason"]) for row in found} == {
        "eve@example.org": ("denied", "Ask in spring."),
        "bob@example.org": ("active", None),
    }


async def find_a_user(person: Person) -> None:
    await person.go_to("/admin/users", "Users")
    await person.hand.write(person.field("Search"), "bob")
    await person.press(person.button("Filter"))
    await expect(person.page.locator("#users tbody tr")).to_have_count(1)
    await expect(person.page.locator("#users tbody tr")).to_contain_text("bob@example.org")


async def see_who_used_most(person: Person) -> None:
    await person.go_to("/admin/usage", "Usage of all")
    await person.hand.choose(person.field("Group by"), "user")
    if not person.window.looks.has_script:
        await person.press(person.button("Show"))
    first = person.page.locator("#groups tbody tr").first.locator("td")
    await expect(first.nth(0)).to_have_text("bob@example.org")
    await expect(first.nth(1)).to_have_text("3")
