"""Step 3b: carry the upstream's answer to the caller, piece by piece, until one of them leaves."""

from collections.abc import Callable
from time import monotonic
from typing import Final

import msgspec

from gateway.domain.calls import Ending
from gateway.domain.errors import GatewayError
from gateway.endpoints.registry import Endpoint
from gateway.forward import error_of
from gateway.meter import AnswerMeter, Meter, StreamMeter
from gateway.upstream.client import Answer, UpstreamBroken, UpstreamSilent
from gateway.web.errors import ErrorShape, error_body
from gateway.web.responses import RawHeaders, Send

STREAM_HEADERS: Final = [(b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]


class Relay:
    """One answer on its way. What it has seen stays readable when it is interrupted."""

    __slots__ = (
        "_on_id",
        "_send",
        "bytes_sent",
        "ending",
        "error_code",
        "first_byte_at",
        "has_passed",
        "has_started",
        "meter",
    )

    def __init__(self, send: Send, on_id: Callable[[str], None] | None = None) -> None:
        """`on_id` is called with the id of a streamed response, once, before the caller is given it."""
        # Until an answer comes, nothing has been used.
        self.meter: Meter = AnswerMeter()
        self._send = send
        self._on_id = on_id
        self.has_started = False
        self.has_passed = False
        self.bytes_sent = 0
        self.first_byte_at: float | None = None
        self.ending: Ending = "client_disconnected"
        self.error_code: str | None = None

    async def carry(
        self, answer: Answer, headers: RawHeaders, endpoint: Endpoint, request_id: str, *, strips_usage: bool
    ) -> None:
        """Sends the head with the first piece, so that an answer that breaks before it can still be an error."""
        content_type = answer.headers.get("content-type", "application/json").encode("latin-1")
        # By what the upstream sends, not by what was asked for.
        is_stream = content_type.startswith(b"text/event-stream")
        self.meter = AnswerMeter(endpoint.read_answer, endpoint.rewrite)
        if is_stream:
            self.meter = StreamMeter(strips_usage=strips_usage, read=endpoint.new_event_reader())
        head = [(b"content-type", content_type), *headers, *(STREAM_HEADERS if is_stream else [])]
        try:
            while chunk := await answer.read():
                if self.first_byte_at is None:
                    self.first_byte_at = monotonic()
                data = self.meter.feed(chunk)
                if self._on_id is not None and self.meter.response_id is not None:
                    self._on_id(self.meter.response_id)
                    self._on_id = None
                await self._pass(data, answer.status, head)
            await self._pass(self.meter.finish(), answer.status, head)
        except (UpstreamBroken, UpstreamSilent) as failure:
            self.ending = "timeout" if isinstance(failure, UpstreamSilent) else "upstream_error"
            await self._break_off(
                error_of(failure), is_stream=is_stream, shape=endpoint.error_shape, request_id=request_id
            )
            return
        if self.meter.has_error:
            # The upstream said so itself, in its own event; the stream ends as it came.
            self.ending, self.error_code = "upstream_error", "upstream_error"
        else:
            self.ending = "completed"
        if not self.has_started:
            await self._start(answer.status, head)
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pass(self, data: bytes, status: int, head: RawHeaders) -> None:
        if not data:
            return
        if not self.has_started:
            await self._start(status, head)
        self.has_passed = True
        self.bytes_sent += len(data)
        await self._send({"type": "http.response.body", "body": data, "more_body": True})
        if self.meter.is_over and not self.meter.has_error:
            # The caller has it all: SDKs leave here, without waiting for the upstream to close.
            self.ending = "completed"

    async def _start(self, status: int, head: RawHeaders) -> None:
        self.has_started = True
        await self._send({"type": "http.response.start", "status": status, "headers": head})

    async def _break_off(self, error: GatewayError, *, is_stream: bool, shape: ErrorShape, request_id: str) -> None:
        self.error_code = error.code
        if not self.has_started:
            raise error
        if is_stream:
            # There is no status left to say it with: one event in the route's form, and no [DONE].
            event = b"data: " + msgspec.json.encode(error_body(error, request_id, shape)) + b"\n\n"
            if shape == "anthropic":
                event = b"event: error\n" + event
            await self._send({"type": "http.response.body", "body": event, "more_body": False})
            return
        # A body of a known length can only be cut: the server closes the connection.
        raise ConnectionAbortedError("the upstream broke off")
