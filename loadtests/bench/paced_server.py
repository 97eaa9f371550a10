"""A model server that writes streams at an even pace: `python -m loadtests.bench.paced_server PORT`.

Each event says when it was written, so that a late timer here is no latency of the proxy. Streams are spread over the
milliseconds of their period. It answers what is no stream at once.
"""

import asyncio
import sys
from time import monotonic_ns
from typing import Final, cast

import httptools
import uvloop

from loadtests.bench import answers

TICK_S: Final = 0.001
WHOLE: Final = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
STREAM: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
END: Final = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """A chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Stream:
    """One stream that is being written."""

    def __init__(self, transport: asyncio.Transport, events: int, wants_usage: bool) -> None:
        self.transport = transport
        self._missing = events
        self._wants_usage = wants_usage

    def write_event(self) -> bool:
        """Whether there are more."""
        if self.transport.is_closing():
            return False
        self.transport.write(chunk(answers.stamped_event(monotonic_ns())))
        self._missing -= 1
        if self._missing <= 0:
            usage = answers.USAGE_EVENT if self._wants_usage else b""
            self.transport.write(chunk(answers.LAST + usage + answers.DONE) + END)
        return self._missing > 0


class Wheel:
    """The streams of one pace. Its slots are the milliseconds of the time between two events."""

    def __init__(self, loop: asyncio.AbstractEventLoop, a_second: int) -> None:
        self._loop = loop
        self._slots: list[list[Stream]] = [[] for _ in range(max(1, round(1 / a_second / TICK_S)))]
        self._next_slot = 0
        self._began = loop.time()
        self._ticks = 0
        self._tick()

    def add(self, stream: Stream) -> None:
        self._slots[self._next_slot].append(stream)
        self._next_slot = (self._next_slot + 1) % len(self._slots)

    def _tick(self) -> None:
        due = int((self._loop.time() - self._began) / TICK_S)
        while self._ticks <= due:
            slot = self._ticks % len(self._slots)
            if self._slots[slot]:
                self._slots[slot] = [stream for stream in self._slots[slot] if stream.write_event()]
            self._ticks += 1
        self._loop.call_at(self._began + self._ticks * TICK_S, self._tick)


class Server:
    """The wheels, one for each pace."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._wheels: dict[int, Wheel] = {}

    def begin(self, transport: asyncio.Transport, events: int, a_second: int, wants_usage: bool) -> None:
        transport.write(STREAM + chunk(answers.FIRST))
        stream = Stream(transport, events, wants_usage)
        if not a_second:
            while stream.write_event():
                pass
            return
        if a_second not in self._wheels:
            self._wheels[a_second] = Wheel(self._loop, a_second)
        self._wheels[a_second].add(stream)


class Connection(asyncio.Protocol):
    """One connection, with one request after another."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._parser = httptools.HttpRequestParser(self)
        self._url, self._body = b"", bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.abort()

    def on_url(self, url: bytes) -> None:
        self._url, self._body = url, bytearray()

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        pace = answers.PACE.search(self._body)
        if pace:
            wants_usage = answers.WANTS_USAGE.search(self._body) is not None
            self._server.begin(self._transport, int(pace[1]), int(pace[2]), wants_usage)
            return
        is_info = self._url.startswith(answers.MODEL_INFO_PATH.encode())
        body = (answers.MODEL_INFO if is_info else answers.ANSWER).encode()
        self._transport.write(WHOLE % (len(body), body))


async def serve(port: int) -> None:
    """Until cancelled."""
    loop = asyncio.get_running_loop()
    server = Server(loop)
    listening = await loop.create_server(lambda: Connection(server), "127.0.0.1", port, backlog=4096)
    await listening.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
