"""The client of the bench: connections that stamp what they read, and do as little as possible beside it.

`Caller` makes one call after another on a connection, `read_streams` opens many streams and keeps each read with its
time; what the reads mean is worked out afterwards.
"""

import asyncio
import gc
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic_ns
from typing import Final, cast

import httptools

from loadtests.bench.answers import STAMP
from loadtests.bench.targets import Target

CALL_TIMEOUT_S: Final = 60.0
OPENED_A_SECOND: Final = 200


class WrongAnswer(RuntimeError):
    """An answer that makes a figure meaningless: not a 200, or none at all."""


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds from the request until the first byte of the body, and until its end."""

    first_s: float
    whole_s: float


class _Exchange(asyncio.Protocol):
    """One connection; the parser calls `on_body` and `on_message_complete`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._ended: asyncio.Future[Took] | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def send(self, request: bytes) -> asyncio.Future[Took]:
        if self.transport is None:
            raise RuntimeError("connected")
        self._parser = httptools.HttpResponseParser(self)
        self._body = b""
        self._first = 0
        self._ended = asyncio.get_running_loop().create_future()
        self._sent = monotonic_ns()
        self.transport.write(request)
        return self._ended

    def data_received(self, data: bytes) -> None:
        self._now = monotonic_ns()
        self._parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        self._first = self._first or self._now
        if self._parser.get_status_code() != 200:
            self._body += data

    def on_message_complete(self) -> None:
        if self._ended is None or self._ended.done():
            return
        status = self._parser.get_status_code()
        if status != 200:
            self._ended.set_exception(WrongAnswer(f"{self._name} answered {status}: {self._body[:300]!r}"))
            return
        self._ended.set_result(Took((self._first - self._sent) / 1e9, (self._now - self._sent) / 1e9))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_exception(ConnectionResetError(f"{self._name} closed the connection: {exc}"))


class Caller:
    """Sequential calls of one target on one connection, which is opened again if the server closed it."""

    def __init__(self, target: Target, body: bytes) -> None:
        self._target = target
        self._request = target.request(body)
        self._exchange: _Exchange | None = None

    async def call(self) -> Took:
        """Raises WrongAnswer. A connection that was closed between two calls is no fault, and tried once again."""
        try:
            return await self._call()
        except ConnectionError:
            self.close()
        try:
            return await self._call()
        except ConnectionError as error:
            raise WrongAnswer(str(error)) from None

    async def _call(self) -> Took:
        exchange = self._exchange
        if exchange is None or exchange.transport is None or exchange.transport.is_closing():
            _, exchange = await asyncio.get_running_loop().create_connection(
                lambda: _Exchange(self._target.name), *self._target.address
            )
            self._exchange = exchange
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                return await exchange.send(self._request)
        except TimeoutError:
            raise WrongAnswer(f"{self._target.name} did not answer within {CALL_TIMEOUT_S:.0f} s") from None

    def close(self) -> None:
        if self._exchange is not None and self._exchange.transport is not None:
            self._exchange.transport.abort()
        self._exchange = None


class StreamReads(asyncio.Protocol):
    """One stream: what was read, and when."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self.reads: list[tuple[int, bytes]] = []
        self.sent = 0
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.sent = monotonic_ns()
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self.reads.append((monotonic_ns(), data))


class _Body:
    """The body of an answer, with the time each part of it was read."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.ends: list[tuple[int, int]] = []
        self.now = 0

    def on_body(self, data: bytes) -> None:
        self.data += data
        self.ends.append((len(self.data), self.now))


@dataclass(frozen=True, slots=True)
class Event:
    """When the model server wrote an event, and when it was read; nanoseconds."""

    written: int
    read: int


def events_of(name: str, reads: Sequence[tuple[int, bytes]]) -> list[Event]:
    """The events of a stream. Raises WrongAnswer if it is no 200."""
    body = _Body()
    parser = httptools.HttpResponseParser(body)
    for now, data in reads:
        body.now = now
        parser.feed_data(data)
    if reads and parser.get_status_code() != 200:
        raise WrongAnswer(f"{name} answered {parser.get_status_code()}: {bytes(body.data[:300])!r}")
    found, part = [], 0
    for match in STAMP.finditer(body.data):
        while body.ends[part][0] < match.end():
            part += 1
        found.append(Event(int(match[1]), body.ends[part][1]))
    return found


@dataclass(frozen=True, slots=True)
class Streams:
    """What was read of all streams, and the marks that `during` returned at the begin and the end of the window."""

    name: str
    streams: Sequence[StreamReads]
    begin: int
    end: int

    def events(self) -> list[Event]:
        """Those that were read within the window."""
        every = (event for stream in self.streams for event in events_of(self.name, stream.reads))
        return [event for event in every if self.begin <= event.read < self.end]


async def open_streams(target: Target, body: bytes, count: int) -> list[StreamReads]:
    """Opens streams one after the other, at an even pace."""
    loop, request = asyncio.get_running_loop(), target.request(body)
    opened, began = list[StreamReads](), loop.time()
    for number in range(count):
        _, stream = await loop.create_connection(lambda: StreamReads(request), *target.address)
        opened.append(stream)
        await asyncio.sleep(began + number / OPENED_A_SECOND - loop.time())
    return opened


def close_streams(streams: Sequence[StreamReads]) -> None:
    """Disconnects."""
    for stream in streams:
        if stream.transport is not None:
            stream.transport.abort()


class WithoutCollection:
    """No garbage collection within the block: it would look like a stall."""

    def __enter__(self) -> None:
        gc.collect()
        gc.disable()

    def __exit__(self, *_: object) -> None:
        gc.enable()
