"""Login and logout in Chromium: where they lead, and that the provider's session ends too."""

from typing import Final

import pytest
from identity_providers import FakeProvider
from playwright.async_api import expect

from gateway.storage.postgres import Pool
from portal.browser.windows import Looks
from portal.conftest import NewWindow

REFRESH_MS: Final = 30_000


@pytest.mark.parametrize("has_script", [True, False])
async def test_a_logout_ends_the_session_at_the_provider_too(
    new_window: NewWindow, provider: FakeProvider, has_script: bool
) -> None:
    provider.has_logout = True
    window = await new_window(looks=Looks(has_script=has_script))

    await window.log_out()

    await expect(window.page).to_have_title("Logged out")
    assert window.page.url.startswith(f"{provider.url}/logout?")
    # Nothing was left for the back button, nor for people who write the address.
    await window.open("/home")
    assert window.path == "/login?next=%2Fhome"


async def test_a_login_that_ran_out_leads_back_to_the_page(new_window: NewWindow, pool: Pool) -> None:
    """Also when a script asks for a part of the page, because of a filter."""
    for act in ("reload", "filter"):
        window = await new_window()
        await window.open("/usage?period=last-month")
        await pool.execute("DELETE FROM sessions")
        if act == "reload":
            await window.page.reload()
        else:
            await window.page.locator("#by").select_option("key")
        await window.page.locator("a[href^='/api/auth/login']").click()

        await expect(window.page.locator("#by")).to_have_value("model" if act == "reload" else "key")
        assert "period=last-month" in window.path


async def test_a_page_that_reads_itself_again_leads_to_the_login_and_back(new_window: NewWindow, pool: Pool) -> None:
    window = await new_window()
    await window.page.clock.install()
    await window.open("/limits")
    await pool.execute("DELETE FROM sessions")

    await window.page.clock.fast_forward(REFRESH_MS)
    await expect(window.page).to_have_url(f"{window.site}/login?next=%2Flimits")
    await window.page.locator("a[href^='/api/auth/login']").click()

    await expect(window.page).to_have_url(f"{window.site}/limits")
