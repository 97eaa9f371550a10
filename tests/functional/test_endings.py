"""Every ending of a call: the response, the ledger row, and no remaining reservation."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from callers import Caller, MakeCaller, Response, new_mark
from gateways import Ledger, RedisState, StartGateway, UnhandledErrors, UpstreamLog, wait_until
from recording_upstream import DONE, RecordingUpstream, event

from deploy.embedded.model_server.names import FAULTS

DEAD = "http://127.0.0.1:1"
# A disconnect reaches the model server within this time.
CANCELLED_WITHIN_S = 1.0


@pytest.fixture
async def limited(make: MakeCaller) -> Caller:
    """A caller with a limit of every kind, all large enough."""
    caller = await make("demo-chat", *FAULTS)
    # Refills slowly, so the taken amount is still missing when it is checked.
    await caller.limit("rpm", 6)
    for kind in ("tpm", "concurrency"):
        await caller.limit(kind, 100_000)
    for kind in ("requests", "tokens", "cost"):
        await caller.limit(kind, 10**12, window="lifetime")
    return caller


@pytest.fixture
async def upstream() -> AsyncIterator[RecordingUpstream]:
    async with RecordingUpstream() as server:
        yield server


async def assert_charged(
    caller: Caller, row: dict[str, Any], redis_state: RedisState, *, is_request: bool = True
) -> None:
    """Nothing stays reserved, and the counters have exactly the amounts of the row."""
    await redis_state.wait_until_settled(caller.account_id)
    scope = f"k{caller.key_id}"

    async def used(letter: str) -> int:
        return (await redis_state.counter(caller.account_id, f"{letter}|{scope}|lifetime"))[1]

    counted = ("counted_requests", "counted_tokens", "counted_nano_usd")
    assert [await used("R"), await used("T"), await used("C")] == [row[name] for name in counted]
    assert (await redis_state.counter(caller.account_id, f"c|{scope}"))[0] == 0
    missing = (await redis_state.counter(caller.account_id, f"r|{scope}|admin"))[0]
    # In units of 1/60000; some has been refilled in between.
    assert (missing > 0) == is_request


def assert_broken_stream(response: Response) -> dict[str, Any]:
    """Checks the error event at the end of the stream, which has no `[DONE]`."""
    assert response.status == 200
    assert DONE not in response.body
    error: dict[str, Any] = response.events[-1]["error"]
    return error


# --- The caller disconnects ---


@pytest.mark.parametrize("stream", [False, True])
async def test_a_disconnect_before_the_first_byte_cancels_upstream_and_is_charged_the_whole_estimate(
    stream: bool, limited: Caller, upstream_log: UpstreamLog, ledger: Ledger, redis_state: RedisState
) -> None:
    mark = new_mark()

    async def is_running() -> bool:
        return bool(await upstream_log.calls(mark=mark, ending="running"))

    call = asyncio.ensure_future(limited.chat(f"Wait [delay=20] [mark={mark}]", stream=stream, max_tokens=50))
    await wait_until(is_running, "the call at the model server")
    disconnected_at = time.time()
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)

    row = await ledger.row(limited.account_id)
    billed = await upstream_log.call(mark=mark)
    assert billed["ending"] == "hung_up"
    assert billed["ended_at"] - disconnected_at < CANCELLED_WITHIN_S
    assert (row["ending"], row["status"]) == ("client_disconnected", 499)
    assert (row["estimated"], row["estimated_why"], row["first_byte_ms"]) == (True, "hung_up", None)
    assert (row["completion_tokens"], row["counted_requests"]) == (50, 1)
    assert row["prompt_tokens"] > 5
    await assert_charged(limited, row, redis_state)


async def test_a_disconnect_during_a_stream_cancels_upstream_and_is_charged_what_passed(
    limited: Caller, upstream_log: UpstreamLog, ledger: Ledger, redis_state: RedisState
) -> None:
    mark = new_mark()

    async with limited.open_chat(f"Go on [tokens=500] [rate=50] [mark={mark}]", stream=True) as answer:
        for _ in range(20):
            await answer.content.readuntil(b"\n\n")
        disconnected_at = time.time()

    row = await ledger.row(limited.account_id)
    billed = await upstream_log.call(mark=mark)
    assert billed["ending"] == "hung_up"
    assert billed["ended_at"] - disconnected_at < CANCELLED_WITHIN_S
    assert 19 <= billed["completion_tokens"] < 80
    assert (row["ending"], row["status"]) == ("client_disconnected", 200)
    assert (row["estimated"], row["estimated_why"]) == (True, "hung_up")
    # At least one token per chunk; some words are several.
    assert 19 <= row["completion_tokens"] < 3 * billed["completion_tokens"]
    await assert_charged(limited, row, redis_state)


async def test_a_disconnect_during_a_whole_response_is_charged_what_passed(
    limited: Caller, upstream_log: UpstreamLog, ledger: Ledger, redis_state: RedisState
) -> None:
    mark = new_mark()

    async with limited.open_chat(f"Dribble [tokens=10] [rate=20] [mark={mark}]", model="fault-slow-body") as answer:
        await answer.content.readexactly(60)

    row = await ledger.row(limited.account_id)
    assert (await upstream_log.call(mark=mark))["ending"] == "hung_up"
    assert (row["ending"], row["estimated_why"]) == ("client_disconnected", "hung_up")
    assert row["completion_tokens"] > 0
    await assert_charged(limited, row, redis_state)


async def test_a_disconnect_while_sending_is_no_call(
    limited: Caller, upstream_log: UpstreamLog, redis_state: RedisState, start_gateway: StartGateway
) -> None:
    gateway = start_gateway()
    before = await upstream_log.count()
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {limited.key}\r\n"
    writer.write(head.encode() + b'content-length: 1000\r\n\r\n{"model":"demo-chat"')
    await writer.drain()

    writer.close()
    await writer.wait_closed()
    await gateway.stop_async()

    assert await reader.read() == b""
    assert await upstream_log.count() == before
    assert await redis_state.everything(limited.account_id) == {}


async def test_concurrent_disconnects_leave_no_slot_taken(
    caller: Caller, ledger: Ledger, redis_state: RedisState
) -> None:
    await caller.limit("concurrency", 25)

    async def disconnect_after(events: int) -> None:
        async with caller.open_chat("[tokens=900] [rate=100]", stream=True) as answer:
            for _ in range(events):
                await answer.content.readuntil(b"\n\n")

    await asyncio.gather(*map(disconnect_after, range(25)))

    rows = await ledger.rows(caller.account_id, 25)
    assert {row["ending"] for row in rows} == {"client_disconnected"}
    await redis_state.wait_until_settled(caller.account_id)


# --- The upstream refuses ---


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("fault", "status", "code", "kind", "headers"), [
    ("429", 429, "rate_limit_exceeded", "requests", {"retry-after": "7"}),
    ("500", 500, "upstream_error", "server_error", {}),
    ("503", 503, "upstream_error", "upstream_error", {}),
    ("400", 400, "context_length_exceeded", "invalid_request_error", {}),
    ("401", 502, "upstream_error", "upstream_error", {}),
])  # fmt: skip
async def test_an_upstream_refusal_has_the_gateway_error_shape_and_is_charged_one_request_per_minute(
    stream: bool, fault: str, status: int, code: str, kind: str, headers: dict[str, str], limited: Caller,
    ledger: Ledger, redis_state: RedisState,
) -> None:  # fmt: skip
    response = await limited.chat(model=f"fault-{fault}", stream=stream)

    assert (response.status, response.code, response.error["type"]) == (status, code, kind)
    assert response.headers["content-type"] == "application/json"
    assert {name: response.headers.get(name) for name in headers} == headers
    assert response.error["request_id"] == response.request_id
    assert "<html" not in response.error["message"]
    assert "API key" not in response.error["message"]
    assert response.headers["x-ratelimit-limit-requests"] == "6"
    row = await ledger.row(limited.account_id)
    assert str(row["request_id"]) == response.request_id
    assert (row["ending"], row["status"], row["error_code"]) == ("refused_upstream", status, code)
    assert (row["counted_requests"], row["counted_tokens"], row["cost_nano_usd"]) == (0, 0, 0)
    assert (row["estimated"], row["prompt_tokens"], row["completion_tokens"]) == (False, 0, 0)
    await assert_charged(limited, row, redis_state)


async def test_an_encoded_or_endless_upstream_refusal_is_reported(
    limited: Caller, upstream: RecordingUpstream, start_gateway: StartGateway
) -> None:
    there = limited.at(start_gateway(litellm_urls=upstream.url, idle_timeout_s=0.3).url)

    upstream.answer(b"\xff\xfe\x00", status="418 I'm a teapot", kind="text/plain; charset=utf-16")
    odd = await there.chat()
    upstream.answer_verbatim(
        [b'HTTP/1.1 400 Bad Request\r\ncontent-length: 100000\r\n\r\n{"error":', b"", b""], pause_s=1
    )
    endless = await there.chat()

    assert (odd.status, odd.code) == (418, "upstream_error")
    assert (endless.status, endless.code) == (400, "upstream_error")


# --- The upstream fails ---


@pytest.mark.parametrize("stream", [False, True])
async def test_a_silent_upstream_is_a_timeout_and_is_cancelled(
    stream: bool,
    limited: Caller,
    upstream_log: UpstreamLog,
    ledger: Ledger,
    redis_state: RedisState,
    start_gateway: StartGateway,
) -> None:
    there = limited.at(start_gateway(first_byte_timeout_s=0.3).url)
    mark = new_mark()

    response = await there.chat(f"Hello? [mark={mark}]", model="fault-hang", stream=stream)

    assert (response.status, response.code) == (504, "upstream_timeout")
    row = await ledger.row(limited.account_id)
    assert (row["ending"], row["status"], row["error_code"]) == ("timeout", 504, "upstream_timeout")
    assert (row["counted_tokens"], row["estimated_why"]) == (0, "cut_off")
    await assert_charged(limited, row, redis_state)

    async def is_cancelled() -> bool:
        return not await upstream_log.calls(mark=mark, ending="running")

    await wait_until(is_cancelled, "the model server to stop", timeout_s=CANCELLED_WITHIN_S)


async def test_an_upstream_that_stalls_during_a_stream_ends_it_with_an_error_event(
    limited: Caller, upstream_log: UpstreamLog, ledger: Ledger, redis_state: RedisState, start_gateway: StartGateway
) -> None:
    there = limited.at(start_gateway(idle_timeout_s=0.4).url)

    response = await there.chat("Once [tokens=3] [rate=0.2]", stream=True)

    error = assert_broken_stream(response)
    assert (error["code"], error["request_id"]) == ("upstream_timeout", response.request_id)
    row = await ledger.row(limited.account_id)
    assert (row["ending"], row["status"], row["error_code"]) == ("timeout", 200, "upstream_timeout")
    assert (row["estimated_why"], row["completion_tokens"] > 0) == ("cut_off", True)
    await assert_charged(limited, row, redis_state)
    assert (await upstream_log.call(call_id=response.request_id))["ending"] == "hung_up"


async def test_a_stream_that_stalls_for_less_than_the_timeout_continues(
    limited: Caller, ledger: Ledger, start_gateway: StartGateway
) -> None:
    there = limited.at(start_gateway(idle_timeout_s=0.5).url)

    response = await there.chat("Slowly [tokens=5] [rate=4]", stream=True)

    assert response.events[-1] == "[DONE]"
    assert (await ledger.row(limited.account_id))["completion_tokens"] == 5


async def test_a_truncated_stream_ends_with_an_error_event_and_is_charged_what_passed(
    limited: Caller, upstream_log: UpstreamLog, ledger: Ledger, redis_state: RedisState
) -> None:
    response = await limited.chat("Cut me [tokens=40] [rate=400]", model="fault-cut", stream=True)

    assert assert_broken_stream(response)["code"] == "upstream_error"
    row = await ledger.row(limited.account_id)
    billed = await upstream_log.call(call_id=response.request_id)
    assert (row["ending"], row["status"], row["error_code"]) == ("upstream_error", 200, "upstream_error")
    assert (row["estimated"], row["estimated_why"]) == (True, "cut_off")
    assert billed["completion_tokens"] <= row["completion_tokens"] < 3 * billed["completion_tokens"]
    await assert_charged(limited, row, redis_state)


async def test_a_truncated_whole_response_is_truncated_for_the_caller(
    limited: Caller, ledger: Ledger, redis_state: RedisState, unhandled_errors: UnhandledErrors
) -> None:
    with pytest.raises(aiohttp.ClientPayloadError):
        await limited.chat("Cut me [tokens=40]", model="fault-cut")

    row = await ledger.row(limited.account_id)
    assert (row["ending"], row["estimated_why"]) == ("upstream_error", "cut_off")
    await assert_charged(limited, row, redis_state)
    # An exception is the only way to make uvicorn close the connection.
    assert len(unhandled_errors.seen) == 1
    unhandled_errors.seen.clear()


async def test_an_upstream_error_event_passes_unchanged_and_is_no_success(
    limited: Caller, upstream_log: UpstreamLog, ledger: Ledger, redis_state: RedisState
) -> None:
    response = await limited.chat("Break [tokens=40] [rate=400]", model="fault-error-event", stream=True)

    assert assert_broken_stream(response)["message"] == "The model broke."
    row = await ledger.row(limited.account_id)
    assert (row["ending"], row["error_code"], row["estimated_why"]) == ("upstream_error", "upstream_error", "cut_off")
    assert row["completion_tokens"] >= (await upstream_log.call(call_id=response.request_id))["completion_tokens"]
    await assert_charged(limited, row, redis_state)


async def test_done_after_an_error_event_is_no_success(
    limited: Caller, upstream: RecordingUpstream, ledger: Ledger, start_gateway: StartGateway
) -> None:
    there = limited.at(start_gateway(litellm_urls=upstream.url).url)
    upstream.stream([event(choices=[{"delta": {"content": "a"}}]), event(error={"message": "no", "code": "500"}), DONE])

    await there.chat(stream=True)

    assert (await ledger.row(limited.account_id))["ending"] == "upstream_error"


async def test_a_stream_without_done_is_a_success_if_it_reported_usage(
    limited: Caller, upstream: RecordingUpstream, ledger: Ledger, start_gateway: StartGateway
) -> None:
    there = limited.at(start_gateway(litellm_urls=upstream.url).url)
    usage = {"prompt_tokens": 3, "completion_tokens": 4}
    upstream.stream([event(choices=[{"delta": {"content": "a"}}]), event(choices=[], usage=usage)])

    await there.chat(stream=True)

    row = await ledger.row(limited.account_id)
    assert (row["ending"], row["counted_tokens"]) == ("completed", 7)


@pytest.mark.parametrize("stream", [False, True])
async def test_an_unreachable_upstream_costs_nothing(
    stream: bool, limited: Caller, ledger: Ledger, redis_state: RedisState, start_gateway: StartGateway
) -> None:
    response = await limited.at(start_gateway(litellm_urls=DEAD).url).chat(stream=stream)

    assert (response.status, response.code) == (503, "upstream_unavailable")
    assert int(response.headers["retry-after"]) > 0
    row = await ledger.row(limited.account_id)
    assert (row["ending"], row["status"], row["estimated"]) == ("unreachable", 503, False)
    assert (row["counted_requests"], row["counted_tokens"], row["counted_nano_usd"]) == (0, 0, 0)
    await assert_charged(limited, row, redis_state, is_request=False)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\n", b"SSH-2.0-OpenSSH\r\n\r\n"], ids=repr)
async def test_an_upstream_that_closes_or_sends_invalid_http_is_an_upstream_error(
    answer: bytes, limited: Caller, upstream: RecordingUpstream, ledger: Ledger, redis_state: RedisState,
    start_gateway: StartGateway,
) -> None:  # fmt: skip
    there = limited.at(start_gateway(litellm_urls=upstream.url).url)
    upstream.answer_verbatim([answer])

    response = await there.chat()

    assert (response.status, response.code) == (502, "upstream_error")
    # The upstream may have received the call, so it is never retried.
    assert len(upstream.requests) == 1
    row = await ledger.row(limited.account_id)
    assert (row["ending"], row["counted_requests"], row["counted_tokens"]) == ("upstream_error", 1, 0)
    await assert_charged(limited, row, redis_state)


async def test_a_response_that_fails_before_its_first_byte_is_an_error_with_a_status(
    limited: Caller, upstream: RecordingUpstream, ledger: Ledger, start_gateway: StartGateway
) -> None:
    there = limited.at(start_gateway(litellm_urls=upstream.url).url)
    upstream.stream([], is_whole=False)

    response = await there.chat(stream=True)

    assert (response.status, response.code) == (502, "upstream_error")
    assert (await ledger.row(limited.account_id))["ending"] == "upstream_error"


@pytest.mark.parametrize("usage", [
    {"prompt_tokens": -5, "completion_tokens": 10},
    {"prompt_tokens": 10**30, "completion_tokens": 1},
    {"prompt_tokens": 2**62, "completion_tokens": 2**62},
    {"prompt_tokens": "3", "completion_tokens": 4},
    {"prompt_tokens": 3, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 10**20}},
    {"prompt_tokens": 3, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": -1}},
    {"prompt_tokens": 3, "completion_tokens": 4, "cost": 1e308},
    {"prompt_tokens": 3, "completion_tokens": 4, "cost": {"total_cost": 0.1}},
    {"prompt_tokens": 3, "completion_tokens": 4, "cost": "0.1"},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
async def test_any_reported_usage_leaves_a_row_and_nothing_reserved(
    stream: bool, usage: dict[str, Any], limited: Caller, upstream: RecordingUpstream, ledger: Ledger,
    redis_state: RedisState, start_gateway: StartGateway,
) -> None:  # fmt: skip
    there = limited.at(start_gateway(litellm_urls=upstream.url).url)
    chunk = {"choices": [{"delta": {"content": "a"}, "message": {"content": "a"}}], "model": "zero \0 byte"}
    if stream:
        upstream.stream([event(**chunk), event(choices=[], usage=usage), DONE])
    else:
        upstream.answer(event(**chunk, usage=usage).removeprefix(b"data: "))

    response = await there.chat(stream=stream)

    assert response.status == 200
    row = await ledger.row(limited.account_id)
    assert row["ending"] == "completed"
    assert 0 < row["counted_tokens"] < 10_000
    assert (row["litellm_cost_nano_usd"] or 0) >= 0
    await assert_charged(limited, row, redis_state)


async def test_a_slow_reader_slows_the_upstream_down(
    limited: Caller, upstream: RecordingUpstream, ledger: Ledger, start_gateway: StartGateway
) -> None:
    there = limited.at(start_gateway(litellm_urls=upstream.url).url)
    piece = event(choices=[{"delta": {"content": "x" * 500_000}}])
    sent = 0

    class Counted(list[bytes]):
        def __iter__(self) -> Any:
            nonlocal sent
            for one in super().__iter__():
                sent += len(one)
                yield one

    upstream.stream([piece] * 200)
    upstream.answer_verbatim(Counted(upstream._pieces))

    async with there.open_chat(stream=True) as answer:
        await answer.content.readuntil(b"data: ")
        await asyncio.sleep(1)
        # The buffers of the system are filled.
        assert sent < 60_000_000

    assert (await ledger.row(limited.account_id))["ending"] == "client_disconnected"
