"""uvicorn's WebSocket protocol, with additions: an answer to every invalid upgrade, no queries in the log, a timeout
for callers who read nothing, and a notice to the application before a server stop cuts the connection. Passed to
uvicorn as `ws`; `BoundedHttp` has bounded the request head before."""

import asyncio
import logging
from typing import Any, Final

import msgspec
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import SecurityError
from websockets.server import ServerProtocol

# Where the application names no bound: what LiteLLM's own server takes.
MAX_MESSAGE: Final = 16 * 1024 * 1024
# After this a connection that is closed is broken: a caller who reads nothing would keep it for ever.
LINGER_S: Final = 10.0
# How long the other side's close frame is waited for.
GOODBYE_S: Final = 2.0
STOPPING: Final = "litemaas.stopping"

_log = logging.getLogger("uvicorn.error.websocket")
# At `info` uvicorn writes each path with its query, where a caller may have put a secret.
_log.setLevel(logging.WARNING)
# uvicorn logs a traceback for each such message, so anyone could fill the log. The caller gets close code 1007.
_log.addFilter(lambda record: not record.msg.startswith("Invalid UTF-8"))


class BoundedWebSocket(WebSocketsSansIOProtocol):
    """An application finds an `asyncio.Event` under STOPPING in its scope's extensions: set when the server stops.

    Its attribute `max_message`, if it has one, bounds a message in bytes."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.logger = _log
        self.close_timeout = GOODBYE_S
        largest = getattr(self.app, "max_message", MAX_MESSAGE)
        # No compression: each connection would hold its tables, and a small message may become a large one.
        self.conn = ServerProtocol(extensions=[], max_size=largest, logger=_log)
        self._stopping = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        try:
            super().data_received(data)
        except UnicodeError:
            self._refuse(400, "The request's path or a field of its head is not ASCII.")
            return
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            if isinstance(self.conn.handshake_exc, SecurityError):
                self._refuse(431, "A field of the request's head is too long.")
            else:
                self._refuse(400, "This is no request for a WebSocket.")

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if hasattr(self, "scope"):
            extensions: Any = self.scope["extensions"]
            extensions[STOPPING] = self._stopping

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            # uvicorn takes a refusal for an application that forgot to answer, and says so in the log.
            self.handshake_complete = True

    def _refuse(self, status: int, message: str) -> None:
        if self.transport.is_closing():
            return
        code = {400: "invalid_request", 431: "request_too_large"}[status]
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
        body = msgspec.json.encode({"error": error})
        head = b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        reason = {400: b"Bad Request", 431: b"Request Header Fields Too Large"}[status]
        self.transport.write(head % (status, reason, len(body)) + body)
        self.close_sent = True
        self.transport.close()

    def shutdown(self) -> None:
        # uvicorn would cut it here: the application ends it instead, or is cancelled at the end of the grace.
        self._stopping.set()

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self.transport.abort()

    def on_task_complete(self, task: "asyncio.Task[None]") -> None:
        super().on_task_complete(task)
        self.loop.call_later(LINGER_S, self.transport.abort)
