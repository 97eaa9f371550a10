"""An answer means the same however the network cuts it; and no bytes at all make a wait without end."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.upstream.connection import Connection
from gateway.upstream.failures import UpstreamBroken


@dataclass
class RecordingTransport:
    """What a connection does to its transport."""

    sent: bytearray = field(default_factory=bytearray)
    is_reading: bool = True
    is_aborted: bool = False

    def write(self, data: bytes) -> None:
        self.sent += data

    def is_closing(self) -> bool:
        return self.is_aborted

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True

    def abort(self) -> None:
        self.is_aborted = True


@dataclass(frozen=True)
class Sent:
    """An answer in bytes, and what it means."""

    data: bytes
    status: int
    body: bytes
    ends_by_closing: bool
    is_kept: bool


@st.composite
def answers(draw: st.DrawFn) -> Sent:
    interim = b"".join(
        b"HTTP/1.1 %d X\r\nx-early: y\r\n\r\n" % status
        for status in draw(st.lists(st.sampled_from([100, 102, 103]), max_size=2))
    )
    status = draw(st.integers(200, 599).filter(lambda status: status not in (204, 304)))
    pieces = draw(st.lists(st.binary(min_size=1, max_size=40), max_size=6))
    framing = draw(st.sampled_from(["length", "chunked", "closing"]))
    closes = draw(st.booleans())
    names = draw(st.lists(st.sampled_from([b"x-a", b"X-B", b"server"]), max_size=3))
    values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=10)
    fields = b"".join(b"%b: %b\r\n" % (name, draw(values).encode()) for name in names)
    fields += b"connection: close\r\n" if closes else b""
    body = b"".join(pieces)
    if framing == "length":
        fields, content = fields + b"content-length: %d\r\n" % len(body), body
    elif framing == "chunked":
        extension = draw(st.sampled_from([b"", b";a=b"]))
        trailer = draw(st.sampled_from([b"", b"x-trailer: 1\r\n"]))
        content = b"".join(b"%x%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces)
        fields, content = fields + b"transfer-encoding: chunked\r\n", content + b"0\r\n" + trailer + b"\r\n"
    else:
        content = body
    data = interim + b"HTTP/1.1 %d Some reason\r\n" % status + fields + b"\r\n" + content
    return Sent(data, status, body, framing == "closing", framing != "closing" and not closes)


def cut(data: bytes, points: list[int]) -> list[bytes]:
    """`data` in the pieces between `points`."""
    places = sorted({point % (len(data) + 1) for point in points} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(places)]


def connected() -> tuple[Connection, RecordingTransport]:
    connection, transport = Connection(lambda _: None), RecordingTransport()
    connection.connection_made(transport)  # type: ignore[arg-type]  # as much of a transport as it uses
    connection.send(b"GET / HTTP/1.1\r\n\r\n", b"", deadline=10.0**9)
    return connection, transport


async def read_all(connection: Connection) -> tuple[int, bytes]:
    await connection.wait_for_head()
    body = b""
    while piece := await connection.read(60.0):
        body += piece
    return connection.status, body


async def feed(
    connection: Connection, transport: RecordingTransport, pieces: list[bytes], *, ends: bool, failure: bool = False
) -> None:
    """The pieces, as a network delivers them: nothing while reading is paused, nothing after an abort."""
    for piece in pieces:
        while not transport.is_reading and not transport.is_aborted:
            await asyncio.sleep(0)
        if transport.is_aborted:
            break
        connection.data_received(piece)
        await asyncio.sleep(0)
    if transport.is_aborted or ends:
        connection.connection_lost(ConnectionResetError() if failure and not transport.is_aborted else None)


@settings(max_examples=400)
@given(answers(), st.lists(st.integers(0, 10_000), max_size=12))
def test_an_answer_means_the_same_however_it_is_cut(sent: Sent, points: list[int]) -> None:
    async def run() -> None:
        connection, transport = connected()
        reading = asyncio.ensure_future(read_all(connection))
        await feed(connection, transport, cut(sent.data, points), ends=sent.ends_by_closing)
        assert await asyncio.wait_for(reading, 5) == (sent.status, sent.body)
        assert connection.is_usable == sent.is_kept

    asyncio.run(run())


@settings(max_examples=300)
@given(answers(), st.integers(0, 10_000), st.lists(st.integers(0, 10_000), max_size=6))
def test_an_answer_that_is_cut_off_is_never_whole(sent: Sent, length: int, points: list[int]) -> None:
    part = sent.data[: length % len(sent.data)]

    async def run() -> bytes:
        connection, transport = connected()
        reading = asyncio.ensure_future(read_all(connection))
        await feed(connection, transport, cut(part, points), ends=True)
        assert not connection.is_usable
        return (await asyncio.wait_for(reading, 5))[1]

    try:
        body = asyncio.run(run())
    except UpstreamBroken:
        return
    # Only where closing ends an answer can nobody know that more was meant.
    assert sent.ends_by_closing
    assert sent.body.startswith(body)


@settings(max_examples=400)
@given(
    answers(),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4),
    st.lists(st.integers(0, 10_000), max_size=6),
)
def test_damaged_bytes_end_in_an_answer_or_a_failure(
    sent: Sent, damage: list[tuple[int, int]], points: list[int]
) -> None:
    data = bytearray(sent.data)
    for place, byte in damage:
        data[place % len(data)] = byte

    async def run() -> None:
        connection, transport = connected()
        reading = asyncio.ensure_future(read_all(connection))
        await feed(connection, transport, cut(bytes(data), points), ends=True, failure=True)
        await asyncio.wait_for(reading, 5)

    with suppress(UpstreamBroken):
        asyncio.run(run())
