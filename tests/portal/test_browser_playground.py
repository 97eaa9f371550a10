"""The playground in Chromium: an answer appears as it comes, is stopped by a key, and is text whatever it says."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
from browsers import oidc, served_admin_api
from conftest import Database
from factories import make_subscription
from gateways import wait_until
from identity_providers import FakeProvider
from playwright.async_api import expect
from scripted_upstream import OK, ScriptedUpstream, Then, scripted_upstream

from admin_api.storage import users
from gateway.storage.postgres import Pool
from portal.browser.windows import LOGIN, Window, Windows
from portal.conftest import OPEN

EVIL = "<img src=x onerror=alert(1)><script>alert(2)</script> & more"
HEAD = OK + b"content-type: text/event-stream\r\nx-request-id: %b\r\nconnection: close\r\n\r\n"
REFUSED = b'{"error": {"message": "Wait a minute.", "code": "rate_limit_exceeded", "request_id": "the-id"}}'


def pieces(*texts: str) -> bytes:
    events = [msgspec.json.encode({"choices": [{"delta": {"content": text}}]}) for text in texts]
    return b"".join(b"data: %b\n\n" % event for event in events)


@asynccontextmanager
async def opened(
    database: Database, pool: Pool, windows: Windows, provider: FakeProvider, upstream: ScriptedUpstream
) -> AsyncIterator[Window]:
    about = {"gateway_internal_url": upstream.url, "gateway_url": "https://models.example.org"}
    async with served_admin_api(database.app_url, **oidc(provider.url, **about)) as url:
        window = await windows.open(url)
        provider.claims |= {"sub": "ana", "email": "ana@example.org", "name": "Ana"}
        await window.open(LOGIN)
        async with pool.acquire() as connection:
            ana = await users.find_user(connection, email="ana@example.org")
        assert ana is not None
        await make_subscription(pool, ana, OPEN)
        await window.open(f"/playground?model={OPEN}")
        yield window


@pytest.mark.timeout(120)
async def test_a_conversation_by_the_keyboard(
    database: Database, pool: Pool, two_models: None, windows: Windows, provider: FakeProvider
) -> None:
    answers = (
        [HEAD % b"first", pieces("Once upon"), Then.WAIT_FOR_CLIENT],
        [HEAD % b"second", pieces(EVIL[:10], EVIL[10:]) + b"data: [DONE]\n\n", Then.CLOSE],
        [b"HTTP/1.1 429 X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(REFUSED), REFUSED)],
        [HEAD % b"fourth", pieces("Half of"), Then.CLOSE],
    )
    async with (
        scripted_upstream(*answers) as upstream,
        opened(database, pool, windows, provider, upstream) as window,
    ):
        page, said = window.page, window.page.locator("#announcements")
        prompt, turns = page.locator("#prompt"), page.locator("#conversation .litemaas-turn-text")

        await prompt.press_sequentially("Tell me a story")
        await page.keyboard.press("Control+Enter")
        # The model has not finished, and does not before the person leaves.
        await expect(turns).to_have_text(["Tell me a story", "Once upon"])
        assert upstream.ended == 0
        await window.check_accessibility()
        await page.keyboard.press("Escape")
        await expect(said).to_have_text("Stopped.")

        async def has_ended() -> bool:
            return upstream.ended == 1

        await wait_until(has_ended, "the end of the call at the gateway")
        await expect(prompt).to_be_focused()
        await page.keyboard.type("Go on")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await expect(turns).to_have_text(["Tell me a story", "Once upon", "Go on", EVIL])
        await expect(said).to_have_text(EVIL)
        await expect(page.locator("#figures")).to_contain_text("second")
        assert await page.locator("#conversation img, #conversation script").count() == 0
        messages = msgspec.json.decode(upstream.requests[1][2])["messages"]
        assert [one["content"] for one in messages] == ["Tell me a story", "Once upon", "Go on"]
        await expect(page.locator("#curl-code-text")).to_contain_text("Once upon")
        await window.check_accessibility()

        window.expect(429)
        await page.keyboard.type("Again")
        await page.keyboard.press("Control+Enter")
        await expect(page.locator("#refusal")).to_contain_text("Wait a minute.")
        assert await page.locator("#refusal a").get_attribute("href") == "/refusals?request_id=the-id"
        await expect(prompt).to_have_value("Again")
        await expect(turns).to_have_count(4)
        await page.keyboard.press("Control+Enter")
        await expect(page.locator("#refusal")).to_contain_text("The answer broke off.")
        await expect(turns.last).to_have_text("Half of")

        # What is wrong is said by the page that the server makes.
        window.expect(422)
        await page.locator("#temperature").fill("9")
        await prompt.fill("Hot")
        await page.keyboard.press("Control+Enter")
        await expect(page.locator("#temperature-help")).to_contain_text("from 0 to 2")
        await expect(prompt).to_have_value("Hot")
        await expect(turns).to_have_count(6)
    assert len(upstream.requests) == len(answers)
