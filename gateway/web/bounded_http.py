"""uvicorn's HTTP/1.1 protocol with bounds that it does not have: on the size of a request's head, on the number of its
fields, and on the time that head and body may take to arrive. What does not parse is 400, in JSON."""

from asyncio import TimerHandle, Transport
from typing import Any, Final

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.web.cors import CorsPolicy
from gateway.web.ignored_upgrades import head_without_upgrade

MAX_HEAD: Final = 64 * 1024
MAX_FIELDS: Final = 100
# A head must be whole within this, and between two pieces of a body no more may pass.
HEAD_S: Final = 30.0
BODY_IDLE_S: Final = 60.0
# How long a caller may go on sending the request body after the answer.
LINGER_S: Final = 10.0
# Reason phrase and code of what is answered before there is a request.
_REFUSALS: Final = {
    400: (b"Bad Request", "invalid_request"),
    408: (b"Request Timeout", "request_timeout"),
    431: (b"Request Header Fields Too Large", "request_too_large"),
}
_INVALID: Final = "This is no valid HTTP request."
_TOO_SLOW: Final = "The request did not arrive in time."
_TOO_LARGE: Final = f"The request's head is larger than {MAX_HEAD} bytes or has more than {MAX_FIELDS} fields."


class HeadTooLarge(Exception):
    """Stops the parser."""


class _Connection:
    """What an answer sees of its transport: one that is closed only once the caller was able to read the answer."""

    __slots__ = ("_protocol", "is_closing", "write")

    def __init__(self, protocol: "BoundedHttp") -> None:
        self._protocol = protocol
        self.write = protocol.transport.write
        self.is_closing = protocol.transport.is_closing

    def close(self) -> None:
        self._protocol.linger()


class BoundedHttp(HttpToolsProtocol):
    """To be named to uvicorn as `http`. An application's attribute `cors`, if it has one, is which pages may read its
    answers."""

    head_s = HEAD_S
    body_idle_s = BODY_IDLE_S
    linger_s = LINGER_S

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._timer: TimerHandle | None = None
        self._is_in_head = True
        self._head_bytes = 0
        self._received = 0
        self._lingers = False
        self._ignores_upgrade = False
        self._cors: CorsPolicy | None = getattr(self.app, "cors", None)

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self._timer = self.loop.call_later(self.head_s, self._end_slow_head)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        # A field that never ends is kept by the parser and shown to nobody.
        self._head_bytes = self._head_bytes + len(data) if self._is_in_head else 0
        self._parse(data)
        if self._is_in_head:
            if self._head_bytes > MAX_HEAD and not self.transport.is_closing():
                self._refuse(431, _TOO_LARGE)
        elif self._timer is None and self._is_body_missing():
            self._await_body()

    def _parse(self, data: bytes) -> None:
        """As uvicorn does, except that a request whose upgrade is ignored keeps its body."""
        self._unset_keepalive_if_required()
        rest = memoryview(data)
        while rest:
            try:
                self.parser.feed_data(rest)
                return
            except httptools.HttpParserUpgrade as upgrade:
                if not self._ignores_upgrade:
                    self._end_parsing()
                    return
                rest = rest[upgrade.args[0] :]
            except httptools.HttpParserError:
                self.logger.warning(_INVALID)
                self.send_400_response(_INVALID)
                return
            if not self._parse_again():
                return

    def _end_parsing(self) -> None:
        if self._lingers:
            return
        if self._should_upgrade():
            self.handle_websocket_upgrade()
        else:
            # CONNECT: what follows is for another host, and is not read.
            self.cycle.keep_alive = False

    def _parse_again(self) -> bool:
        """The head without its upgrade, by a new parser that goes on with what follows; false where it is refused."""
        version = self.parser.get_http_version()
        head = head_without_upgrade(self.parser.get_method(), self.url, version, self.headers)
        self._ignores_upgrade = False
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        try:
            self.parser.feed_data(head)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.send_400_response(_INVALID)
            return False
        return True

    def linger(self) -> None:
        """Closes the connection, after the caller has finished sending. Closing a socket with unread bytes resets the
        connection, and the answer (e.g. that the body is too large) may be lost (RFC 9112, 9.6).
        """
        if not self._is_body_missing() or self.transport.is_closing():
            self.transport.close()
            return
        self._lingers = True
        self._stop_timer()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._timer = self.loop.call_later(self.linger_s, self.transport.close)

    def _is_body_missing(self) -> bool:
        cycle: Any = self.cycle  # None at first, and while a WebSocket is made of the connection
        return cycle is not None and cycle.more_body

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_in_head = True
        if self._timer is None:
            self._timer = self.loop.call_later(self.head_s, self._end_slow_head)

    def on_headers_complete(self) -> None:
        headers = self.headers
        size = len(self.url) + sum([len(name) + len(value) for name, value in headers])
        if len(headers) > MAX_FIELDS or size > MAX_HEAD:
            raise HeadTooLarge
        self._is_in_head = False
        self._head_bytes = 0
        self._stop_timer()
        if self._lingers:
            return  # what follows a last request is nobody's
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT" and not self._should_upgrade():
            self._ignores_upgrade = True
            return
        super().on_headers_complete()
        cycle: Any = self.cycle
        if cycle is not None and not isinstance(cycle.transport, _Connection):
            cycle.transport = _Connection(self)
            if self._cors is not None:
                # Here, so that no answer is without: neither a stream nor uvicorn's own 500.
                cycle.default_headers = cycle.default_headers + self._cors.headers(headers)

    def on_message_complete(self) -> None:
        if self._ignores_upgrade:
            return
        super().on_message_complete()
        if self._lingers:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        headers: Any = self.headers or []
        if len(headers) > MAX_FIELDS or sum(len(name) + len(value) for name, value in headers) > MAX_HEAD:
            self._refuse(431, _TOO_LARGE)
        else:
            self._refuse(400, _INVALID)

    def eof_received(self) -> None:
        # The transport closes itself after this: what is sent meanwhile has nowhere to go.
        cycle: Any = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()

    def _should_upgrade(self) -> bool:
        # What is no GET is answered as if no upgrade had been asked for.
        return bool(super()._should_upgrade()) and self.parser.get_method() == b"GET"

    def handle_websocket_upgrade(self) -> None:
        self._stop_timer()
        super().handle_websocket_upgrade()

    def _end_slow_head(self) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        if self._head_bytes:
            self._refuse(408, _TOO_SLOW)
        else:
            # Nothing was asked.
            self.transport.close()

    def _await_body(self) -> None:
        received = self._received

        def look() -> None:
            self._timer = None
            if self.transport.is_closing() or not self._is_body_missing():
                return
            if self._received == received and not self.flow.read_paused:
                # The application sees it as a disconnect.
                self.transport.close()
            else:
                self._await_body()

        self._timer = self.loop.call_later(self.body_idle_s, look)

    def _refuse(self, status: int, message: str) -> None:
        reason, code = _REFUSALS[status]
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
        body = msgspec.json.encode({"error": error})
        head = b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n"
        # As far as the request was read: None before its first byte.
        cors = [] if self._cors is None else self._cors.headers(self.headers or [])
        fields = b"".join(b"%b: %b\r\n" % field for field in cors)
        self.transport.write(head % (status, reason, len(body)) + fields + b"\r\n" + body)
        self.transport.close()
