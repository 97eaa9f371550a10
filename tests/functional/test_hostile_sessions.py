"""Malicious upgrades and frames: none causes a 5xx or a traceback, none leaves a lease open."""

import asyncio
import json
import os
import resource
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

import aiohttp
import pytest
from callers import Caller, MakeCaller
from gateways import Backends, GatewayThread, Ledger, RedisState, StartGateway, wait_until
from realtime_sessions import MODEL, open_realtime

from gateway.realtime import session

KEY = b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE = (b"connection: Upgrade", b"upgrade: websocket", b"sec-websocket-version: 13", KEY)


@pytest.fixture
async def caller(make: MakeCaller) -> Caller:
    return await make(MODEL, "demo-chat")


@asynccontextmanager
async def connected(gateway: GatewayThread) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


def head(caller: Caller, *fields: bytes, line: bytes = b"GET /v1/realtime?model=demo-realtime HTTP/1.1") -> bytes:
    """Headers of an upgrade; a field given here replaces the default one."""
    given = {field.partition(b":")[0].lower() for field in fields}
    usual = [b"host: x", f"authorization: Bearer {caller.key}".encode(), *UPGRADE]
    kept = [field for field in usual if field.partition(b":")[0].lower() not in given]
    return b"\r\n".join([line, *kept, *(field for field in fields if not field.endswith(b":")), b"", b""])


@pytest.mark.parametrize(
    ("fields", "line", "status"),
    [
        ((b"x: " + b"y" * 9000,), b"", 431),
        (tuple(b"x-%d: y" % n for n in range(120)), b"", 431),
        ((b"x: " + b"y" * 70_000,), b"", 431),
        ((), b"GET /v1/realtime?model=" + b"x" * 9000 + b" HTTP/1.1", 431),
        ((), b"GET /v1/r\xc3\xa9altime HTTP/1.1", 400),
        ((), b"GET http://other/v1/realtime?model=demo-realtime HTTP/1.1", 404),
        ((), b"GET //v1/realtime?model=demo-realtime HTTP/1.1", 404),
        ((), b"GET /v1/../v1/realtime?model=demo-realtime HTTP/1.1", 404),
        ((b"connection: Upgrade, close",), b"POST /v1/realtime?model=demo-realtime HTTP/1.1", 426),
        ((b"sec-websocket-version: 8",), b"", 400),
        ((b"sec-websocket-key:",), b"", 400),
        ((b"sec-websocket-key: short",), b"", 400),
        ((b"sec-websocket-protocol: a b, \x7f",), b"", 400),
        ((b"content-length: 5",), b"", 400),
        ((b"transfer-encoding: chunked",), b"", 400),
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_an_invalid_upgrade_is_refused(
    fields: tuple[bytes, ...], line: bytes, status: int, caller: Caller, gateway: GatewayThread, redis_state: RedisState
) -> None:
    async with connected(gateway) as (reader, writer):
        writer.write(head(caller, *fields, line=line) if line else head(caller, *fields))
        answer = await asyncio.wait_for(reader.read(), 10)

    assert int(answer.split(b" ", 2)[1]) == status
    assert b"101 Switching" not in answer
    assert await redis_state.open_leases(caller.account_id) == []


def frame(opcode: int, payload: bytes, *, masked: bool = True, first: int | None = None) -> bytes:
    start = 0x80 | opcode if first is None else first
    size = len(payload)
    length = bytes([size]) if size < 126 else b"\x7e" + struct.pack("!H", size)
    if not masked:
        return bytes([start]) + length + payload
    mask = os.urandom(4)
    hidden = bytes(byte ^ mask[n % 4] for n, byte in enumerate(payload))
    return bytes([start, length[0] | 0x80]) + length[1:] + mask + hidden


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(1, b"{}", masked=False), 1002),
        (frame(1, b"\xff\xfe"), 1007),
        (frame(3, b"x"), 1002),
        (frame(1, b"x", first=0xF1), 1002),
        (frame(0, b"x"), 1002),
        (frame(9, b"x" * 126), 1002),
        (frame(8, b"x"), 1002),
        (frame(8, b"\x03\xedx"), 1002),
        (frame(1, b"a", first=0x01) + frame(1, b"b"), 1002),
        (b"\x81\xff" + struct.pack("!Q", 2**40) + b"abcd", 1009),
        (frame(2, b"\x00\x01"), 1003),
    ],
    ids=["unmasked", "no UTF-8", "reserved opcode", "reserved bits", "continues nothing", "long ping", "short close",
         "reserved close", "within a message", "a terabyte", "binary"],
)  # fmt: skip
async def test_an_invalid_frame_ends_the_session(
    sent: bytes, code: int, caller: Caller, gateway: GatewayThread, ledger: Ledger, redis_state: RedisState
) -> None:
    async with connected(gateway) as (reader, writer):
        writer.write(head(caller))
        await reader.readuntil(b"\r\n\r\n")
        await reader.readuntil(b"session.created")
        writer.write(sent)
        rest = await asyncio.wait_for(reader.read(), 10)

    closed = rest.rfind(b"\x88")
    assert struct.unpack("!H", rest[closed + 2 : closed + 4])[0] == code
    row = await ledger.row(caller.account_id)
    assert (row["ending"], row["counted_tokens"]) == ("completed", 0)
    await redis_state.wait_until_settled(caller.account_id)


async def test_the_largest_permitted_message_passes_and_a_larger_one_does_not(
    make: MakeCaller, start_gateway: StartGateway, ledger: Ledger
) -> None:
    caller = (await make(MODEL)).at(start_gateway(max_message_bytes=100_000).url)

    async with open_realtime(caller) as realtime:
        await realtime.send("input_audio_buffer.append", audio="A" * 96_000)
        await realtime.ask("Hello [tokens=2]")
        await realtime.send("input_audio_buffer.append", audio="A" * 100_000)
        await realtime.receive_all()
        assert realtime.close_code == 1009

    assert (await ledger.row(caller.account_id))["ending"] == "completed"


async def test_the_size_of_a_fragmented_message_is_bounded(
    make: MakeCaller, start_gateway: StartGateway, ledger: Ledger
) -> None:
    gateway = start_gateway(max_message_bytes=100_000)
    caller = (await make(MODEL)).at(gateway.url)

    async with connected(gateway) as (reader, writer):
        writer.write(head(caller))
        await reader.readuntil(b"session.created")
        writer.write(frame(1, b"{", first=0x01))
        for _ in range(20):
            writer.write(frame(0, b" " * 10_000, first=0x00))
        # The connection may be reset, because more was sent than is read.
        with suppress(ConnectionError):
            assert struct.pack("!H", 1009) in await asyncio.wait_for(reader.read(), 10)

    assert (await ledger.row(caller.account_id))["ending"] == "completed"


@pytest.fixture
def short_timeout(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(session, "SLOW_CALLER_S", 0.5)
    return


@pytest.mark.usefixtures("short_timeout")
async def test_a_caller_who_does_not_read_slows_the_model_down_and_is_disconnected(
    backends: Backends, caller: Caller, gateway: GatewayThread, ledger: Ledger, redis_state: RedisState
) -> None:
    content = [{"type": "input_text", "text": "Go on [tokens=200000]"}]
    item = {"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": content}}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    async with connected(gateway) as (reader, writer):
        writer.write(head(caller))
        await reader.readuntil(b"\r\n\r\n")
        writer.write(frame(1, json.dumps(item).encode()) + frame(1, b'{"type":"response.create"}'))
        row = await ledger.row(caller.account_id)

    # A few megabytes of system buffers are filled, and not the 30 MB of the response.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000
    assert row["ending"] == "client_disconnected"
    assert row["completion_tokens"] < 200_000
    await redis_state.wait_until_settled(caller.account_id)


async def test_fifty_callers_who_vanish_leave_nothing_reserved(
    caller: Caller, gateway: GatewayThread, ledger: Ledger, redis_state: RedisState
) -> None:
    async def vanish(number: int) -> None:
        async with connected(gateway) as (reader, writer):
            writer.write(head(caller))
            await reader.readuntil(b"\r\n\r\n")
            if number % 2:
                await reader.readuntil(b"session.created")
                writer.write(frame(1, b'{"type":"response.create"}'))

    await asyncio.gather(*map(vanish, range(50)))

    assert {row["status"] for row in await ledger.rows(caller.account_id, 50)} == {101}
    await redis_state.wait_until_settled(caller.account_id)


async def test_a_chat_request_with_an_upgrade_header_gets_a_plain_response(
    caller: Caller, gateway: GatewayThread, redis_state: RedisState
) -> None:
    inside = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n\r\n"
    line = b"POST /v1/chat/completions HTTP/1.1"
    async with connected(gateway) as (reader, writer):
        writer.write(
            head(caller, b"connection: Upgrade, close", b"content-length: %d" % len(inside), line=line) + inside
        )
        answer = await asyncio.wait_for(reader.read(), 10)

    # Its body is read as one, and nothing in it is taken for a request.
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"invalid_json" in answer
    assert answer.count(b"HTTP/1.1 ") == 1
    assert await redis_state.open_leases(caller.account_id) == []


async def test_an_upgrade_for_an_unknown_model_leaves_the_connection_usable(caller: Caller) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError):
        async with open_realtime(caller, "model=nothing"):
            pass

    async def is_free() -> bool:
        return (await caller.chat("Hello [tokens=1]")).status == 200

    await wait_until(is_free, "an answer")
