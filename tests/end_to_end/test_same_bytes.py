"""Every endpoint compared with a direct call of LiteLLM: the same bytes, except what differs in every call."""

import re
from contextlib import suppress
from typing import Any, Final

import aiohttp
import pytest
from callers import Caller, MakeCaller, Response, chat_body
from gateways import Backends

from end_to_end.asking import AT_ONCE, CHAT, COMPLETIONS, RESPONSES, STREAMING, Route, asked

# What a call has of its own: ids of the model server and of LiteLLM, times, and the ordinal in some ids.
OF_THE_CALL: Final = re.compile(
    rb'"(?:id|item_id)": ?"[^"]*"|"(?:created|created_at|completed_at|sequence_number)": ?[\d.]+|resp_[\w=-]+'
)
ZEROS: Final = re.compile(rb',"usage":\{"completion_tokens":0,"prompt_tokens":0,"total_tokens":0\}')
PROMPT: Final = "Tell me something [tokens=12] [cached=2] [written=1] [reasoning=2]"
TRIES: Final = 5
CASES: Final = [
    *((route, stream, {}) for route in STREAMING for stream in (False, True)),
    *((route, False, {}) for route in AT_ONCE),
    (CHAT, True, {"stream_options": {"include_usage": True}}),
    (CHAT, True, {"stream_options": {"include_usage": False}}),
    (COMPLETIONS, True, {"stream_options": {"include_usage": True}}),
    (CHAT, True, {"model": "split-chat"}),
    (CHAT, True, {"n": 3}),
    (CHAT, True, {"model": "demo-claude"}),
    (CHAT, False, {"model": "demo-claude"}),
    (RESPONSES, True, {"model": "demo-claude"}),
]


@pytest.fixture
async def caller(make: MakeCaller) -> Caller:
    return await make(*{route.model for route in (*STREAMING, *AT_ONCE)}, "split-chat")


def comparable(body: bytes) -> bytes:
    return OF_THE_CALL.sub(b"", body)


async def ask_litellm(caller: Caller, backends: Backends, route: Route, **fields: Any) -> Response:
    headers = {"authorization": f"Bearer {backends.litellm_key}", "accept-encoding": "identity"}
    for _ in range(TRIES):
        content = route.content(PROMPT, **fields)
        # LiteLLM answers 404 before it has read an upload, and closes: the client may lose the answer to that.
        with suppress(aiohttp.ClientOSError):
            async with caller.http.post(backends.litellm_url + route.path, headers=headers, **content) as answer:
                return Response(answer.status, answer.headers.copy(), await answer.read())
    raise AssertionError(f"LiteLLM closed {TRIES} connections")


def name_of(value: object) -> str:
    if isinstance(value, Route):
        return f"{value.name}-{value.model}"
    return " ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else str(value)


@pytest.mark.parametrize(("route", "stream", "fields"), CASES, ids=name_of)
async def test_responses_of_litellm_pass_byte_for_byte(
    route: Route, stream: bool, fields: dict[str, Any], caller: Caller, backends: Backends
) -> None:
    there = await ask_litellm(caller, backends, route, stream=stream, **fields)

    here = await asked(caller, route, PROMPT, stream=stream, **fields)

    if there.status == 404:
        # A route LiteLLM has not.
        assert here.status == 404
        return
    assert (here.status, there.status) == (200, 200)
    assert here.headers["content-type"] == there.headers["content-type"]
    expected = comparable(there.body)
    if route is COMPLETIONS and stream and not fields:
        # LiteLLM 1.106 tells every chunk a usage of zeros there, unless it is asked for one.
        expected, count = ZEROS.subn(b"", expected)
        assert count >= 10
    assert comparable(here.body) == expected


async def test_a_chunk_with_usage_has_the_choice_that_litellm_puts_into_it(caller: Caller, backends: Backends) -> None:
    """The provider's has none, as the API's documentation says."""
    options = {"stream": True, "stream_options": {"include_usage": True}}
    body = chat_body(PROMPT, **options)
    async with caller.http.post(f"{backends.model_server.url}/v1/chat/completions", json=body) as answer:
        provider = Response(answer.status, answer.headers.copy(), await answer.read())

    there = await ask_litellm(caller, backends, CHAT, **options)
    here = await asked(caller, CHAT, PROMPT, **options)

    choices = [response.events[-2]["choices"] for response in (provider, there, here)]
    assert choices == [[], [{"index": 0, "delta": {}}], [{"index": 0, "delta": {}}]]
    assert all(response.events[-2]["usage"]["total_tokens"] for response in (provider, there, here))
