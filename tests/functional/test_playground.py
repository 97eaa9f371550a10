"""The playground through a real gateway: calls are the person's own, end when they leave, and nobody sees their key."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from asgi_calls import AsgiCall
from browsers import oidc, running_admin_api
from callers import new_mark
from factories import ADMIN, make_key
from gateways import Backends, GatewayThread, Ledger, RedisState, UpstreamLog, wait_until
from identity_providers import FakeProvider, log_in
from portal.visitors import Visitor

from admin_api.operations.keys.session_keys import PURPOSE
from admin_api.operations.limits import limits
from admin_api.operations.limits.limits import LimitInput
from admin_api.operations.people import users
from admin_api.portal.formatters import Formats
from admin_api.settings import Settings
from gateway.domain.keys import derived_key
from gateway.storage.postgres import Pool

MODEL = "demo-chat"
PAGE, STREAM = "/playground", "/playground/stream"
NewPerson = Callable[[str], Awaitable["Person"]]


class Person:
    """Someone in the portal who is subscribed to MODEL."""

    def __init__(self, visitor: Visitor, account_id: int, user_id: int, settings: Settings) -> None:
        self.visitor, self.account_id, self.user_id, self.settings = visitor, account_id, user_id, settings

    @property
    def form(self) -> dict[str, Any]:
        """The fields of the page that is open."""
        page = self.visitor.page.get_element_by_id("playground")
        names = ("csrf_token", "conversation")
        return {name: page.xpath(f".//input[@name='{name}']/@value")[0] for name in names} | {"model": MODEL}

    def stream(self, prompt: str, **fields: Any) -> AsgiCall:
        """The message, as the page's script sends it."""
        return AsgiCall(self.visitor.browser, STREAM, self.form | {"prompt": prompt} | fields)

    def secret(self) -> str:
        """Of the session's key, as only the deployment can make it."""
        cookie = self.visitor.browser.cookies["litemaas_session"]
        return derived_key(self.settings.encryption_keys.digests(cookie, purpose=PURPOSE)[0])


@pytest.fixture(scope="module")
async def new_person(backends: Backends, gateway: GatewayThread, pool: Pool) -> AsyncIterator[NewPerson]:
    opened = []
    about = {
        "redis_url": backends.valkey.url(),
        "gateway_internal_url": gateway.url,
        "gateway_url": "https://gw.example",
    }
    async with (
        FakeProvider() as provider,
        running_admin_api(backends.database, **oidc(provider.url, **about)) as new_browser,
    ):

        async def new(name: str) -> Person:
            visitor = Visitor(new_browser())
            opened.append(visitor.browser)
            provider.claims |= {"sub": name, "email": f"{name}@example.org", "name": name.title()}
            await log_in(visitor.browser, next=PAGE)
            await visitor.open(f"/models/{MODEL}")
            if "/subscriptions" in visitor.actions():
                await visitor.submit("/subscriptions")
            await visitor.open(PAGE)
            user = await users.find_user(pool, ADMIN, f"{name}@example.org")
            transport: Any = visitor.browser._transport
            return Person(visitor, user.account_id, user.id, transport.next_app().state.settings)

        yield new
        for browser in opened:
            await browser.aclose()


async def test_an_answer_is_passed_on_as_it_comes_and_ends_when_the_person_leaves(
    new_person: NewPerson, upstream_log: UpstreamLog, redis_state: RedisState, ledger: Ledger
) -> None:
    ana, mark = await new_person("leaves"), new_mark()

    async with ana.stream(f"Go on [tokens=5] [rate=0] [hold=30] [mark={mark}]") as call:
        body = await call.read_until(b"content")
        assert (await upstream_log.call(mark=mark))["ending"] == "running"
        assert len(await redis_state.open_leases(ana.account_id)) == 1

    assert (call.status, call.headers["content-type"].split(";")[0]) == (200, "text/event-stream")
    assert b"litemaas" not in body
    await redis_state.wait_until_settled(ana.account_id)
    row = await ledger.row(ana.account_id)
    assert (row["ending"], row["user_id"]) == ("client_disconnected", ana.user_id)
    assert str(row["request_id"]) == call.headers["x-request-id"]

    async def is_over() -> bool:
        return bool((await upstream_log.call(mark=mark))["ending"] == "hung_up")

    await wait_until(is_over, "the model server to see that the caller has left")


@pytest.mark.parametrize("path", [PAGE, STREAM])
async def test_who_leaves_before_the_first_byte_frees_the_slot(
    new_person: NewPerson, upstream_log: UpstreamLog, redis_state: RedisState, path: str
) -> None:
    ana, mark = await new_person(f"early{len(path)}"), new_mark()

    async with AsgiCall(ana.visitor.browser, path, ana.form | {"prompt": f"Hm [delay=30] [mark={mark}]"}):

        async def has_arrived() -> bool:
            return len(await upstream_log.calls(mark=mark)) == 1

        await wait_until(has_arrived, "the call at the model server")
        assert len(await redis_state.open_leases(ana.account_id)) == 1

    await redis_state.wait_until_settled(ana.account_id)


async def test_figures_are_the_ledgers_with_and_without_javascript(new_person: NewPerson, ledger: Ledger) -> None:
    ana = await new_person("figures")

    async with ana.stream("Hello [tokens=7]", max_tokens="50", system="Be short.") as call:
        shown_last = json.loads((await call.read_all()).rpartition(b"event: litemaas\ndata: ")[2])
    await ana.visitor.submit(PAGE, prompt="Hello [tokens=9]", temperature="0,5")

    formats = Formats("en", "UTC")
    streamed, plain = await ledger.rows(ana.account_id, 2)
    page = ana.visitor.page.get_element_by_id("figures")
    shown = [
        [term.text_content().strip(), text.text_content().strip()]
        for term, text in zip(page.iter("dt"), page.iter("dd"), strict=True)
    ]
    for row, figures in ((streamed, shown_last["figures"]), (plain, shown)):
        found = dict(figures)
        assert row["cost_nano_usd"] > 0
        assert found["Cost"] == formats.nano_usd(row["cost_nano_usd"])
        assert found["Tokens"] == f"{row['prompt_tokens']} in, {row['completion_tokens']} out"
        assert found["Id of the request"] == str(row["request_id"])
        assert "Requests left" in found
    assert streamed["completion_tokens"] == 7
    assert streamed["streamed"]
    assert not plain["streamed"]
    assert '"max_tokens": 50' in shown_last["snippets"]["curl"]
    turns = [one.get("data-role") for one in ana.visitor.page.get_element_by_id("conversation").iter("li")]
    assert turns == ["user", "assistant"]
    assert ana.visitor.page.get_element_by_id("prompt").text_content().strip() == ""


async def test_the_conversation_goes_on(new_person: NewPerson, upstream_log: UpstreamLog, ledger: Ledger) -> None:
    ana = await new_person("goes-on")

    await ana.visitor.submit(PAGE, prompt="First [tokens=3]", system="Be kind.")
    await ana.visitor.submit(PAGE, prompt="Second [tokens=3]")

    messages = json.loads(ana.form["conversation"])
    assert [role for role, _ in messages] == ["user", "assistant"] * 2
    assert "Be kind." in ana.visitor.page.get_element_by_id("system").text
    first, second = await ledger.rows(ana.account_id, 2)
    assert second["prompt_tokens"] > first["prompt_tokens"] + 3


async def test_limits_hold_as_anywhere(new_person: NewPerson, pool: Pool, gateway: GatewayThread) -> None:
    ana = await new_person("limited")
    limit = LimitInput(kind="rpm", amount=1, confirmed=True)
    await limits.set_limit(pool, ADMIN, limit, level="user", target=str(ana.user_id), model=None, team=None)
    await gateway.wait_for_changes(pool)

    await ana.visitor.submit(PAGE, prompt="One [tokens=1]")
    await ana.visitor.submit(PAGE, status=429, prompt="Two [tokens=1]")
    async with ana.stream("Three [tokens=1]") as call:
        refusal = json.loads(await call.read_all())["error"]

    assert ana.visitor.page.get_element_by_id("prompt").text.strip() == "Two [tokens=1]"
    link = ana.visitor.page.xpath("//div[@id='refusal']//a/@href")[0]
    refused_id = link.partition("=")[2]
    assert (call.status, refusal["code"], call.headers["x-request-id"]) == (
        429,
        "rate_limit_exceeded",
        refusal["request_id"],
    )
    assert "retry-after" in call.headers

    async def is_kept() -> bool:
        return (await ana.visitor.browser.get(link)).status_code == 303

    await wait_until(is_kept, "the refused call")
    await ana.visitor.open(link)
    assert ana.visitor.path == f"/refusals/{refused_id}"
    assert "rate_limit_exceeded" in ana.visitor.text


async def test_no_page_has_the_key(new_person: NewPerson, pool: Pool) -> None:
    ana = await new_person("hidden")
    await ana.visitor.submit(PAGE, prompt="Hi [tokens=1]")
    key_id = await pool.fetchval("SELECT id FROM api_keys WHERE account_id = $1", ana.account_id)

    for path in ("/home", "/api-keys", "/usage", "/settings", PAGE):
        await ana.visitor.open(path)
        assert ana.secret() not in ana.visitor.answer.text, path
    assert (await ana.visitor.browser.get(f"/api-keys/{key_id}")).status_code == 404
    await ana.visitor.open("/usage?by=key")
    assert "Playground" in ana.visitor.text


async def test_forms_of_others_and_of_nobody_make_no_call(new_person: NewPerson, upstream_log: UpstreamLog) -> None:
    ana, ben = await new_person("own-form"), await new_person("bens-form")
    before = await upstream_log.count()
    prompt = {"prompt": "Hi [tokens=1]"}

    for path in (PAGE, STREAM):
        without = {name: value for name, value in ana.form.items() if name != "csrf_token"}
        async with AsgiCall(ana.visitor.browser, path, without | prompt) as missing:
            await missing.read_all()
        async with AsgiCall(ana.visitor.browser, path, ben.form | prompt) as foreign:
            await foreign.read_all()
        assert (missing.status, foreign.status) == (403, 403)
    form = ben.form | prompt
    ben.visitor.browser.cookies.clear()
    for path in (PAGE, STREAM):
        async with AsgiCall(ben.visitor.browser, path, form) as nobody:
            await nobody.read_all()
        assert nobody.status == 303

    assert await upstream_log.count() == before


async def test_what_is_wrong_is_said_beside_the_field(new_person: NewPerson) -> None:
    ana = await new_person("mistaken")
    right = {"prompt": "Hi", "temperature": "", "top_p": "", "max_tokens": "", "conversation": "[]"}

    for field, wrong, beside, said in (
        ("prompt", " ", "prompt", "Write a message."),
        ("temperature", "3", "temperature", "from 0 to 2"),
        ("top_p", "much", "top_p", "Write a number."),
        ("max_tokens", "1.5", "max_tokens", "Write a whole number."),
        ("conversation", "[][", "prompt", "cannot be read"),
    ):
        await ana.visitor.submit(PAGE, status=422, **right | {field: wrong})

        shown = ana.visitor.page.get_element_by_id(beside)
        assert said in ana.visitor.page.get_element_by_id(shown.get("aria-describedby")).text_content()


async def test_a_new_keys_test_call(new_person: NewPerson, pool: Pool, ledger: Ledger) -> None:
    ana = await new_person("tries")
    await ana.visitor.open("/home")
    assert "Make the first call" in ana.visitor.text
    await ana.visitor.open("/api-keys/new")
    await ana.visitor.submit("/api-keys", name="my app")
    path, secret = ana.visitor.path, ana.visitor.page.get_element_by_id("new-secret-text").text

    await ana.visitor.submit(f"{path}/try")

    assert "The key works: demo-chat answered" in ana.visitor.text
    # Once more: who tried it before they copied it has not lost it.
    assert ana.visitor.page.get_element_by_id("new-secret-text").text == secret
    row = await ledger.row(ana.account_id)
    assert (path, row["status"]) == (f"/api-keys/{row['api_key_id']}", 200)
    await ana.visitor.open("/home")
    assert "Make the first call" not in ana.visitor.text
    await ana.visitor.open(path)
    assert f"{path}/try" not in ana.visitor.actions()
    assert secret not in ana.visitor.answer.text

    other = (await make_key(pool, None, "model-of-tries")).secret
    for wrong, status in ((other, 422), ("sk-lm-nonsense", 422)):
        form = {"csrf_token": ana.visitor.page.xpath("//input[@name='csrf_token']/@value")[0], "secret": wrong}
        async with AsgiCall(ana.visitor.browser, f"{path}/try", form) as call:
            assert other.encode() not in await call.read_all()
        assert call.status == status
