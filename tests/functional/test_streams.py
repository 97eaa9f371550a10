"""Relayed responses: byte for byte what the model server sent, without a usage chunk the caller did not ask for."""

import re
from typing import Any

import pytest
from callers import CHAT, Caller, MakeCaller, Response, chat_body, new_mark
from gateways import Backends, Ledger, RedisState, UpstreamLog

OPTIONS = {"include_usage": True}
# Generated for each call, so always different.
OF_THE_CALL = re.compile(rb'"id":"[^"]*"|"created":\d+')
SHAPES = ["[usage=empty]", "[usage=delta]"]


def reported(events: list[Any]) -> list[dict[str, Any]]:
    """Events with a usage."""
    return [event for event in events if event != "[DONE]" and event.get("usage")]


async def ask_directly(backends: Backends, caller: Caller, prompt: str, **fields: Any) -> bytes:
    """The response of the model server to the same request, with usage."""
    body = chat_body(prompt, **fields) | {"stream_options": OPTIONS}
    async with caller.http.post(backends.model_server.url + CHAT, json=body) as answer:
        return await answer.read()


def comparable(stream: bytes) -> bytes:
    return OF_THE_CALL.sub(b"", stream)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("model", ["demo-chat", "split-chat"])
async def test_a_stream_with_requested_usage_passes_byte_for_byte(
    shape: str, model: str, make: MakeCaller, backends: Backends
) -> None:
    caller = await make(model)
    prompt = f"Tell me {shape} [tokens=60]"

    response = await caller.chat(prompt, model=model, stream=True, stream_options=OPTIONS)

    direct = await ask_directly(backends, caller, prompt, model=model, stream=True)
    assert response.headers["content-type"] == "text/event-stream"
    assert comparable(response.body) == comparable(direct)
    assert len(reported(response.events)) == 1


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("options", [None, {"include_usage": False}])
@pytest.mark.parametrize("model", ["demo-chat", "split-chat"])
async def test_a_stream_without_requested_usage_lacks_only_the_usage_chunk(
    shape: str, options: dict[str, bool] | None, model: str, make: MakeCaller, backends: Backends
) -> None:
    caller = await make(model)
    prompt = f"Tell me {shape} [tokens=60]"

    response = await caller.chat(prompt, model=model, stream=True, stream_options=options)

    direct = Response(200, {}, await ask_directly(backends, caller, prompt, model=model, stream=True))
    parts = direct.body.split(b"\n\n")
    (usage,) = [n for n, event in enumerate(direct.events) if event in reported(direct.events)]
    expected = b"\n\n".join(parts[:usage] + parts[usage + 1 :])
    assert comparable(response.body) == comparable(expected)
    assert reported(response.events) == []
    assert response.events[-1] == "[DONE]"


@pytest.mark.parametrize("fields", [
    {},
    {"stream": True},
    {"stream": True, "stream_options": OPTIONS},
    {"stream": True, "n": 3},
    {"n": 2},
    {"max_tokens": 4},
    {"stream": True, "max_completion_tokens": 4},
    {"stream": True, "model": "split-chat"},
], ids=str)  # fmt: skip
async def test_the_ledger_has_the_tokens_the_model_server_billed(
    fields: dict[str, Any], make: MakeCaller, upstream_log: UpstreamLog, ledger: Ledger, redis_state: RedisState
) -> None:
    caller = await make("demo-chat", "split-chat")
    await caller.limit("cost", 10**12, window="lifetime")

    response = await caller.chat("How many? [tokens=9] [cached=2] [reasoning=3]", **fields)

    row, billed = await ledger.row(caller.account_id), await upstream_log.call(call_id=response.request_id)
    tokens = ("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens")
    assert [row[name] for name in tokens] == [billed[name] for name in tokens]
    assert row["completion_tokens"] == min(9, fields.get("max_tokens", 9), fields.get("max_completion_tokens", 9)) * (
        fields.get("n", 1)
    )
    assert (row["ending"], row["status"], row["estimated"], row["streamed"]) == (
        "completed",
        200,
        False,
        fields.get("stream", False),
    )
    assert (row["model_asked"], row["model_served"]) == (billed["model"], billed["model"])
    assert row["counted_tokens"] == row["prompt_tokens"] + row["completion_tokens"]
    # 1 and 2 USD a million tokens.
    assert row["cost_nano_usd"] == 1000 * row["prompt_tokens"] + 2000 * row["completion_tokens"]
    assert row["counted_nano_usd"] == row["cost_nano_usd"]
    assert 0 <= row["first_byte_ms"] <= row["total_ms"]
    await redis_state.wait_until_settled(caller.account_id)
    scope = f"k{caller.key_id}"
    assert (await redis_state.counter(caller.account_id, f"C|{scope}|lifetime"))[1] == row["cost_nano_usd"]


async def test_the_cost_of_a_model_without_a_price_is_null(make: MakeCaller, ledger: Ledger) -> None:
    caller = await make("demo-unpriced")

    await caller.chat(model="demo-unpriced")

    row = await ledger.row(caller.account_id)
    assert (row["cost_nano_usd"], row["price_id"], row["counted_nano_usd"]) == (None, None, 0)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_response_without_usage_is_charged_by_what_passed(
    stream: bool, make: MakeCaller, upstream_log: UpstreamLog, ledger: Ledger
) -> None:
    caller = await make("fault-no-usage")

    response = await caller.chat("Say nothing of it [tokens=40]", model="fault-no-usage", stream=stream)

    row, billed = await ledger.row(caller.account_id), await upstream_log.call(call_id=response.request_id)
    assert (row["ending"], row["estimated"], row["estimated_why"]) == ("completed", True, "no_usage")
    assert row["prompt_tokens"] > 0
    # The text is estimated from the JSON of a whole response.
    assert billed["completion_tokens"] / 3 < row["completion_tokens"] < billed["completion_tokens"] * 5


async def test_a_stream_passes_without_buffering(caller: Caller, upstream_log: UpstreamLog) -> None:
    mark = new_mark()

    async with caller.open_chat(f"Slowly [tokens=40] [rate=20] [mark={mark}]", stream=True) as answer:
        first = await answer.content.readuntil(b"\n\n")
        made = (await upstream_log.call(mark=mark))["completion_tokens"]

    assert first.startswith(b"data: ")
    assert made < 40
