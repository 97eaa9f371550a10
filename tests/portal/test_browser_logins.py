"""Login and logout in Chromium: where they lead, and that the provider's session ends too."""

import pytest
from identity_providers import FakeProvider
from playwright.async_api import expect

from gateway.storage.postgres import Pool
from portal.browser.windows import Looks
from portal.conftest import NewWindow


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
    """Also when a part of the page is asked for by a script."""
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
