"""LiteLLM at one address. The rest of the gateway knows this interface, not the connections behind it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import quote, urlsplit

from gateway.tls import NO_FILES, TlsFiles
from gateway.upstream.connection import Connection
from gateway.upstream.connections import Connections, Origin
from gateway.upstream.failures import UpstreamBroken, UpstreamSilent, UpstreamUnreachable
from gateway.upstream.websocket import UpstreamWebSocket, WebSockets

# Of LiteLLM: it asks no model and needs no key.
HEALTH_PATH: Final = "/health/liveliness"
# Paths whose request line is kept; for any other, each call writes its own.
MAX_PATHS: Final = 64
# Of a path, what needs no percent encoding, and what may be encoded already (RFC 3986, section 3.3).
PATH_SAFE: Final = "/%:@!$&'()*+,;=~?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds to wait: for a connection, for the answer's head, for each next piece of it."""

    connect_s: float
    first_byte_s: float
    idle_s: float


class Stored(Protocol):
    """A body that is not held in memory: read in chunks, and again for each address it is sent to."""

    content_type: str
    size: int

    def chunks(self) -> AsyncIterator[bytes | memoryview]:
        """`size` bytes in all."""
        ...


Body = bytes | Stored


class Answer:
    """The upstream's answer, its head read. `headers` are by name in lower case."""

    __slots__ = ("_connection", "_connections", "_idle_s", "_upload", "failure", "headers", "status")

    def __init__(
        self, connection: Connection, connections: Connections, idle_s: float, upload: asyncio.Task[None] | None
    ) -> None:
        # None once it is closed: the connection may serve another call then.
        self._connection: Connection | None = connection
        self._connections = connections
        self._idle_s = idle_s
        self._upload = upload
        self.status = connection.status
        # What `read` has raised, if it has.
        self.failure: type[UpstreamBroken | UpstreamSilent] | None = None
        self.headers: Mapping[str, str] = connection.headers

    async def read(self) -> bytes:
        """The next piece as it came, b'' at the end. Raises UpstreamBroken or UpstreamSilent."""
        if self._connection is None:
            raise UpstreamBroken("the answer is closed")
        try:
            return await self._connection.read(self._idle_s)
        except (UpstreamBroken, UpstreamSilent) as failure:
            self.failure = type(failure)
            raise

    def close(self) -> None:
        """Keeps the connection if the answer was read to its end, else breaks it, which cancels the upstream's work."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._upload is not None and not self._upload.done():
            self._upload.cancel()
            connection.abort()
        self._connections.give_back(connection)


class Upstream:
    """LiteLLM at one address. Made inside a running loop; `close()` at the end."""

    def __init__(
        self, url: str, *, api_key: str, timeouts: Timeouts, connections: int, tls: TlsFiles = NO_FILES
    ) -> None:
        self.url = url
        self._timeouts = timeouts
        self._loop = asyncio.get_running_loop()
        parts = urlsplit(url)
        context = tls.context if parts.scheme == "https" else None
        self._base_path = parts.path.rstrip("/")
        host = parts.netloc.rpartition("@")[2]
        self._fields = f"host: {host}\r\nauthorization: Bearer {api_key}\r\naccept-encoding: identity\r\n"
        self._request_lines: dict[tuple[str, str], str] = {}
        origin = Origin(host=parts.hostname or "", port=parts.port or (443 if context else 80), tls=context)
        shortest_s = min(timeouts.first_byte_s, timeouts.idle_s)
        self._connections = Connections(origin, limit=connections, shortest_s=shortest_s)
        self._web_sockets = WebSockets(
            url,
            api_key=api_key,
            connect_s=timeouts.connect_s,
            handshake_s=timeouts.first_byte_s,
            limit=connections,
            tls=context,
        )

    async def send(
        self, path: str, headers: Mapping[str, str], body: Body, *, method: str = "POST", connect_s: float | None = None
    ) -> Answer:
        """The answer once its head is there. It must be closed: before its end, that cancels the upstream.
        `connect_s` is how long a connection is waited for, where it is not as long as usual.

        Raises UpstreamUnreachable, UpstreamBroken, UpstreamSilent."""
        deadline = self._loop.time() + self._timeouts.first_byte_s
        head = self._head(method, path, headers, body)
        connection = self._connections.take_idle()
        if connection is None:
            connection = await self._connect(self._timeouts.connect_s if connect_s is None else connect_s)
        upload: asyncio.Task[None] | None = None
        try:
            if isinstance(body, bytes):
                connection.send(head, body, deadline)
            else:
                connection.send(head, b"", deadline)
                upload = self._loop.create_task(_upload(connection, body))
            await connection.wait_for_head()
        except BaseException:
            if upload is not None:
                upload.cancel()
            connection.abort()
            self._connections.give_back(connection)
            raise
        return Answer(connection, self._connections, self._timeouts.idle_s, upload)

    async def _connect(self, connect_s: float) -> Connection:
        try:
            async with asyncio.timeout(self._timeouts.first_byte_s):
                return await self._connections.take(connect_s)
        except TimeoutError as exc:
            raise UpstreamSilent("no connection was free in the set time") from exc

    def _head(self, method: str, path: str, headers: Mapping[str, str], body: Body) -> bytes:
        """The request's head. Raises ValueError for a header that would end early."""
        line = self._request_lines.get((method, path))
        if line is None:
            line = f"{method} {self._base_path}{quote(path, safe=PATH_SAFE)} HTTP/1.1\r\n{self._fields}"
            # A path may name one response.
            if len(self._request_lines) < MAX_PATHS:
                self._request_lines[method, path] = line
        if not isinstance(body, bytes):
            headers = {**headers, "content-type": body.content_type}
        size = len(body) if isinstance(body, bytes) else body.size
        fields = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        if fields.count("\n") != len(headers) or fields.count("\r") != len(headers) or "\0" in fields:
            raise ValueError("a header holds a control character")
        length = f"content-length: {size}\r\n" if size or method == "POST" else ""
        return f"{line}{fields}{length}\r\n".encode("latin-1")

    async def connect(self, path: str, query: str, headers: Mapping[str, str], *, max_bytes: int) -> UpstreamWebSocket:
        """Opens a WebSocket; `query` is encoded already. It must be closed.

        Raises UpstreamUnreachable, UpstreamBroken, UpstreamSilent, UpstreamRefused."""
        return await self._web_sockets.connect(path, query, headers, max_bytes=max_bytes)

    async def is_alive(self, timeout_s: float) -> bool:
        """Whether its health route answers, with anything but a server error."""
        try:
            async with asyncio.timeout(timeout_s):
                answer = await self.send(HEALTH_PATH, {}, b"", method="GET")
                try:
                    while await answer.read():
                        pass
                    return answer.status < 500
                finally:
                    answer.close()
        except (UpstreamUnreachable, UpstreamBroken, UpstreamSilent, TimeoutError):
            return False

    async def close(self) -> None:
        """Ends all connections."""
        self._connections.close()
        await self._web_sockets.close()


async def _upload(connection: Connection, body: Stored) -> None:
    """Sends the body, as fast as the upstream takes it. A body that cannot be read breaks the call."""
    try:
        async for piece in body.chunks():
            await connection.send_more(piece)
    except OSError as exc:
        connection.fail(UpstreamBroken(f"the body could not be read: {exc}"))
