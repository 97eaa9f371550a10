"""Calls that outlast the grace of a shutdown (S9): each caller is given the reason in the form of its route, and each
call has its row."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from callers import CHAT, Caller, MakeCaller, Response, chat_body
from gateways import GatewayThread, Ledger, RedisState, StartGateway, UnhandledErrors
from realtime_sessions import MODEL as REALTIME
from realtime_sessions import open_realtime
from recording_upstream import DONE, RecordingUpstream, event

MESSAGE = [{"role": "user", "content": "Hello"}]
BODIES: dict[str, dict[str, Any]] = {
    CHAT: {"model": "demo-chat", "messages": MESSAGE},
    "/v1/completions": {"model": "demo-chat", "prompt": "Hello"},
    "/v1/responses": {"model": "demo-chat", "input": "Hello"},
    "/v1/messages": {"model": "demo-chat", "messages": MESSAGE, "max_tokens": 100},
}
TEXT = event(choices=[{"index": 0, "delta": {"content": "word "}}])
# The process ends while its caller goes on sending, or does not read.
ends_first = pytest.mark.filterwarnings("default:unclosed resource:ResourceWarning")
LINE_OF_TYPE = {"/v1/responses": b"event: error\n", "/v1/messages": b"event: error\n"}


@pytest.fixture
async def upstream() -> AsyncIterator[RecordingUpstream]:
    async with RecordingUpstream() as server:
        yield server


@pytest.fixture
async def stopping(
    start_gateway: StartGateway, upstream: RecordingUpstream, unhandled_errors: UnhandledErrors
) -> AsyncIterator[GatewayThread]:
    """A gateway whose grace is short, on the recording upstream."""
    yield start_gateway(litellm_urls=upstream.url, grace_s=1)
    forgive_cancelling(unhandled_errors)


def forgive_cancelling(unhandled_errors: UnhandledErrors) -> None:
    """uvicorn reports that it cancels; whatever else it reports is an error nobody handled."""
    unhandled_errors.seen = [seen for seen in unhandled_errors.seen if not seen.startswith("Cancel ")]


async def post(caller: Caller, path: str, **fields: Any) -> Response:
    async with caller.http.post(caller.url + path, json=BODIES[path] | fields, headers=caller.authorization) as answer:
        return Response(answer.status, answer.headers.copy(), await answer.read())


async def stop_when_under_way(gateway: GatewayThread, upstream: RecordingUpstream, calls: int) -> None:
    while len(upstream.requests) < calls:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    await gateway.stop_async()


async def test_s9_each_stream_ends_with_an_error_event_of_its_route(
    make: MakeCaller, stopping: GatewayThread, upstream: RecordingUpstream, ledger: Ledger, redis_state: RedisState
) -> None:
    caller = (await make()).at(stopping.url)
    upstream.stream([TEXT] * 1000, pause_s=0.05)
    calls = [asyncio.ensure_future(post(caller, path, stream=True)) for path in BODIES]

    await stop_when_under_way(stopping, upstream, len(calls))

    for path, answer in zip(BODIES, await asyncio.gather(*calls), strict=True):
        assert answer.status == 200
        passed, _, last = answer.body.removesuffix(b"\n\n").rpartition(b"\n\n")
        assert last.startswith(LINE_OF_TYPE.get(path, b"") + b"data: {")
        said = json.loads(last.partition(b"data: ")[2])
        assert (said["error"]["code"], passed.count(TEXT.strip()) > 1, DONE in answer.body) == (
            "shutting_down", True, False,
        )  # fmt: skip
        # Anthropic's is `overloaded_error` for 503, and OpenAI's Responses API has the same beside its type.
        if path == "/v1/messages":
            assert (said["type"], said["error"]["type"]) == ("error", "overloaded_error")
        if path == "/v1/responses":
            assert (said["type"], said["code"], said["message"]) == ("error", "shutting_down", said["error"]["message"])
    rows = await ledger.rows(caller.account_id, 4)
    assert {(row["ending"], row["error_code"], row["status"]) for row in rows} == {
        ("upstream_error", "shutting_down", 200)
    }
    assert {row["estimated_why"] for row in rows} == {"cut_off"}
    await redis_state.wait_until_settled(caller.account_id)


@pytest.mark.parametrize("stream", [False, True])
async def test_s9_calls_without_an_answer_are_refused(
    stream: bool, make: MakeCaller, stopping: GatewayThread, upstream: RecordingUpstream, ledger: Ledger,
    redis_state: RedisState,
) -> None:  # fmt: skip
    caller = (await make()).at(stopping.url)
    upstream.answer_verbatim([b""] * 1000, pause_s=0.05)
    calls = [asyncio.ensure_future(post(caller, path, stream=stream)) for path in BODIES]

    await stop_when_under_way(stopping, upstream, len(calls))

    answers = dict(zip(BODIES, await asyncio.gather(*calls), strict=True))
    assert {(answer.status, answer.code, answer.headers["retry-after"]) for answer in answers.values()} == {
        (503, "shutting_down", "1")
    }
    assert answers["/v1/messages"].json["type"] == "error"
    rows = await ledger.rows(caller.account_id, 4)
    assert {(row["ending"], row["error_code"], row["status"], row["counted_tokens"]) for row in rows} == {
        ("upstream_error", "shutting_down", 503, 0)
    }
    await redis_state.wait_until_settled(caller.account_id)


@ends_first
async def test_s9_a_call_that_is_still_being_sent_is_refused_and_is_no_call(
    make: MakeCaller, stopping: GatewayThread, upstream: RecordingUpstream, redis_state: RedisState
) -> None:
    caller = (await make()).at(stopping.url)
    reader, writer = await asyncio.open_connection("127.0.0.1", stopping.port)
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {caller.key}\r\ncontent-length: 1000\r\n\r\n{{"
    writer.write(head.encode())
    await writer.drain()
    await asyncio.sleep(0.2)

    await stopping.stop_async()

    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "shutting_down"
    assert upstream.requests == []
    assert await redis_state.everything(caller.account_id) == {}


async def test_s9_an_upgrade_that_is_not_answered_yet_is_refused(
    make: MakeCaller, start_gateway: StartGateway, ledger: Ledger, unhandled_errors: UnhandledErrors
) -> None:
    asked = asyncio.Event()

    async def keep_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(keep_silent, "127.0.0.1", 0) as silent:
        port = silent.sockets[0].getsockname()[1]
        gateway = start_gateway(litellm_urls=f"http://127.0.0.1:{port}", grace_s=1)
        caller = (await make(REALTIME)).at(gateway.url)

        async def upgrade() -> int:
            try:
                async with open_realtime(caller):
                    return 101
            except aiohttp.WSServerHandshakeError as refused:
                return refused.status

        upgrading = asyncio.ensure_future(upgrade())
        await asked.wait()
        await gateway.stop_async()
        assert await upgrading == 503

    row = await ledger.row(caller.account_id)
    assert (row["ending"], row["error_code"], row["counted_tokens"]) == ("upstream_error", "shutting_down", 0)
    forgive_cancelling(unhandled_errors)


async def test_s9_a_stream_of_which_the_caller_has_everything_just_ends(
    make: MakeCaller, stopping: GatewayThread, upstream: RecordingUpstream, ledger: Ledger
) -> None:
    caller = (await make()).at(stopping.url)
    upstream.stream([TEXT, DONE, *[b": waits\n\n"] * 1000], pause_s=0.05)
    call = asyncio.ensure_future(post(caller, CHAT, stream=True))

    await stop_when_under_way(stopping, upstream, 1)

    answer = await call
    assert b"shutting_down" not in answer.body
    row = await ledger.row(caller.account_id)
    assert (row["ending"], row["error_code"]) == ("completed", None)


async def test_s9_an_event_that_passes_in_pieces_does_not_swallow_the_error(
    make: MakeCaller, stopping: GatewayThread, upstream: RecordingUpstream
) -> None:
    caller = (await make()).at(stopping.url)
    upstream.stream([TEXT, b'data: {"x":"', *[b"x" * 2**19] * 4, *[b"x"] * 1000], pause_s=0.05)
    call = asyncio.ensure_future(post(caller, CHAT, stream=True))

    await stop_when_under_way(stopping, upstream, 1)

    *_, broken, last, rest = (await call).body.split(b"\n\n")
    assert (broken[:10], broken[-10:], rest) == (b'data: {"x"', b"x" * 10, b"")
    assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "shutting_down"


@ends_first
async def test_s9_a_caller_who_does_not_read_holds_up_neither_its_row_nor_the_stop(
    make: MakeCaller, stopping: GatewayThread, upstream: RecordingUpstream, ledger: Ledger,
    unhandled_errors: UnhandledErrors,
) -> None:  # fmt: skip
    caller = (await make()).at(stopping.url)
    upstream.stream([event(choices=[{"delta": {"content": "word " * 2000}}])] * 4000, pause_s=0)
    body = json.dumps(chat_body(stream=True)).encode()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", stopping.port))
        head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {caller.key}\r\n"
        connection.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)

        await stop_when_under_way(stopping, upstream, 1)

        row = await ledger.row(caller.account_id)
    assert (row["ending"], row["error_code"], row["estimated_why"]) == ("upstream_error", "shutting_down", "cut_off")
    # The goodbye took too long: uvicorn cuts the connection and says so.
    assert sum("TimeoutError" in seen for seen in unhandled_errors.seen) <= 1
    unhandled_errors.seen.clear()
