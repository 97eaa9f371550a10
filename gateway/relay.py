"""Step 3b: carry the upstream's answer to the caller, piece by piece, until one of them leaves."""

from collections.abc import Callable
from time import monotonic
from typing import Final

from gateway import metrics
from gateway.domain.calls import Ending
from gateway.domain.errors import GatewayError
from gateway.endpoints.registry import Declaration
from gateway.forward import error_of
from gateway.measured_answer import Meter
from gateway.meter import AnswerMeter, StreamMeter
from gateway.upstream.client import Answer
from gateway.upstream.failures import UpstreamBroken, UpstreamSilent
from gateway.web.disconnects import DisconnectWatch
from gateway.web.errors import error_event
from gateway.web.pings import PING, PingedSend
from gateway.web.responses import RawHeaders, Send

STREAM_HEADERS: Final = [(b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]


class Relay:
    """One answer on its way. What it has seen stays readable when it is interrupted."""

    __slots__ = (
        "_endpoint",
        "_is_stream",
        "_on_id",
        "_ping_head",
        "_request_id",
        "_send",
        "_waits_since",
        "_wrapped",
        "bytes_sent",
        "ending",
        "error_code",
        "first_byte_at",
        "has_passed",
        "has_started",
        "meter",
        "waited_s",
        "watch",
    )  # fmt: skip

    def __init__(
        self, send: Send, endpoint: Declaration, request_id: str, on_id: Callable[[str], None] | None = None
    ) -> None:
        """`on_id` is called with the id of a streamed response, once, before the caller is given it."""
        # Until an answer comes, nothing has been used.
        self.meter: Meter = AnswerMeter()
        self._send = send
        self._endpoint = endpoint
        self._request_id = request_id
        self._on_id = on_id
        self._is_stream = False
        self._ping_head: RawHeaders = []
        # Of a whole answer to a caller who was promised a stream, by a ping before it.
        self._wrapped: bytearray | None = None
        # Once the caller has left, what still comes is read and not sent.
        self.watch = DisconnectWatch()
        self.has_started = False
        self.has_passed = False
        self.bytes_sent = 0
        # For the upstream, and for the caller to read; what waits now is not in it yet.
        self.waited_s = 0.0
        self._waits_since: float | None = None
        self.first_byte_at: float | None = None
        self.ending: Ending = "client_disconnected"
        self.error_code: str | None = None

    async def carry(self, answer: Answer, headers: RawHeaders, *, strips_usage: bool) -> None:
        """Sends the head with the first piece, so that an answer that breaks before it can still be an error."""
        content_type = answer.headers.get("content-type", "application/json").encode("latin-1")
        # By what the upstream sends, not by what was asked for.
        self._is_stream = content_type.startswith(b"text/event-stream")
        if self.has_started and not self._is_stream:
            self._is_stream, self._wrapped = True, bytearray()
        self.meter = AnswerMeter(self._endpoint.read_answer, self._endpoint.answer, self._endpoint.rewrite)
        if self._is_stream and self._wrapped is None:
            self.meter = StreamMeter(strips_usage=strips_usage, read=self._endpoint.new_event_reader())
        head = [(b"content-type", content_type), *headers, *(STREAM_HEADERS if self._is_stream else [])]
        if self._is_stream:
            self.start_pings(head)
        try:
            while True:
                if self._waits_since is None:
                    self.waits()
                chunk = await answer.read()
                self.goes_on()
                if not chunk:
                    break
                if self.first_byte_at is None:
                    self.first_byte_at = monotonic()
                data = self.meter.feed(chunk)
                if self._on_id is not None and self.meter.response_id is not None:
                    self._on_id(self.meter.response_id)
                    self._on_id = None
                await self._pass(data, answer.status, head)
            await self._pass(self.meter.finish(), answer.status, head)
        except (UpstreamBroken, UpstreamSilent) as failure:
            if self.watch.happened:
                return
            self.ending = "timeout" if isinstance(failure, UpstreamSilent) else "upstream_error"
            error = error_of(failure)
            self.error_code = error.code
            await self.break_off(error)
            return
        if self.watch.happened:
            return
        if self.meter.is_no_answer and not self.meter.has_error:
            # After comments, which have made the answer a stream already.
            error = self._no_answer()
            self.error_code = error.code
            await self.break_off(error)
            return
        if self.meter.has_error:
            # The upstream said so itself, in its own event; the stream ends as it came.
            self.ending = "refused_upstream" if self.meter.is_no_answer else "upstream_error"
            self.error_code = "upstream_error"
        else:
            self.ending = "completed"
        if self._wrapped is not None:
            # White space between tokens of JSON; within them it is escaped.
            event, self._wrapped = b"data: " + self._wrapped.replace(b"\r", b" ").replace(b"\n", b" ") + b"\n\n", None
            await self._pass(event, answer.status, head)
        if not self.has_started:
            await self._start(answer.status, head)
        await self.end()

    def waits(self) -> None:
        """From now on it waits for the upstream, or for the caller."""
        self._waits_since = monotonic()

    def goes_on(self) -> None:
        """What it waited for is there, or will not come."""
        if self._waits_since is not None:
            self.waited_s += monotonic() - self._waits_since
            self._waits_since = None

    def start_pings(self, head: RawHeaders) -> None:
        """Where they are on: from now on comments are sent while nothing else is. They are no part of the answer, and
        nothing is charged for them; but the first begins a stream, with this head and status 200."""
        self._ping_head = head
        if isinstance(self._send, PingedSend):
            self._send.start(self._ping)

    def stop_pings(self) -> None:
        """The answer has ended."""
        if isinstance(self._send, PingedSend):
            self._send.stop()

    async def _ping(self) -> None:
        if self.watch.happened or self.meter.is_within_event:
            return
        if not self.has_started:
            self._is_stream = True
            await self._start(200, self._ping_head)
        metrics.PINGS.inc()
        await self._send({"type": "http.response.body", "body": PING, "more_body": True})

    async def _pass(self, data: bytes, status: int, head: RawHeaders) -> None:
        if self.meter.is_no_answer and not self.has_started:
            raise self._no_answer()
        if not data or self.watch.happened:
            return
        if self._wrapped is not None:
            self._wrapped += data
            return
        if not self.has_started:
            await self._start(status, head)
        self.has_passed = self.meter.has_begun
        self.bytes_sent += len(data)
        # Until the next piece is there: one look at the clock less for each.
        self.waits()
        await self._send({"type": "http.response.body", "body": data, "more_body": True})
        if self.meter.is_over and self.has_passed and not self.meter.has_error:
            # The caller has it all: SDKs leave here, without waiting for the upstream to close.
            self.ending = "completed"

    def _no_answer(self) -> GatewayError:
        """An error, a page of HTML or nothing, all under a status of success. It costs nothing."""
        self.ending = "refused_upstream"
        return GatewayError("upstream_error", "The model server reported success and sent no answer. Try again.")

    async def _start(self, status: int, head: RawHeaders) -> None:
        self.has_started = True
        await self._send({"type": "http.response.start", "status": status, "headers": head})

    async def break_off(self, error: GatewayError) -> None:
        """Ends the answer with the error: as one event of a stream, without `[DONE]`. Raises it where nothing was sent
        yet, and ConnectionAbortedError where a part of a whole answer was."""
        if not self.has_started:
            raise error
        if not self._is_stream:
            # A body of a known length can only be cut: the server closes the connection.
            raise ConnectionAbortedError("the answer broke off")
        event = error_event(error, self._request_id, self._endpoint.error_shape, is_typed=self._endpoint.types_events)
        if self.meter.is_within_event:
            # Else the error would be a line of the event that is not whole.
            event = b"\n\n" + event
        await self._send({"type": "http.response.body", "body": event, "more_body": False})

    async def end(self) -> None:
        """Closes an answer of which the caller has everything."""
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})
