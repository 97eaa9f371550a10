"""D12: pages of the origins that an operator names may call the gateway from a browser, and read every answer."""

import asyncio
import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import pytest
from callers import CHAT, Caller, MakeCaller, chat_body
from gateways import Backends, GatewayThread, StartGateway, UnhandledErrors, UpstreamLog, scraped_metrics

from gateway.web.bounded_http import BoundedHttp
from gateway.web.cors import EXPOSED

PAGE = "https://app.example.com"
OTHER_PAGE = "https://app.example.com.evil.example"
# What browsers show of every answer, and what belongs to the connection.
SAFELISTED = {
    "cache-control",
    "content-language",
    "content-length",
    "content-type",
    "expires",
    "last-modified",
    "pragma",
}
OF_THE_CONNECTION = {"connection", "date", "transfer-encoding", "upgrade", "vary", "x-accel-buffering"}
ASKS = {"origin": PAGE, "access-control-request-method": "POST"}
# What OpenAI's SDK for browsers asks for.
SDK_HEADERS = "authorization,content-type,x-stainless-lang,x-stainless-retry-count"


@pytest.fixture(scope="module")
def browsers(backends: Backends) -> Iterator[GatewayThread]:
    """A worker that pages may call."""
    origins = f"{PAGE.upper()}:443/, http://localhost:5173"
    settings = backends.settings(
        gateway_cors_origins=origins, max_body_bytes=64 * 1024, state_dir=backends.folder / "browsers"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BoundedHttp, "head_s", 0.3)
        with GatewayThread(settings) as running:
            yield running


@pytest.fixture
async def page(make: MakeCaller, browsers: GatewayThread) -> Caller:
    return (await make("demo-chat", "fault-500")).at(browsers.url)


async def ask(
    caller: Caller, method: str, path: str, *, origin: str | None = PAGE, body: Any = None, **headers: str
) -> aiohttp.ClientResponse:
    """The whole answer to what a page of that origin sends."""
    sent = headers if origin is None else {"origin": origin, **headers}
    async with caller.http.request(method, caller.url + path, json=body, headers=sent) as answer:
        await answer.read()
        return answer


def check_readable(headers: Any, origin: str = PAGE) -> None:
    assert headers.getall("access-control-allow-origin") == [origin]
    assert "Origin" in ", ".join(headers.getall("vary"))
    shown = {name.lower() for name in headers["access-control-expose-headers"].split(", ")} | SAFELISTED
    names = {name.lower() for name in headers if not name.lower().startswith("access-control-")}
    assert names - shown - OF_THE_CONNECTION == set()
    assert "access-control-allow-credentials" not in headers


Answers = dict[str, tuple[int, Callable[[Caller], Any]]]
ANSWERS: Answers = {
    "a call": (200, lambda c: ask(c, "POST", CHAT, body=chat_body(), **c.authorization)),
    "a stream": (200, lambda c: ask(c, "POST", CHAT, body=chat_body(stream=True), **c.authorization)),
    "messages": (
        200, lambda c: ask(c, "POST", "/v1/messages", body=chat_body(max_tokens=5), **{"x-api-key": c.key}),
    ),
    "models": (200, lambda c: ask(c, "GET", "/v1/models", **c.authorization)),
    "limits": (200, lambda c: ask(c, "GET", "/v1/limits", **c.authorization)),
    "the root": (200, lambda c: ask(c, "GET", "/")),
    "health": (200, lambda c: ask(c, "GET", "/health/live")),
    "no key": (401, lambda c: ask(c, "POST", CHAT, body=chat_body())),
    "a wrong key": (401, lambda c: ask(c, "POST", "/v1/messages", body=chat_body(), **{"x-api-key": "sk-lm-no"})),
    "no JSON": (400, lambda c: ask(c, "POST", CHAT, body=[], **c.authorization)),
    "no such model": (404, lambda c: ask(c, "POST", CHAT, body=chat_body(model="none"), **c.authorization)),
    "no such path": (404, lambda c: ask(c, "POST", "/v1/nothing")),
    "another method": (405, lambda c: ask(c, "DELETE", CHAT)),
    "OPTIONS that is no preflight": (405, lambda c: ask(c, "OPTIONS", CHAT)),
    "too large": (413, lambda c: ask(c, "POST", CHAT, body=chat_body("x" * 65536), **c.authorization)),
    "no form": (415, lambda c: ask(c, "POST", "/v1/audio/transcriptions", body=chat_body(), **c.authorization)),
    "no upgrade": (426, lambda c: ask(c, "GET", "/v1/realtime")),
    "the upstream fails": (
        500, lambda c: ask(c, "POST", CHAT, body=chat_body(model="fault-500"), **c.authorization),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
async def test_d12_pages_may_read_every_answer(name: str, page: Caller) -> None:
    status, send = ANSWERS[name]

    answer = await send(page)

    assert answer.status == status
    check_readable(answer.headers)


async def test_d12_pages_may_read_a_refusal_by_a_limit(page: Caller) -> None:
    await page.limit("rpm", 1)
    headers = {"origin": PAGE}

    answers = [await page.chat(headers=headers) for _ in range(2)]

    assert [answer.status for answer in answers] == [200, 429]
    for answer in answers:
        check_readable(answer.headers)
    assert {"retry-after", "x-ratelimit-limit-requests"} <= {name.lower() for name in answers[1].headers}


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.1\r\norigin: %b\r\nhost: x\r\n(: y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\norigin: %b\r\nhost: x\r\nx: " + b"y" * 70_000, 431),
        (b"GET / HTTP/1.1\r\norigin: %b\r\nhost: x\r\nslow", 408),
        (b"POST / HTTP/1.1\r\norigin: %b\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", 404),
    ],
    ids=["no HTTP", "too large", "too slow", "a body that is no chunk"],
)
async def test_d12_pages_may_read_what_is_refused_before_there_is_a_request(
    head: bytes, status: int, browsers: GatewayThread
) -> None:
    answer = await asyncio.to_thread(exchange, browsers, head % PAGE.encode())

    assert answer.startswith(b"HTTP/1.1 %d " % status) or status == 404
    assert b"\r\naccess-control-allow-origin: %b\r\n" % PAGE.encode() in answer
    assert b"\r\nvary: Origin\r\n" in answer


async def test_d12_the_origin_of_an_earlier_request_says_nothing_of_a_later_one(browsers: GatewayThread) -> None:
    first = b"GET / HTTP/1.1\r\norigin: %b\r\nhost: x\r\n\r\n" % PAGE.encode()

    answer = await asyncio.to_thread(exchange, browsers, first, b"GET / HTTP/1.1\r\nhost: x\r\n(: y\r\n\r\n")

    assert answer.count(b"HTTP/1.1 ") == 2
    assert answer.count(b"access-control-allow-origin") == 1
    assert answer.count(b"vary: Origin") == 2


def exchange(gateway: GatewayThread, *requests: bytes) -> bytes:
    """What is answered until the connection is closed; each request is sent after the answer to the last."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as connection:
        answer = b""
        for number, request in enumerate(requests):
            connection.sendall(request)
            if number < len(requests) - 1:
                answer += connection.recv(65536)
        while data := connection.recv(65536):
            answer += data
        return answer


async def test_d12_pages_may_read_that_a_program_failed(
    page: Caller, browsers: GatewayThread, monkeypatch: pytest.MonkeyPatch, unhandled_errors: UnhandledErrors
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("broken on purpose")

    monkeypatch.setattr(type(browsers.apps[0]), "_answer", fail)
    answer = await ask(page, "GET", "/v1/models")

    assert answer.status == 500
    check_readable(answer.headers)
    assert len(unhandled_errors.seen) == 1
    unhandled_errors.seen.clear()


@pytest.mark.parametrize("path", [CHAT, "/chat/completions", "/v1/messages", "/v1/models", "/health/live", "/nothing"])
async def test_d12_a_preflight_is_answered_without_a_login(path: str, page: Caller, upstream_log: UpstreamLog) -> None:
    before = await upstream_log.count()
    asks = {**ASKS, "access-control-request-headers": SDK_HEADERS}

    async with page.http.options(page.url + path, headers=asks) as answer:
        body = await answer.read()

    assert (answer.status, body) == (204, b"")
    check_readable(answer.headers)
    assert answer.headers["access-control-allow-headers"] == SDK_HEADERS
    assert "POST" in answer.headers["access-control-allow-methods"].split(", ")
    assert int(answer.headers["access-control-max-age"]) > 0
    assert "content-length" not in answer.headers
    assert await upstream_log.count() == before


async def test_d12_a_preflight_is_no_error(page: Caller) -> None:
    def errors(text: str) -> list[str]:
        return [line for line in text.splitlines() if line.startswith("litemaas_errors_total")]

    before = errors(scraped_metrics())
    await ask(page, "OPTIONS", CHAT, **ASKS)

    assert errors(scraped_metrics()) == before


@pytest.mark.parametrize(
    "origin", [OTHER_PAGE, "http://app.example.com", "https://app.example.com:8443", "null", "https://APP.example.com"]
)
async def test_d12_other_pages_may_read_nothing(origin: str, page: Caller) -> None:
    for answer in (
        await ask(page, "POST", CHAT, origin=origin, body=chat_body(), **page.authorization),
        await ask(page, "OPTIONS", CHAT, origin=origin, **{"access-control-request-method": "POST"}),
    ):
        assert [name for name in answer.headers if name.lower().startswith("access-control-")] == []
        assert answer.headers["vary"] == "Origin"


async def test_d12_answers_without_an_origin_may_not_be_cached_for_pages(page: Caller) -> None:
    answer = await ask(page, "GET", "/v1/models", origin=None, **page.authorization)

    assert answer.headers["vary"] == "Origin"
    assert "access-control-allow-origin" not in answer.headers


async def test_d12_off_by_default(caller: Caller) -> None:
    for answer in (
        await ask(caller, "POST", CHAT, body=chat_body(), **caller.authorization),
        await ask(caller, "OPTIONS", CHAT, **ASKS),
    ):
        assert [name for name in answer.headers if name.lower() == "vary" or name.lower()[:7] == "access-"] == []
    assert answer.status == 405


async def test_d12_any_origin(start_gateway: StartGateway, make: MakeCaller, backends: Backends) -> None:
    running = start_gateway(gateway_cors_origins="*", state_dir=backends.folder / "any-origin")
    caller = (await make()).at(running.url)

    for method, status in (("POST", 200), ("OPTIONS", 204)):
        answer = await ask(
            caller, method, CHAT, origin="null", body=chat_body() if method == "POST" else None,
            **caller.authorization, **{"access-control-request-method": "POST"},
        )  # fmt: skip
        assert answer.status == status
        check_readable(answer.headers, "*")


def test_d12_what_is_exposed_has_no_wildcard() -> None:
    """With credentials, and in older browsers, `*` is a name like any other."""
    assert json.dumps(EXPOSED).count("*") == 0
