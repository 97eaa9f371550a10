"""Each route with and without `/v1`, whole and streamed; models with a `/` in their name; clients of other vendors."""

import asyncio
import json
from dataclasses import replace
from typing import Any, Final

import pytest
from callers import Caller, MakeCaller, Response, new_mark
from gateways import Ledger, UpstreamLog

from end_to_end.asking import (
    AT_ONCE,
    CHAT,
    CLAUDE,
    COUNT_TOKENS,
    EMBEDDINGS,
    MESSAGES,
    RESPONSES,
    ROUTES,
    STREAMING,
    TRANSLATIONS,
    Route,
    asked,
    assert_as_billed,
    data_of,
    tokens,
)
from end_to_end.conftest import MeasureDrift
from gateway.endpoints.registry import ENDPOINTS

WHOLE_AND_STREAMED: Final = [*((r, s) for r in STREAMING for s in (False, True)), *((r, False) for r in AT_ONCE)]


@pytest.fixture
async def caller(make: MakeCaller) -> Caller:
    return await make(*{route.model for route in ROUTES}, "vendor/demo-chat", "vendor/demo-claude",
                      "vendor/demo-embedding")  # fmt: skip


def test_every_endpoint_is_covered() -> None:
    assert {(route.name, route.path) for route in ROUTES} == {(one.name, one.path) for one in ENDPOINTS}


async def test_each_route_exists_with_and_without_v1(caller: Caller, upstream_log: UpstreamLog, ledger: Ledger) -> None:
    marks = {new_mark(): (route, stream, prefix) for route, stream in WHOLE_AND_STREAMED for prefix in ("/v1", "")}

    async def ask(mark: str, route: Route, stream: bool, prefix: str) -> Response:
        there = replace(route, path=prefix + route.path.removeprefix("/v1"))
        return await asked(caller, there, f"Hello [tokens=5] [mark={mark}]", stream=stream)

    response = dict(
        zip(marks, await asyncio.gather(*(ask(mark, *place) for mark, place in marks.items())), strict=True)
    )

    rows = {str(row["request_id"]): row for row in await ledger.rows(caller.account_id, len(marks))}
    for mark, (route, stream, _) in marks.items():
        row = rows[response[mark].request_id]
        is_there = route is not TRANSLATIONS
        assert (response[mark].status, row["endpoint"], row["streamed"]) == (
            200 if is_there else 404,
            route.name,
            stream,
        )
        assert response[mark].headers["content-type"].startswith("text/event-stream") == stream
        assert len(await upstream_log.calls(mark=mark)) == is_there


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("route", [
    replace(CHAT, model="vendor/demo-chat"),
    replace(RESPONSES, model="vendor/demo-chat"),
    replace(MESSAGES, model="vendor/demo-chat"),
    replace(CLAUDE, model="vendor/demo-claude"),
    replace(COUNT_TOKENS, model="vendor/demo-claude"),
    replace(EMBEDDINGS, model="vendor/demo-embedding"),
], ids=lambda route: f"{route.name} {route.model}")  # fmt: skip
async def test_a_model_may_have_a_slash_in_its_name(
    route: Route, stream: bool, caller: Caller, upstream_log: UpstreamLog, ledger: Ledger
) -> None:
    mark = new_mark()

    response = await asked(
        caller, route, f"Hello [tokens=5] [mark={mark}]", stream=stream and route.name != "embeddings"
    )

    row = await ledger.row(caller.account_id)
    billed = await upstream_log.call(mark=mark)
    assert (response.status, row["model_asked"], row["ending"]) == (200, route.model, "completed")
    assert billed["model"] == route.model
    assert tokens(row) == tokens(billed)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_cached_tokens_are_charged_at_their_own_prices(
    stream: bool, caller: Caller, upstream_log: UpstreamLog, ledger: Ledger, drift: MeasureDrift
) -> None:
    mark = new_mark()
    prompt = f"One two three four five six [tokens=7] [cached=4] [written=3] [mark={mark}]"

    response = await asked(caller, CLAUDE, prompt, stream=stream)

    row, billed = await ledger.row(caller.account_id), await upstream_log.call(mark=mark)
    events = [json.loads(data) for data in data_of(response.body)] if stream else [{"message": response.json}]
    reported = events[0]["message"]["usage"]
    # As Anthropic tells it: beside each other; as the ledger has it: one within the other.
    assert (reported["cache_read_input_tokens"], reported["cache_creation_input_tokens"]) == (4, 3)
    assert reported["input_tokens"] == billed["prompt_tokens"] - 7 == row["prompt_tokens"] - 7
    assert_as_billed(row, billed, tells_cost=not stream)
    fresh = billed["prompt_tokens"] - 7
    assert row["cost_nano_usd"] == 1000 * fresh + 100 * 4 + 1250 * 3 + 2000 * 7
    assert await drift(caller) == []


# The fields of Claude Code that matter to a gateway: blocks with cache marks, tools, its own user.
CLAUDE_CODE: Final[dict[str, Any]] = {
    "model": "demo-claude",
    "max_tokens": 32000,
    "system": [
        {"type": "text", "text": "You are a tool for programmers.", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}},
    ],
    "tools": [
        {
            "name": "Read",
            "description": "Reads a file.",
            "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
        }
    ],
    "metadata": {"user_id": "user_0a1b_account_2c3d_session_4e5f"},
    "temperature": 1,
}
CLAUDE_CODE_HEADERS: Final = {
    "anthropic-version": "2023-06-01",
    "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14,fine-grained-tool-streaming-2025-05-14",
    "anthropic-dangerous-direct-browser-access": "true",
    "user-agent": "claude-cli/2.0 (external, cli)",
    "x-app": "cli",
    "x-stainless-lang": "js",
    "x-stainless-retry-count": "0",
}


@pytest.mark.parametrize("model", ["demo-claude", "demo-chat"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_claude_code_is_served(
    model: str, stream: bool, caller: Caller, upstream_log: UpstreamLog, ledger: Ledger, drift: MeasureDrift
) -> None:
    mark = new_mark()
    text = {"type": "text", "text": f"Go [tokens=9] [mark={mark}]", "cache_control": {"type": "ephemeral"}}
    used = {"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {"path": "a"}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "nothing"}]}
    messages = [
        {"role": "user", "content": "Read a"},
        {"role": "assistant", "content": [{"type": "text", "text": "I read it."}, used]},
        {"role": "user", "content": [result, text]},
    ]
    body = CLAUDE_CODE | {"model": model, "stream": stream, "messages": messages}

    url = f"{caller.url}/v1/messages?beta=true"
    headers = CLAUDE_CODE_HEADERS | {"x-api-key": caller.key}
    async with caller.http.post(url, json=body, headers=headers) as answer:
        status, raw = answer.status, await answer.read()

    assert status == 200, raw
    row, billed = await ledger.row(caller.account_id), await upstream_log.call(mark=mark)
    assert_as_billed(row, billed, tells_cost=not stream)
    if stream:
        assert json.loads(data_of(raw)[-1]) == {"type": "message_stop"}
    assert await drift(caller) == []


async def test_token_counts_of_claude_code_are_served(caller: Caller, ledger: Ledger) -> None:
    body = {name: CLAUDE_CODE[name] for name in ("model", "system", "tools")}
    body["messages"] = [{"role": "user", "content": "How long is this?"}]

    url = f"{caller.url}/v1/messages/count_tokens?beta=true"
    headers = CLAUDE_CODE_HEADERS | {"x-api-key": caller.key}
    async with caller.http.post(url, json=body, headers=headers) as answer:
        counted = await answer.json()

    assert answer.status == 200
    assert counted["input_tokens"] > 10
    assert (await ledger.row(caller.account_id))["counted_tokens"] == 0


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/chat/completions"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_an_azure_client_is_served(
    path: str, stream: bool, caller: Caller, upstream_log: UpstreamLog, ledger: Ledger
) -> None:
    mark = new_mark()
    body = CHAT.fields(f"Hello [tokens=9] [mark={mark}]", stream=stream, user="someone", metadata={"team": "a"})
    headers = {"api-key": caller.key, "x-ms-client-request-id": "1", "user-agent": "AzureOpenAI/Python"}

    url = f"{caller.url}{path}?api-version=2025-04-01-preview"
    async with caller.http.post(url, json=body, headers=headers) as answer:
        status, raw = answer.status, await answer.read()

    assert status == 200, raw
    assert_as_billed(await ledger.row(caller.account_id), await upstream_log.call(mark=mark))
    assert raw.endswith(b"data: [DONE]\n\n") == stream
