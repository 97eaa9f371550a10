"""Figures that change by themselves, in a real browser whose clock is moved."""

from datetime import UTC, datetime

from playwright.async_api import Page, expect
from usage_rows import make_usage_row, write_rows

from gateway.storage.postgres import Pool
from portal.conftest import NewWindow

HALF_A_MINUTE = 31_000


async def test_usage_is_read_again_and_focus_and_what_was_opened_stay(new_window: NewWindow, pool: Pool) -> None:
    window = await new_window("ana")
    page = window.page
    await page.clock.install()
    await make_calls(pool, 1)
    await window.open("/usage")
    asked = count_requests(page)

    summary = page.locator("details:has(#points) > summary")
    await summary.click()
    await expect(page.locator("#points")).to_be_visible()
    await make_calls(pool, 2)
    await page.clock.run_for(HALF_A_MINUTE)
    await expect(page.locator("#total-cost")).to_have_text("$3.00")
    await expect(page.locator("#points")).to_be_visible()
    await expect(summary).to_be_focused()
    await expect(page.locator("#announcements")).to_have_text("The figures on this page have changed.")

    # Nothing changed, so nothing is said; and nothing is read while a link in it has the focus.
    await page.evaluate("document.getElementById('announcements').textContent = ''")
    async with page.expect_response(lambda answer: "/usage" in answer.url):
        await page.clock.run_for(HALF_A_MINUTE)
    await page.locator("#groups a").first.focus()
    await make_calls(pool, 4)
    before = len(asked)
    await page.clock.run_for(HALF_A_MINUTE)
    assert len(asked) == before
    await expect(page.locator("#total-cost")).to_have_text("$3.00")
    await expect(page.locator("#announcements")).to_have_text("")
    await page.locator("#metric").focus()
    await page.clock.run_for(HALF_A_MINUTE)
    await expect(page.locator("#total-cost")).to_have_text("$7.00")
    await expect(page.locator("#metric")).to_be_focused()

    # What is over does not change.
    await window.open("/usage?period=last-month")
    assert await page.locator("[data-refresh]").count() == 0


async def make_calls(pool: Pool, dollars: int) -> None:
    about = await pool.fetchrow(
        "SELECT a.id AS account_id, u.id AS user_id FROM users u JOIN accounts a ON a.owner_user_id = u.id"
        " WHERE u.email = 'ana@example.org'"
    )
    model_id = await pool.fetchval("SELECT min(id) FROM models")
    await write_rows(
        pool, [make_usage_row(datetime.now(UTC), **about, model_id=model_id, cost_nano_usd=dollars * 10**9)]
    )


def count_requests(page: Page) -> list[str]:
    """Of the page, from now on."""
    seen: list[str] = []
    page.on("request", lambda request: seen.append(request.url))
    return seen
