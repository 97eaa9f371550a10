"""Case D22: an error, HTML or nothing under a status of success is a 502, and costs nothing."""

import json
from collections.abc import AsyncIterator, Iterator

import pytest
from callers import Caller, MakeCaller, Response
from end_to_end.asking import CHAT, COMPLETIONS, MESSAGES, RESPONSES, ROUTES, SPEECH, TRANSCRIPTIONS, Route, asked
from gateways import Backends, GatewayThread, Ledger, RedisState
from recording_upstream import DONE, RecordingUpstream, event

from gateway.endpoints.registry import ENDPOINTS

MODEL = "demo-chat"
# By its name, each once.
BY_NAME = {route.name: route for route in ROUTES}
TEXT_OR_SOUND = ("speech", "transcriptions", "translations")
PAGE = b"\n<!DOCTYPE html>\n<html><body>\n\nSign in, or read about our sk-key</body></html>"
NO_ANSWERS = {
    "error": b'{"error":{"message":"Incorrect API key: sk-key","code":401,"param":"choices"}}',
    "error as a text": b'{"error":"boom"}',
    "error of Anthropic": b'{"type":"error","error":{"type":"overloaded_error","message":"content: later"}}',
    "error beside nothing": b'{"id":"x","choices":[],"output":[],"content":null,"data":[],"error":{"code":5}}',
    "detail": b'{"detail":"Not Found"}',
    "object": b"{}",
    "page": PAGE,
    "xml": b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
}
NOT_OF_JSON = {
    "nothing": b"",
    "null": b"null",
    "list": b"[]",
    "half": b'{"id":"x",',
    "text": b"upstream connect error or disconnect/reset before headers",
}
WHOLE = [
    (name, kind)
    for name in BY_NAME
    for kind in (*NO_ANSWERS, *NOT_OF_JSON)
    if kind in NO_ANSWERS or name not in TEXT_OR_SOUND or (kind, name) == ("nothing", "speech")
]
NO_STREAMS = {
    "nothing": [],
    "end": [DONE],
    "error": [event(error={"message": "sk-key", "code": "500"}), DONE],
    "error and comment": [event(error={"message": "sk-key", "code": "500"}) + b": bye\n\n"],
    "page": [PAGE],
    "page of one block": [PAGE.replace(b"\n\n", b"\n")],
}


@pytest.fixture(scope="module")
async def upstream() -> AsyncIterator[RecordingUpstream]:
    async with RecordingUpstream() as server:
        yield server


@pytest.fixture(scope="module")
def behind(upstream: RecordingUpstream, backends: Backends) -> Iterator[GatewayThread]:
    with GatewayThread(backends.settings(litellm_urls=upstream.url)) as running:
        yield running


async def assert_costs_nothing(response: Response, caller: Caller, ledger: Ledger, redis_state: RedisState) -> None:
    assert (response.status, response.error["code"]) == (502, "upstream_error")
    assert b"sk-key" not in response.body
    row = (await ledger.rows(caller.account_id, 1))[0]
    assert (row["ending"], row["status"], row["error_code"]) == ("refused_upstream", 502, "upstream_error")
    assert (row["counted_requests"], row["counted_tokens"], row["counted_nano_usd"]) == (0, 0, 0)
    assert (row["cost_nano_usd"], row["estimated"]) == (0, False)
    await redis_state.wait_until_settled(caller.account_id)


@pytest.mark.parametrize(("name", "kind"), WHOLE)
async def test_d22_what_is_no_answer_is_502_and_costs_nothing(
    name: str, kind: str, make: MakeCaller, upstream: RecordingUpstream, behind: GatewayThread, ledger: Ledger,
    redis_state: RedisState,
) -> None:  # fmt: skip
    caller = await make(MODEL)
    upstream.answer((NO_ANSWERS | NOT_OF_JSON)[kind], kind="text/html" if kind == "page" else "application/json")

    response = await asked(caller.at(behind.url), BY_NAME[name], "Hello", model=MODEL)

    await assert_costs_nothing(response, caller, ledger, redis_state)
    assert response.json.get("type") == ("error" if name in ("messages", "count_tokens") else None)


@pytest.mark.parametrize("name", NO_STREAMS)
@pytest.mark.parametrize("route", [CHAT, COMPLETIONS, RESPONSES, MESSAGES], ids=lambda route: route.name)
async def test_d22_a_stream_without_an_event_is_502_and_costs_nothing(
    route: Route, name: str, make: MakeCaller, upstream: RecordingUpstream, behind: GatewayThread, ledger: Ledger,
    redis_state: RedisState,
) -> None:  # fmt: skip
    caller = await make(MODEL)
    events = NO_STREAMS[name]
    if "error" in name and route is MESSAGES:
        events = [b"event: error\n" + event(type="error", error={"type": "api_error", "message": "sk-key"})]
    elif "error" in name and route is RESPONSES:
        events = [event(type="error", code="500", message="sk-key")]
    upstream.stream(events)

    response = await asked(caller.at(behind.url), route, "Hello", stream=True, model=MODEL)

    await assert_costs_nothing(response, caller, ledger, redis_state)


async def test_d22_a_stream_of_comments_only_ends_with_an_error_event_and_costs_nothing(
    make: MakeCaller, upstream: RecordingUpstream, behind: GatewayThread, ledger: Ledger, redis_state: RedisState
) -> None:
    caller = await make()
    upstream.stream([b": processing\n\n", b": processing\n\n"])

    response = await asked(caller.at(behind.url), CHAT, "Hello", stream=True)

    assert response.status == 200
    assert json.loads(response.body.rsplit(b"data: ", 1)[1])["error"]["code"] == "upstream_error"
    row = (await ledger.rows(caller.account_id, 1))[0]
    assert (row["ending"], row["status"], row["error_code"]) == ("refused_upstream", 200, "upstream_error")
    assert (row["counted_requests"], row["counted_tokens"], row["cost_nano_usd"]) == (0, 0, 0)
    await redis_state.wait_until_settled(caller.account_id)


@pytest.mark.parametrize(
    ("route", "body"),
    [
        (CHAT, b'{"choices":[{"message":{"content":"a","tool_calls":[{"error":{}}]}}],"error":null}'),
        (CHAT, b'{"choices":[{"message":{"content":"half"}}],"error":{"message":"cut off"}}'),
        (CHAT, b'{"usage":{"prompt_tokens":3,"completion_tokens":4},"error":{"message":"it was paid for"}}'),
        (CHAT, b' \n {"error":null,"choices":[]}'),
        (RESPONSES, b'{"id":"r","error":null,"output":[{"type":"message"}]}'),
        (MESSAGES, b'{"content":[{"type":"tool_use","input":{"error":{"a":1}}}]}'),
        (TRANSCRIPTIONS, b'"a text as JSON"'),
        (TRANSCRIPTIONS, b"1\n00:00:00,000 --> 00:00:01,000\nHello\n"),
        (SPEECH, b"\xff\xf3\x00"),
        (SPEECH, b"{\x00\x01 sound may begin with a brace"),
    ],
)
async def test_d22_an_answer_passes_byte_for_byte(
    route: Route, body: bytes, make: MakeCaller, upstream: RecordingUpstream, behind: GatewayThread, ledger: Ledger
) -> None:
    caller = await make(MODEL)
    upstream.answer(body)

    response = await asked(caller.at(behind.url), route, "Hello", model=MODEL)

    assert (response.status, response.body) == (200, body)
    assert (await ledger.rows(caller.account_id, 1))[0]["ending"] == "completed"


async def test_d22_an_endless_page_is_not_read_to_its_end(
    make: MakeCaller, upstream: RecordingUpstream, behind: GatewayThread
) -> None:
    caller = await make()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\n\r\n<html>"
    upstream.answer_verbatim([head, *[b"x" * 65536] * 1000], pause_s=0.01)

    response = await asked(caller.at(behind.url), CHAT, "Hello")

    assert response.status == 502
    assert upstream.sent_bytes < 30_000_000


def test_every_endpoint_is_tried() -> None:
    assert set(BY_NAME) == {endpoint.name for endpoint in ENDPOINTS}
