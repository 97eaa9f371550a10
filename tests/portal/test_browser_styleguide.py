"""What opens over a page, in the styleguide: seen whole, reached and left by keyboard, with and without a script. That
axe finds nothing in it is part of test_browser_pages.py."""

import pytest
from playwright.async_api import Page, expect

from portal.browser.windows import PHONE, Looks
from portal.conftest import NewWindow

IS_WITHIN = """(one) => {
  const box = one.getBoundingClientRect();
  return box.width > 1 && box.left >= 0 && box.right <= innerWidth && box.top >= 0 && box.bottom <= innerHeight;
}"""
WHERE = "(one) => JSON.stringify(one.getBoundingClientRect()) + one.innerText"
HAS_FOCUS = "(one) => one === document.activeElement"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("looks", [Looks("en"), Looks("en", "dark", PHONE)], ids=str)
async def test_what_opens_is_seen_whole_and_leaves_by_escape(new_window: NewWindow, looks: Looks) -> None:
    window = await new_window("boss", looks=looks, is_admin=True)
    await window.open("/admin/styleguide")
    page = window.page

    for summary in await page.locator(".litemaas-menu > summary").all():
        menu = summary.locator("xpath=following-sibling::div")
        await summary.press("Enter")
        assert await menu.evaluate(IS_WITHIN), await menu.evaluate(WHERE)
        await page.keyboard.press("Escape")
        await expect(menu).to_be_hidden()
        assert await summary.evaluate(HAS_FOCUS)
    for summary in await page.locator(".litemaas-dialog > summary").all():
        box = summary.locator("xpath=following-sibling::dialog/div")
        await summary.press("Enter")
        assert await box.evaluate(IS_WITHIN), await box.inner_text()
        assert await page.locator("dialog:modal").evaluate("(one) => one.contains(document.activeElement)")
        await page.keyboard.press("Escape")
        await expect(box).to_be_hidden()
        assert await summary.evaluate(HAS_FOCUS)
    await _see_popovers(page)


async def _see_popovers(page: Page) -> None:
    opener, popover = page.locator("[popovertarget]:not([popovertargetaction])"), page.locator("[popover]")
    await opener.press("Enter")
    assert await popover.evaluate(IS_WITHIN)
    await page.keyboard.press("Escape")
    await expect(popover).to_be_hidden()
    await page.locator("[aria-describedby=example-tooltip]").focus()
    await expect(page.locator("[role=tooltip]")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.locator("[role=tooltip]")).to_be_hidden()


async def test_without_a_script_boxes_open_below_their_buttons(new_window: NewWindow) -> None:
    window = await new_window("boss", looks=Looks("en", size=PHONE, has_script=False), is_admin=True)
    await window.open("/admin/styleguide")

    dialog = window.page.locator("#example-danger")
    await expect(dialog).to_be_hidden()
    await window.page.locator(".litemaas-dialog:has(#example-danger) > summary").click()
    await expect(dialog).to_be_visible()
    await expect(dialog.locator("[data-closes]").first).to_be_hidden()
    await window.page.locator(".litemaas-to-navigation a").click()
    await window.page.locator("#sidebar a[href='/models']").click()

    await expect(window.page).to_have_url(window.site + "/models")
