"""One connection to LiteLLM: HTTP/1.1 (RFC 9112), one request and its answer at a time. llhttp parses the answer."""

import asyncio
from collections.abc import Callable
from math import inf
from typing import Final

import httptools

from gateway.upstream.failures import UpstreamBroken

# Of an answer's head, or of anything else without a body: interim answers, trailers, extensions of chunks.
MAX_HEAD: Final = 64 * 1024
MAX_INTERIM_ANSWERS: Final = 16
# What is received and not yet read; above it the upstream is held up.
MAX_HELD: Final = 64 * 1024
# A body up to this size is copied behind its head, so that both are one write.
MAX_COPIED: Final = 64 * 1024


class Connection(asyncio.Protocol):
    """Made by `Connections`. `send`, then `wait_for_head`, then `read` until it gives b''.

    A time-out is a `deadline` on the loop's clock, which the owner compares from time to time: a stream has thousands
    of waits, and a timer for each would cost more than reading."""

    __slots__ = (
        "_drained",
        "_failure",
        "_has_head",
        "_has_length",
        "_held",
        "_interim",
        "_is_complete",
        "_is_interim",
        "_is_lost",
        "_is_paused",
        "_is_sound",
        "_is_used",
        "_loop",
        "_on_lost",
        "_parser",
        "_pieces",
        "_transport",
        "_unparsed",
        "_waiter",
        "deadline",
        "headers",
        "idle_since",
        "keep_alive_s",
        "status",
    )  # fmt: skip

    def __init__(self, on_lost: Callable[["Connection"], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_lost = on_lost
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport
        self._waiter: asyncio.Future[None] | None = None
        # Set while the transport takes no more of the request.
        self._drained: asyncio.Future[None] | None = None
        self._is_lost = False
        # False once anything came that was not asked for: nothing is sent over such a connection again.
        self._is_sound = True
        self.idle_since = 0.0
        # Seconds that the upstream keeps an idle connection, if it said so.
        self.keep_alive_s = inf
        self._begin()
        self._is_used = False

    def _begin(self) -> None:
        self.status = 0
        # By name, in lower case; several lines of one name are joined as a list.
        self.headers: dict[str, str] = {}
        self.deadline = inf
        self._pieces: list[bytes] = []
        self._held = 0
        self._unparsed = 0
        self._interim = 0
        self._has_head = self._has_length = self._is_complete = self._is_interim = self._is_paused = False
        self._failure: Exception | None = None
        self._is_used = True

    # The transport's side.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # create_connection's
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if not self._is_used:
            # Nothing was asked: whatever this answers, it is no request of ours.
            self.abort()
            return
        self._unparsed += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as exc:
            self._is_sound = False
            self.fail(UpstreamBroken(f"the answer is no valid HTTP: {exc}"))
            return
        if self._unparsed > MAX_HEAD:
            self._is_sound = False
            self.fail(UpstreamBroken(f"the answer has more than {MAX_HEAD} bytes of head"))
            return
        if self._held > MAX_HELD and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()
        if self._has_head:
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        if self._is_used and not self._is_complete:
            if exc is None and self._has_head and not self._has_length and self._failure is None:
                self._is_complete = True
            else:
                broken = UpstreamBroken(str(exc or "the connection was closed before the answer's end"))
                broken.__cause__ = exc
                self.fail(broken)
        self._wake()
        self._resume_sending()
        # It holds this object's methods.
        del self._parser
        self._on_lost(self)

    def pause_writing(self) -> None:
        self._drained = self._loop.create_future()

    def resume_writing(self) -> None:
        self._resume_sending()

    def _resume_sending(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    # The parser's side.

    def on_message_begin(self) -> None:
        if self._is_complete:
            self._is_sound = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_complete or self._has_head:
            return  # of an answer to nobody; of a trailer
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self.headers[key] = text if key not in self.headers else f"{self.headers[key]}, {text}"

    def on_headers_complete(self) -> None:
        if self._is_complete or self._failure is not None:
            return
        status = self._parser.get_status_code()
        if status < 200:
            self._is_interim = True
            return
        headers = self.headers
        coding = headers.get("transfer-encoding")
        if coding is not None and coding.strip().lower() != "chunked":
            # None was asked for, and none can be undone.
            self.fail(UpstreamBroken(f"the answer has the transfer coding {coding[:40]!r}"))
            return
        if self._unparsed > MAX_HEAD and sum(len(name) + len(value) for name, value in headers.items()) > MAX_HEAD:
            return  # data_received refuses it
        self.status = status
        self._has_head = True
        self._has_length = coding is not None or "content-length" in headers or status in (204, 304)
        self._unparsed = 0

    def on_body(self, body: bytes) -> None:
        if self._is_complete:
            return
        self._pieces.append(body)
        self._held += len(body)
        self._unparsed = 0

    def on_message_complete(self) -> None:
        if self._is_complete:
            return
        if not self._is_interim:
            self._is_complete = True
            self._is_sound = self._is_sound and self._parser.should_keep_alive()
            self._unparsed = 0
            return
        self._is_interim = False
        self._interim += 1
        self.headers = {}
        if self._interim > MAX_INTERIM_ANSWERS:
            self.fail(UpstreamBroken(f"more than {MAX_INTERIM_ANSWERS} interim answers"))

    # The caller's side.

    @property
    def is_usable(self) -> bool:
        """Whether a request can be sent over it, as far as is known."""
        return self._is_sound and not self._is_lost and not self._transport.is_closing()

    @property
    def is_at_end(self) -> bool:
        """Whether the whole answer has come, and was read."""
        return self._is_complete and not self._pieces

    def send(self, head: bytes, body: bytes, deadline: float) -> None:
        """Writes a request, or its beginning. The answer must begin before `deadline`."""
        self._begin()
        self.deadline = deadline
        if len(body) <= MAX_COPIED:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._transport.write(body)

    async def send_more(self, piece: bytes | memoryview) -> None:
        """Writes more of the body, once the upstream has taken enough of what was written before."""
        if self._drained is not None:
            await self._drained
        if not self._is_lost:
            self._transport.write(piece)

    async def wait_for_head(self) -> None:
        """Returns once `status` and `headers` are there; raises the failure otherwise."""
        while not self._has_head:
            if self._failure is not None:
                raise self._failure
            await self._wait()
        self.deadline = inf

    async def read(self, idle_s: float) -> bytes:
        """What has come of the body, b'' at its end. Waits for at most `idle_s`; raises the failure."""
        while not self._pieces:
            if self._is_complete:
                return b""
            if self._failure is not None:
                raise self._failure
            self.deadline = self._loop.time() + idle_s
            await self._wait()
        # A caller who reads slowly is no silence of the upstream: nobody waits for it now.
        self.deadline = inf
        pieces = self._pieces
        self._pieces, self._held = [], 0
        if self._is_paused:
            self._is_paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def finish(self, now: float) -> None:
        """The exchange is over: from now on it is idle."""
        self._is_used = False
        self.deadline = inf
        self.idle_since = now
        self.keep_alive_s = _seconds_kept(self.headers.get("keep-alive"))

    def expire(self, failure: Exception) -> None:
        """As `fail`, if somebody waits."""
        if self._waiter is not None:
            self.fail(failure)

    def abort(self) -> None:
        """Breaks the connection, which cancels what the upstream does for it. What was read can still be."""
        self._is_sound = False
        if not self._is_lost:
            self._transport.abort()

    async def _wait(self) -> None:
        self._waiter = waiter = self._loop.create_future()
        await waiter

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def fail(self, failure: Exception) -> None:
        """Ends the exchange with `failure`, and the connection."""
        if not self._is_complete and self._failure is None:
            self._failure = failure
        self._wake()
        self.abort()


def _seconds_kept(value: str | None) -> float:
    """`timeout` of a Keep-Alive header, one second less for the way; inf without."""
    for part in (value or "").split(","):
        name, _, seconds = part.partition("=")
        if name.strip().lower() == "timeout" and seconds.strip().isdecimal() and len(seconds) < 10:
            return int(seconds) - 1.0
    return inf
