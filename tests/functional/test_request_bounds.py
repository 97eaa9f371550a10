"""Bounds of an unauthenticated connection: size and number of headers, size of the body, and time."""

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Iterator

import pytest
from callers import Caller, chat_body
from gateways import Backends, GatewayThread, RedisState

from gateway.web.bounded_http import HEAD_S, MAX_FIELDS, MAX_HEAD, BoundedHttp

LIVE = b"GET /health/live HTTP/1.1\r\nhost: x\r\n"


@pytest.fixture(scope="module")
def short_timeouts(backends: Backends) -> Iterator[GatewayThread]:
    """A worker with a request timeout of half a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BoundedHttp, "head_s", 0.5)
        patch.setattr(BoundedHttp, "body_idle_s", 0.5)
        with GatewayThread(backends.settings(state_dir=backends.folder / "impatient")) as gateway:
            yield gateway


def say(gateway: GatewayThread, *pieces: bytes, pause_s: float = 0.0, timeout_s: float = 10) -> bytes:
    """The bytes the gateway sends until it closes the connection."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=timeout_s) as connection:
        answer = b""
        try:
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(pause_s)
            while data := connection.recv(65536):
                answer += data
        except ConnectionError:
            pass
        return answer


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def closing(*fields: bytes) -> bytes:
    return LIVE + b"connection: close\r\n" + b"".join(field + b"\r\n" for field in fields) + b"\r\n"


def test_the_maximum_number_of_header_fields_passes_and_one_more_is_refused(gateway: GatewayThread) -> None:
    allowed = [b"x-%d: y" % n for n in range(MAX_FIELDS - 2)]

    assert status(say(gateway, closing(*allowed))) == 200
    refused = say(gateway, closing(*allowed, b"one: more"))
    assert status(refused) == 431
    assert b"more than 100 fields" in refused


def test_the_maximum_header_size_passes_and_a_larger_one_is_refused(gateway: GatewayThread) -> None:
    assert status(say(gateway, closing(b"x: " + b"y" * (MAX_HEAD - 200)))) == 200
    assert status(say(gateway, closing(*(b"x-%d: " % n + b"y" * 8000 for n in range(9))))) == 431
    assert status(say(gateway, closing(b"x: " + b"y" * MAX_HEAD))) == 431


@pytest.mark.parametrize("endless", [b"GET /" + b"a" * 1000, LIVE + b"x: " + b"y" * 1000, LIVE + b"x" * 1000])
def test_endless_headers_are_not_buffered(endless: bytes, gateway: GatewayThread) -> None:
    answer = say(gateway, endless, *(b"z" * 60_000 for _ in range(5)))

    # The parser may refuse it before our check.
    assert answer == b"" or status(answer) in (400, 431)


def test_slow_headers_time_out(short_timeouts: GatewayThread) -> None:
    began = time.monotonic()
    answer = say(short_timeouts, *(LIVE[n : n + 1] for n in range(len(LIVE))), pause_s=0.05)

    assert answer == b"" or status(answer) == 408
    assert time.monotonic() - began < HEAD_S / 2


def test_a_silent_connection_is_closed(short_timeouts: GatewayThread) -> None:
    assert say(short_timeouts) == b""


def test_the_second_request_of_a_connection_has_its_own_timeout(short_timeouts: GatewayThread) -> None:
    answer = say(short_timeouts, LIVE + b"\r\n", LIVE + b"\r\n", LIVE + b"\r\n", LIVE[:20], pause_s=0.3)

    assert answer.count(b"HTTP/1.1 200 OK") == 3
    assert answer.count(b"HTTP/1.1 408") <= 1


def chat(caller: Caller) -> tuple[bytes, bytes]:
    body = json.dumps(chat_body("Hello [tokens=1]")).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: %d\r\n" % len(body)
    return head + b"authorization: Bearer " + caller.key.encode() + b"\r\n\r\n", body


async def test_a_stalled_body_times_out(short_timeouts: GatewayThread, caller: Caller, redis_state: RedisState) -> None:
    head, body = chat(caller)

    assert await asyncio.to_thread(say, short_timeouts, head, body[:20]) == b""
    assert await redis_state.open_leases(caller.account_id) == []
    await short_timeouts.holds_no_body()


async def test_a_response_may_take_longer_than_the_request_timeout(
    short_timeouts: GatewayThread, caller: Caller
) -> None:
    response = await caller.at(short_timeouts.url).chat("Hello [tokens=1] [delay=1.5]")

    assert response.status == 200


async def test_a_slow_but_steady_body_is_accepted(short_timeouts: GatewayThread, caller: Caller) -> None:
    head, body = chat(caller)
    pieces = [body[n : n + 10] for n in range(0, len(body), 10)]

    answer = await asyncio.to_thread(say, short_timeouts, head, *pieces, pause_s=0.2)

    assert status(answer) == 200


def refused_early(length: int) -> bytes:
    """A request that gets a 401 as soon as its headers are read."""
    return b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % length


def test_a_caller_who_sends_the_whole_body_first_gets_the_response(gateway: GatewayThread) -> None:
    """More than both socket buffers hold, so the caller is still sending when they are refused."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as connection:
        connection.sendall(refused_early(24 << 20))
        for _ in range(24):
            connection.sendall(b"x" * (1 << 20))
        answer = b""
        while data := connection.recv(65536):
            answer += data

    assert status(answer) == 401


def test_data_after_the_last_request_is_ignored(gateway: GatewayThread) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as connection:
        connection.sendall(refused_early(5))
        begin = connection.recv(65536)
        connection.sendall(b"xxxxx" + LIVE + b"\r\n" + LIVE + b"\r\n")
        answer = begin
        with contextlib.suppress(ConnectionError):  # the extra data may cause a reset
            while data := connection.recv(65536):
                answer += data

    assert status(answer) == 401
    assert answer.count(b"HTTP/1.1 ") == 1


def test_a_caller_who_never_stops_sending_is_disconnected(
    gateway: GatewayThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BoundedHttp, "linger_s", 0.3)
    deadline = time.monotonic() + HEAD_S
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as connection:
        connection.sendall(refused_early(1 << 40))
        was_sent_away = False
        while not was_sent_away and time.monotonic() < deadline:
            try:
                connection.sendall(b"x")
                time.sleep(0.02)
            except ConnectionError:
                was_sent_away = True
    assert was_sent_away


@pytest.mark.parametrize(
    "sent", [b"nonsense\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", LIVE + b"x\r\n\r\n", LIVE + b"content-length: x\r\n\r\n"]
)
def test_d23_what_does_not_parse_is_answered_in_json(sent: bytes, gateway: GatewayThread) -> None:
    head, _, body = say(gateway, sent).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n")
    assert json.loads(body)["error"]["code"] == "invalid_request"
