"""What another site, or the next person at the same browser, can do to someone who has logged in: in Chromium."""

from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import quote, urlsplit

import pytest
from loopback_servers import LoopbackServer
from playwright.async_api import expect
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from gateway.storage.postgres import Pool
from portal.browser.windows import Looks
from portal.conftest import OPEN, NewWindow

SESSION: Final = "litemaas_session"
KEPT: Final = "() => { dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true})) }"
# Each would be elsewhere if it were followed.
ELSEWHERE: Final = (
    "//localhost:1/x", "http://localhost:1/x", "/\\localhost:1/x", "\\\\localhost:1/x", "/%09/localhost:1/x",
    "http:localhost:1/x", "javascript:alert(1)", "/\t/localhost:1/x",
)  # fmt: skip


class OtherSite(LoopbackServer):
    """Pages of an attacker."""

    def __init__(self) -> None:
        self.html = ""
        super().__init__([Route("/", self._show)])

    async def _show(self, _: Request) -> HTMLResponse:
        return HTMLResponse(f"<!doctype html><html lang=en><title>Win</title>{self.html}")

    def addresses(self) -> tuple[str, str]:
        """One of another site, and one of the same site with another origin, to which browsers send the cookie."""
        return f"http://localhost:{self.port}/", f"{self.url}/"


@pytest.fixture
async def other_site() -> AsyncIterator[OtherSite]:
    async with OtherSite() as server:
        yield server


async def test_no_page_can_be_framed(new_window: NewWindow, portal_url: str, other_site: OtherSite) -> None:
    window = await new_window()
    other_site.html = "".join(
        f"<iframe src='{portal_url}{path}'></iframe>" for path in ("/home", "/login", "/api-keys")
    )

    for address in other_site.addresses():
        await window.page.goto(address)
        frames = window.page.frames[1:]

        assert len(frames) == 3
        assert {frame.url for frame in frames} == {"chrome-error://chromewebdata/"}
        assert any("frame-ancestors" in problem for problem in window.take_problems())


async def test_a_form_of_another_origin_changes_nothing(
    new_window: NewWindow, portal_url: str, other_site: OtherSite, pool: Pool
) -> None:
    """Even with the right token, which its author cannot know, and without a script that could be stopped."""
    window = await new_window(looks=Looks(has_script=False))
    token = await window.page.locator("form[action='/logout'] input[name=csrf_token]").get_attribute("value")
    acts = {
        "/subscriptions": f"<input name=model value={OPEN}>",
        "/settings": "<input name=name value=Mallory>",
        "/logout": "",
    }
    window.expect(403)

    for address in other_site.addresses():
        for action, fields in acts.items():
            other_site.html = (
                f"<form method=post action='{portal_url}{action}'>{fields}<input name=csrf_token value='{token}'>"
                "<button>Win</button></form>"
            )
            await window.page.goto(address)
            await window.page.get_by_role("button").click()
            await expect(window.page).not_to_have_url(address)

    assert await pool.fetchval("SELECT count(*) FROM subscriptions") == 0
    assert await pool.fetchval("SELECT name FROM users") == "Ana"
    await window.open("/home")
    assert window.path == "/home"


async def test_after_the_logout_the_back_button_shows_nothing_private(new_window: NewWindow) -> None:
    for has_script in (True, False):
        window = await new_window(looks=Looks(has_script=has_script))
        await window.open("/settings")
        await window.open("/home")
        await window.log_out()
        await expect(window.page).to_have_url(window.site + "/login?out=1")

        for _ in range(2):
            await window.page.go_back()
            assert urlsplit(window.page.url).path == "/login"
            assert "Ana" not in await window.page.content()


async def test_a_page_that_the_browser_kept_is_loaded_again(new_window: NewWindow, pool: Pool) -> None:
    """npm's Chromium keeps no whole pages for its back button: the page gets the event that others send."""
    window = await new_window()
    await window.open("/settings")
    await pool.execute("DELETE FROM sessions")

    await window.page.evaluate(KEPT)

    await expect(window.page).to_have_url(window.site + "/login?next=%2Fsettings")
    assert "Ana" not in await window.page.content()


async def test_a_login_leads_to_no_other_site(new_window: NewWindow) -> None:
    window = await new_window(has_logged_in=False)
    window.expect(400, 404, 422)

    for address in ELSEWHERE:
        await window.page.context.clear_cookies()
        await window.page.goto(f"{window.site}/login?next={quote(address, safe='')}")
        await window.page.locator("a[href^='/api/auth/login']").click()
        await window.page.wait_for_load_state()

        assert window.page.url.startswith(window.site + "/"), address
        assert window.take_problems() == [], address


async def test_a_session_that_was_planted_is_not_the_one_of_the_login(new_window: NewWindow, pool: Pool) -> None:
    mallory = await new_window("mallory")
    (planted,) = [one for one in await mallory.page.context.cookies() if one["name"] == SESSION]
    window = await new_window(has_logged_in=False)
    await window.page.context.add_cookies([{"name": SESSION, "value": planted["value"], "url": window.site}])

    await window.open("/api/auth/login?provider=oidc&next=/home")

    (own,) = [one for one in await window.page.context.cookies() if one["name"] == SESSION]
    assert own["value"] != planted["value"]
    assert own["httpOnly"]
    await mallory.open("/settings")
    assert await mallory.page.locator("#name").input_value() == "Mallory"
