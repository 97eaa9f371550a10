"""The playground's page and its relay before a gateway that answers as the test says."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import msgspec
import pytest
from asgi_calls import AsgiCall
from browsers import oidc, running_admin_api
from conftest import Database
from factories import make_model
from identity_providers import FakeProvider, log_in
from scripted_upstream import OK, Script, Then, scripted_upstream

from gateway.storage.postgres import Pool
from portal.conftest import OPEN, NewVisitor
from portal.visitors import Visitor

EVIL = "<img src=x onerror=alert(1)><script>alert(2)</script></li>"
STREAM_HEAD = OK + b"content-type: text/event-stream\r\nx-request-id: of-the-gateway\r\nset-cookie: a=b\r\n"


class Counted(list[bytes]):
    """Steps of a script, of which `taken` have begun."""

    taken = 0

    def __iter__(self) -> Iterator[bytes]:
        for step in super().__iter__():
            self.taken += 1
            yield step


@asynccontextmanager
async def visitor_at(database: Database, pool: Pool, url: str) -> AsyncIterator[Visitor]:
    """Someone subscribed to OPEN, whose playground calls this address."""
    await make_model(pool, OPEN)
    async with (
        FakeProvider() as provider,
        running_admin_api(database, **oidc(provider.url, gateway_internal_url=url)) as new_browser,
    ):
        visitor = Visitor(new_browser())
        provider.claims |= {"sub": "ana", "email": "ana@example.org", "name": "Ana"}
        await log_in(visitor.browser)
        await visitor.open(f"/models/{OPEN}")
        await visitor.submit("/subscriptions")
        await visitor.open(f"/playground?model={OPEN}")
        yield visitor
        await visitor.browser.aclose()


def form_of(visitor: Visitor, prompt: str) -> dict[str, str]:
    token = visitor.page.xpath("//form[@id='playground']//input[@name='csrf_token']/@value")[0]
    return {"csrf_token": token, "conversation": "[]", "model": OPEN, "prompt": prompt}


def completion(text: str) -> bytes:
    body = msgspec.json.encode({"choices": [{"message": {"role": "assistant", "content": text}}]})
    return OK + b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body


async def test_what_a_model_writes_is_shown_as_text(database: Database, pool: Pool) -> None:
    async with scripted_upstream([completion(EVIL)]) as upstream, visitor_at(database, pool, upstream.url) as ana:
        await ana.submit("/playground", prompt=EVIL)

        said = [one.text_content() for one in ana.page.find_class("litemaas-turn-text")]
        assert said[:2] == [EVIL, EVIL]
        assert not ana.page.xpath("//*[@onerror]")
        assert EVIL not in ana.answer.text
        (_, head, body), *more = upstream.requests
        assert more == []
        assert b"\r\nauthorization: Bearer sk-lm-" in head.lower().replace(b"bearer", b"Bearer")
        assert msgspec.json.decode(body)["messages"] == [{"role": "user", "content": EVIL}]


async def test_who_reads_slowly_makes_the_gateway_slow(database: Database, pool: Pool) -> None:
    piece, pieces = b"data: " + b"x" * 65_000 + b"\n\n", 400
    script = Counted([STREAM_HEAD + b"content-length: %d\r\n\r\n" % (len(piece) * pieces), *[piece] * pieces])
    async with scripted_upstream(script) as upstream, visitor_at(database, pool, upstream.url) as ana:
        async with AsgiCall(ana.browser, "/playground/stream", form_of(ana, "Hi")) as call:
            await call.read_until(b"data: ")
            call.may_take.clear()
            # What buffers of sockets hold is written soon; then nothing is.
            written = -1
            while written != script.taken:
                written = script.taken
                await asyncio.sleep(0.2)
            assert script.taken < pieces // 2
            call.may_take.set()
            assert (await call.read_all()).count(b"\n\n") == pieces + 1

        assert call.headers["x-request-id"] == "of-the-gateway"
        assert "set-cookie" not in call.headers


@pytest.mark.parametrize(
    ("script", "status", "shown"),
    [
        ([Then.CLOSE], 503, "The gateway does not answer at this moment."),
        ([OK + b"content-type: application/json\r\ncontent-length: 3\r\n\r\n{[}"], 502, "cannot be read"),
        ([b"HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n"], 500, "The gateway answered 500."),
    ],
)
async def test_a_gateway_that_fails_loses_no_message(
    database: Database, pool: Pool, script: Script, status: int, shown: str
) -> None:
    async with scripted_upstream(script) as upstream, visitor_at(database, pool, upstream.url) as ana:
        await ana.submit("/playground", prompt="Kept", status=status)

        assert shown in ana.text
        assert ana.page.get_element_by_id("prompt").text.strip() == "Kept"


async def test_an_answer_that_breaks_off_has_no_last_event(database: Database, pool: Pool) -> None:
    broken = STREAM_HEAD + b"content-length: 900\r\n\r\ndata: {}\n\n"
    async with (
        scripted_upstream([broken, Then.CLOSE]) as upstream,
        visitor_at(database, pool, upstream.url) as ana,
        AsgiCall(ana.browser, "/playground/stream", form_of(ana, "Hi")) as call,
    ):
        assert await call.read_all() == b"data: {}\n\n"


async def test_without_a_subscription_the_page_leads_to_one(new_visitor: NewVisitor) -> None:
    ana = await new_visitor()

    page = await ana.open("/playground")

    assert page.xpath("//main//a[text()='See the models' or .//*[text()='See the models']]/@href") == ["/models"]
    assert "/playground" not in ana.actions()


async def test_try_it_leads_from_a_model_to_the_playground(new_visitor: NewVisitor) -> None:
    ana = await new_visitor()
    await ana.open(f"/models/{OPEN}")
    await ana.submit("/subscriptions")

    for path in ("/models", f"/models/{OPEN}"):
        page = await ana.open(path)
        (link,) = set(page.xpath("//main//a[starts-with(@href, '/playground')]/@href"))
        page = await ana.open(link)
        assert page.xpath("//select[@id='model']/option[@selected]/@value") == [OPEN]
