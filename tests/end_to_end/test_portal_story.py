"""Two ways in a real browser. A user's: from the login to an answered call, what it cost, and why one was refused. An
admin's: limits on a team and on a user, which hold at the gateway, while the user's page shows what they use."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Final

import aiohttp
import pytest
from browsers import oidc, served_admin_api
from callers import CHAT, Caller, MakeCaller
from factories import ADMIN, PEPPERS, make_team
from gateways import Backends, GatewayThread, wait_until
from identity_providers import FakeProvider
from playwright.async_api import Locator, Page, expect
from portal.browser.hands import IS_LOADED
from portal.browser.stories import Person
from portal.browser.windows import PHONE, Looks, Windows

from admin_api.operations import subscriptions
from admin_api.operations.keys import keys
from admin_api.operations.limits import limits
from admin_api.operations.limits.limits import LimitInput
from admin_api.operations.people import users
from gateway.domain.keys import is_well_formed
from gateway.storage.postgres import Pool

MODEL: Final = "demo-chat"
OTHER: Final = "demo-chat-large"
REFRESH_MS: Final = 30_000


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
    pool: Pool, looks: Looks,
) -> None:  # fmt: skip
    name = f"story-{looks.language}"
    person = Person.at(await windows.open(portal_url, looks))

    await log_in(person, provider, name)
    await subscribe(person)
    key = {"authorization": f"Bearer {await make_a_key(person)}"}
    await limits.set_limit(
        pool, ADMIN, LimitInput(kind="requests", amount=5, window="year"), level="user", target=f"{name}@example.org",
        model=None, team=None,
    )  # fmt: skip
    watched = [await watch(person, path) for path in ("/home", "/limits")] if looks.has_script else []
    async with http.post(gateway.url + CHAT, json=chat(MODEL), headers=key) as answer:
        assert answer.status == 200, await answer.text()
        used = (await answer.json())["usage"]
    for one in watched:
        await one.sees_the_call()
    async with http.post(gateway.url + CHAT, json=chat(OTHER), headers=key) as refused:
        assert refused.status == 404, await refused.text()
        refusal = refused.headers["x-request-id"]
    await see_what_was_used(person, used["prompt_tokens"], used["completion_tokens"])
    await look_up(person, refusal)
    await person.log_out()


@pytest.mark.parametrize(
    "looks",
    [
        pytest.param(Looks("fr"), id="by keyboard, in French"),
        pytest.param(Looks("en", "dark", PHONE, has_script=False), id="on a phone, without JavaScript"),
    ],
)
async def test_limits_that_an_admin_sets_hold(
    windows: Windows, portal_url: str, provider: FakeProvider, pool: Pool, make: MakeCaller,
    looks: Looks,
) -> None:  # fmt: skip
    alone, (team, member) = await make(), await make_member(make, pool)
    admin = Person.at(await windows.open(portal_url, looks))
    await log_in(admin, provider, f"admin-{looks.language}")
    await users.update_user(pool, ADMIN, f"admin-{looks.language}@example.org", role="admin")
    await admin.page.reload()

    await admin.go_to("/admin/teams", "All teams")
    await admin.press(admin.link(team))
    await admin.press(admin.link("Set a limit"))
    await set_limit(admin, "requests:month")
    await sees_it_hold(admin, member, "requests:month")

    await admin.go_to("/admin/users", "Users")
    await admin.hand.write(admin.field("Search"), alone.email)
    await admin.press(admin.button("Filter"))
    await expect(admin.page.locator("#users tbody tr")).to_have_count(1)
    await admin.press(admin.link(alone.email))
    await admin.press(admin.page.locator("#new-limit > summary"))
    await set_limit(admin, "requests:day")
    await sees_it_hold(admin, alone, "requests:day")
    await admin.log_out()


async def make_member(make: MakeCaller, pool: Pool) -> tuple[str, Caller]:
    """A team's name, and a caller with a key of a member in it."""
    caller = await make()
    user = await users.find_user(pool, ADMIN, caller.email)
    team = (await make_team(pool, user, name=f"team of {caller.email}")).name
    await subscriptions.create_subscription(pool, ADMIN, model=MODEL, team=team)
    made = await keys.create_key(pool, ADMIN, PEPPERS, keys.KeyInput(models=[MODEL], user=caller.email, team=team))
    return team, replace(caller, key=made.secret, key_id=made.row.id, account_id=made.row.account_id)


async def set_limit(admin: Person, kind: str) -> None:
    """Of one call, in the form that is shown."""
    await admin.hand.choose(admin.field("Limit"), kind)
    await admin.hand.write(admin.field("Amount"), "1")
    await admin.press(admin.button("Set the limit"))
    await expect(limit_cells(admin, kind).nth(0)).to_be_visible()


async def sees_it_hold(admin: Person, caller: Caller, kind: str) -> None:
    """One call is answered and one refused; nothing is left then."""
    assert [(await caller.chat()).status for _ in range(2)] == [200, 429]
    await admin.page.reload()
    await expect(limit_cells(admin, kind).nth(4)).to_have_text("0")


def limit_cells(person: Person, kind: str) -> Locator:
    """Of this limit, on the page of the team or the user."""
    name = person.text({"requests:month": "Requests per month", "requests:day": "Requests per day"}[kind])
    return person.page.locator("#limits tbody tr", has_text=name).locator("td")


@dataclass(frozen=True, slots=True)
class Watched:
    """Another page of the same browser, on which nobody presses anything."""

    page: Page
    before: list[str]

    async def sees_the_call(self) -> None:
        """By itself, after half a minute: what is left of the limit, and what was spent, once it is in the ledger."""

        async def is_there() -> bool:
            await self.page.clock.fast_forward(REFRESH_MS)
            await self.page.wait_for_function(IS_LOADED)
            return all(now != before for now, before in zip(await figures(self.page), self.before, strict=True))

        await wait_until(is_there, f"the call on {self.page.url}")
        assert (await figures(self.page))[0] == "4"
        await self.page.close()


async def watch(person: Person, path: str) -> Watched:
    page = await person.page.context.new_page()
    await page.clock.install()
    await page.goto(person.window.site + path)
    return Watched(page, await figures(page))


async def figures(page: Page) -> list[str]:
    """What is left of the limit, and what was spent, where the page shows it."""
    left = page.locator("#limits tbody tr", has_text="Peticiones por año").locator("td").nth(4)
    return [await left.inner_text(), *await page.locator("#spent-figure").all_inner_texts()]


async def log_in(person: Person, provider: FakeProvider, name: str) -> None:
    provider.claims |= {"sub": name, "email": f"{name}@example.org", "name": name}
    await person.log_in()


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
