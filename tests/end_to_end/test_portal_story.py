"""A user's way in a real browser, from the login to an answered call, what it cost, and why one was refused."""

from collections.abc import AsyncIterator
from typing import Final

import aiohttp
import pytest
from browsers import oidc, served_admin_api
from callers import CHAT
from gateways import Backends, GatewayThread, wait_until
from identity_providers import FakeProvider
from playwright.async_api import expect
from portal.browser.stories import Person
from portal.browser.windows import Looks, Windows

from gateway.domain.keys import is_well_formed

MODEL: Final = "demo-chat"
OTHER: Final = "demo-chat-large"


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as server:
        yield server


@pytest.fixture
async def portal_url(backends: Backends, gateway: GatewayThread, provider: FakeProvider) -> AsyncIterator[str]:
    more = {"redis_url": backends.valkey.url(), "litellm_urls": backends.litellm_url, "gateway_url": gateway.url}
    async with served_admin_api(backends.database.app_url, **more, **oidc(provider.url)) as url:
        yield url


@pytest.mark.parametrize(
    "looks",
    [
        pytest.param(Looks("es"), id="by keyboard, in Spanish"),
        pytest.param(Looks("fr", "dark", has_script=False), id="without JavaScript, in French"),
    ],
)
async def test_from_the_login_to_an_answered_call(
    windows: Windows, portal_url: str, provider: FakeProvider, gateway: GatewayThread, http: aiohttp.ClientSession,
    looks: Looks,
) -> None:  # fmt: skip
    name = f"story-{looks.language}"
    provider.claims |= {"sub": name, "email": f"{name}@example.org", "name": name}
    person = Person.at(await windows.open(portal_url, looks))

    await person.log_in()
    await subscribe(person)
    key = {"authorization": f"Bearer {await make_a_key(person)}"}
    async with http.post(gateway.url + CHAT, json=chat(MODEL), headers=key) as answer:
        assert answer.status == 200, await answer.text()
        used = (await answer.json())["usage"]
    async with http.post(gateway.url + CHAT, json=chat(OTHER), headers=key) as refused:
        assert refused.status == 404, await refused.text()
        refusal = refused.headers["x-request-id"]
    await see_what_was_used(person, used["prompt_tokens"], used["completion_tokens"])
    await look_up(person, refusal)
    await person.log_out()


def chat(model: str) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": "Hello [tokens=7]"}], "max_tokens": 7}


async def subscribe(person: Person) -> None:
    await person.go_to("/models", "Models")
    await person.press(person.page.locator(f"form:has(input[value='{MODEL}']) button"))
    await person.sees("You have subscribed to %(model)s.", model=MODEL)


async def make_a_key(person: Person) -> str:
    """Returns its secret, as it is shown once."""
    await person.go_to("/api-keys", "API keys")
    # On an empty page the empty state has it too.
    await person.press(person.link("Create an API key").first)
    await person.hand.write(person.field("Name"), "my app")
    await person.press(person.button("Create"))
    secret = await person.page.locator("#new-secret-text").inner_text()
    assert is_well_formed(secret)
    return secret


async def see_what_was_used(person: Person, tokens_in: int, tokens_out: int) -> None:
    await person.go_to("/usage", "Usage")

    async def is_there() -> bool:
        await person.page.reload()
        return await person.page.locator("#groups").count() > 0

    await wait_until(is_there, "usage of the call")
    await person.hand.choose(person.field("Group by"), "key")
    if not person.window.looks.has_script:
        await person.press(person.button("Show"))
    cells = person.page.locator("#groups tbody tr", has_text="my app").locator("td")
    await expect(cells.nth(1)).to_have_text("1")
    assert [int(await cells.nth(n).inner_text()) for n in (3, 4)] == [tokens_in, tokens_out]


async def look_up(person: Person, request_id: str) -> None:
    await person.go_to("/refusals", "Why was I refused?")
    await person.hand.write(person.field("Id of the request"), request_id)
    # It is in the ledger soon after the call.
    person.window.expect(404)
    await person.press(person.button("Look up"))
    await person.page.wait_for_url(f"**{request_id}**")

    async def is_there() -> bool:
        await person.page.reload()
        return OTHER in await person.window.main_text()

    await wait_until(is_there, "the refusal")
