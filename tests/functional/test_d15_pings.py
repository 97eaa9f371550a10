"""Case D15: comments keep a silent stream open; slot, lease, row and what passes are as without them."""

import json
from collections.abc import AsyncIterator

import pytest
from callers import Caller, MakeCaller, new_mark
from end_to_end.asking import CHAT, COMPLETIONS, MESSAGES, RESPONSES, Route, asked, opened
from gateways import Ledger, RedisState, StartGateway, UpstreamLog, wait_until
from recording_upstream import RecordingUpstream, event

MODEL = "demo-chat"
PING = b": ping\n\n"
SILENT = "Slowly [tokens=4] [rate=2]"


@pytest.fixture
async def upstream() -> AsyncIterator[RecordingUpstream]:
    async with RecordingUpstream() as server:
        yield server


def pinged(start_gateway: StartGateway, caller: Caller, **changes: object) -> Caller:
    return caller.at(start_gateway(ping_after_s=0.1, **changes).url)


@pytest.mark.parametrize("route", [CHAT, COMPLETIONS, RESPONSES, MESSAGES], ids=lambda route: route.name)
async def test_d15_a_silent_stream_has_comments_between_its_events_and_the_same_row(
    route: Route, make: MakeCaller, start_gateway: StartGateway, upstream_log: UpstreamLog, ledger: Ledger,
    redis_state: RedisState,
) -> None:  # fmt: skip
    caller = await make(MODEL)
    await caller.limit("concurrency", 1)
    mark = new_mark()

    response = await asked(pinged(start_gateway, caller), route, f"{SILENT} [mark={mark}]", stream=True, model=MODEL)

    assert response.status == 200
    assert response.body.count(PING) >= 2
    assert not response.body.startswith(PING)
    blocks = response.body.replace(PING, b"").split(b"\n\n")
    assert all(block.startswith((b"data: ", b"event: ")) for block in blocks if block)
    row, billed = await ledger.row(caller.account_id), await upstream_log.call(mark=mark)
    assert (row["ending"], row["estimated"], row["counted_requests"]) == ("completed", False, 1)
    assert row["prompt_tokens"] == billed["prompt_tokens"]
    assert row["completion_tokens"] == billed["completion_tokens"] == 4
    await redis_state.wait_until_settled(caller.account_id)


async def test_d15_without_the_setting_and_in_whole_answers_there_are_none(
    make: MakeCaller, start_gateway: StartGateway
) -> None:
    caller = await make(MODEL)

    usual = await caller.chat(SILENT, stream=True)
    whole = await pinged(start_gateway, caller, pings_before_answer=True).chat(SILENT)

    assert PING not in usual.body
    assert PING not in whole.body
    assert whole.headers["content-type"] == "application/json"


async def test_d15_before_the_answer_there_are_none_unless_the_setting_says_so(
    make: MakeCaller, start_gateway: StartGateway, upstream: RecordingUpstream, ledger: Ledger
) -> None:
    caller = await make(MODEL)
    head = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"
    upstream.answer_verbatim([b"", head], pause_s=0.5)

    response = await pinged(start_gateway, caller, litellm_urls=upstream.url).chat(stream=True)

    assert (response.status, response.code) == (429, "upstream_error")
    assert (await ledger.row(caller.account_id))["status"] == 429


@pytest.mark.parametrize("route", [CHAT, RESPONSES, MESSAGES], ids=lambda route: route.name)
async def test_d15_with_it_a_refusal_is_an_event_of_the_stream_and_costs_nothing(
    route: Route, make: MakeCaller, start_gateway: StartGateway, upstream: RecordingUpstream, ledger: Ledger,
    redis_state: RedisState,
) -> None:  # fmt: skip
    caller = await make(MODEL)
    there = pinged(start_gateway, caller, litellm_urls=upstream.url, pings_before_answer=True)
    head = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"
    upstream.answer_verbatim([b"", head], pause_s=0.5)

    response = await asked(there, route, "Hello", stream=True, model=MODEL)

    assert response.status == 200
    assert response.headers["content-type"] == "text/event-stream"
    assert response.request_id
    assert response.body.startswith(PING)
    error = json.loads(response.body.rsplit(b"data: ", 1)[1])
    assert "upstream_error" in json.dumps(error)
    row = await ledger.row(caller.account_id)
    assert (row["ending"], row["status"], row["error_code"]) == ("refused_upstream", 200, "upstream_error")
    assert (row["counted_requests"], row["counted_tokens"], row["cost_nano_usd"]) == (0, 0, 0)
    await redis_state.wait_until_settled(caller.account_id)


async def test_d15_a_whole_answer_after_a_ping_is_one_event(
    make: MakeCaller, start_gateway: StartGateway, upstream: RecordingUpstream, ledger: Ledger
) -> None:
    caller = await make(MODEL)
    there = pinged(start_gateway, caller, litellm_urls=upstream.url, pings_before_answer=True)
    body = json.dumps({"choices": [{"message": {"content": "a\nb"}}], "usage": {"prompt_tokens": 3}}, indent=1)
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    upstream.answer_verbatim([b"", (head + body).encode()], pause_s=0.5)

    response = await there.chat(stream=True)

    data = response.body.replace(PING, b"").removeprefix(b"data: ")
    assert json.loads(data) == json.loads(body)
    assert data.endswith(b"\n\n")
    assert data.count(b"\n") == 2
    assert (await ledger.row(caller.account_id))["prompt_tokens"] == 3


@pytest.mark.parametrize("ending", ["completes", "leaves"])
async def test_d15_pings_hold_one_slot_and_are_no_passed_byte(
    ending: str, make: MakeCaller, start_gateway: StartGateway, upstream_log: UpstreamLog, ledger: Ledger,
    redis_state: RedisState,
) -> None:  # fmt: skip
    caller = await make(MODEL)
    await caller.limit("concurrency", 2)
    there = pinged(start_gateway, caller, pings_before_answer=True)
    mark = new_mark()
    delay = "[delay=1]" if ending == "completes" else "[delay=30]"

    async with opened(there, CHAT, f"Wait {delay} [tokens=3] [mark={mark}]", stream=True, max_tokens=50) as answer:
        for _ in range(3):
            assert await answer.content.readuntil(b"\n\n") == PING
        held = (await redis_state.counter(caller.account_id, f"c|k{caller.key_id}"))[0]
        if ending == "completes":
            await answer.content.read()

    row = await ledger.row(caller.account_id)
    assert held == 1
    if ending == "completes":
        assert (row["ending"], row["completion_tokens"], row["estimated"]) == ("completed", 3, False)
    else:
        assert (row["ending"], row["estimated_why"]) == ("client_disconnected", "hung_up")
        assert (row["completion_tokens"], row["first_byte_ms"]) == (50, None)

        async def is_cancelled() -> bool:
            return (await upstream_log.call(mark=mark))["ending"] == "hung_up"

        await wait_until(is_cancelled, "the model to stop")
    await redis_state.wait_until_settled(caller.account_id)


async def test_d15_an_event_that_passes_in_parts_is_not_broken_by_a_ping(
    make: MakeCaller, start_gateway: StartGateway, upstream: RecordingUpstream
) -> None:
    caller = await make(MODEL)
    large = event(choices=[{"delta": {"content": "x" * 2_000_000}}])
    usage = event(choices=[], usage={"prompt_tokens": 3, "completion_tokens": 4})
    upstream.stream([large[:1_500_000], large[1_500_000:], usage], pause_s=0.5)

    response = await pinged(start_gateway, caller, litellm_urls=upstream.url).chat(stream=True)

    assert large in response.body
    assert PING in response.body.replace(large, b"")


async def test_d15_official_clients_read_over_pings(make: MakeCaller, start_gateway: StartGateway) -> None:
    # Imported late: it takes three seconds.
    import anthropic
    import openai

    caller = await make(MODEL)
    url = pinged(start_gateway, caller, pings_before_answer=True).url
    messages = [{"role": "user", "content": f"{SILENT} [delay=0.5]"}]

    async with openai.AsyncOpenAI(api_key=caller.key, base_url=f"{url}/v1", max_retries=0) as client:
        stream = await client.chat.completions.create(model=MODEL, messages=messages, stream=True)
        chunks = [chunk.choices[0].delta.content async for chunk in stream if chunk.choices]
    async with (
        anthropic.AsyncAnthropic(api_key=caller.key, base_url=url, max_retries=0) as claude,
        claude.messages.stream(model=MODEL, messages=messages, max_tokens=50) as reply,
    ):
        said = await reply.get_final_message()

    assert len([text for text in chunks if text]) == 4
    assert said.usage.output_tokens == 4
