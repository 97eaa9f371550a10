"""Connections to LiteLLM. The rest of the gateway knows this interface, not the library behind it."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import aiohttp
from multidict import CIMultiDictProxy
from yarl import URL

# LiteLLM's server closes idle connections after 5 s: one that is about to be closed must not be used.
KEEP_ALIVE_S = 4
# Paths that are parsed once; for any other, each call parses its own.
MAX_URLS = 64
# Receive buffer for the answer to a slow caller. It exists several times, in the kernel and in this process.
RECEIVED_AT_ONCE = 32 * 1024
# LiteLLM answers an upgrade before it asks its model; who is gone without a word is noticed by pings.
HANDSHAKE_S = 30.0
HEARTBEAT_S = 30.0
GOODBYE_S = 2.0
# Of LiteLLM: it asks no model and needs no key.
HEALTH_PATH = "/health/liveliness"
# The code of a WebSocket that ended without a close frame.
ABNORMAL_CLOSURE = 1006


class UpstreamUnreachable(Exception):
    """No connection could be made: the call was surely not taken."""


class UpstreamBroken(Exception):
    """The connection broke after the call was sent."""


class UpstreamSilent(Exception):
    """Nothing came for the set time."""


class UpstreamRefused(Exception):
    """It answered the request for a WebSocket with `status`."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the upgrade was answered with {status}")
        self.status = status


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
    """The upstream's answer, its head read. `read()` gives the next piece as it came, b'' at the end."""

    __slots__ = ("_idle_s", "_is_awaited", "_last_at", "_loop", "_response", "_silent", "_timer", "failure", "status")

    def __init__(self, response: aiohttp.ClientResponse, idle_s: float) -> None:
        self.status = response.status
        # What `read` has raised, if it has.
        self.failure: type[UpstreamBroken | UpstreamSilent] | None = None
        self._response = response
        self._idle_s = idle_s
        self._loop = asyncio.get_running_loop()
        self._last_at = self._loop.time()
        self._silent = False
        # A caller who reads slowly is no silence of the upstream: nobody waits for it then.
        self._is_awaited = False
        self._timer = self._loop.call_later(idle_s, self._check_silence)

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        """As they came."""
        return self._response.headers

    async def read(self) -> bytes:
        """Raises UpstreamBroken or UpstreamSilent."""
        self._is_awaited, self._last_at = True, self._loop.time()
        try:
            chunk = await self._response.content.readany()
        except (aiohttp.ClientError, OSError) as exc:
            self.failure = UpstreamSilent if self._silent else UpstreamBroken
            raise self.failure(str(exc)) from exc
        if not chunk and self._silent:
            self.failure = UpstreamSilent
            raise UpstreamSilent("nothing came for the set time")
        self._is_awaited = False
        return chunk

    def _check_silence(self) -> None:
        # Checked periodically instead of restarted for each chunk: a stream has thousands.
        left_s = self._last_at + self._idle_s - self._loop.time() if self._is_awaited else self._idle_s
        if left_s > 0:
            self._timer = self._loop.call_later(left_s, self._check_silence)
        else:
            self._silent = True
            self._response.close()

    def close(self) -> None:
        """Keeps the connection if the answer was read to its end, else breaks it, which cancels the upstream's work."""
        self._timer.cancel()
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()


@dataclass(frozen=True, slots=True)
class CloseFrame:
    """How the upstream ended a conversation; code 1006: it said nothing."""

    code: int
    reason: str


class UpstreamWebSocket:
    """A WebSocket to the upstream. What is not read yet holds the upstream up, as what it does not take holds us."""

    __slots__ = ("_is_closing", "_socket", "failure")

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._is_closing = False
        # That it ended without a close frame.
        self.failure: type[UpstreamBroken] | None = None

    async def receive(self) -> str | CloseFrame:
        """The next message; bytes are read as UTF-8."""
        message = await self._socket.receive()
        if message.type is aiohttp.WSMsgType.TEXT:
            return str(message.data)
        if message.type is aiohttp.WSMsgType.BINARY:
            return bytes(message.data).decode(errors="replace")
        if message.type is aiohttp.WSMsgType.CLOSE:
            return CloseFrame(int(message.data or ABNORMAL_CLOSURE), str(message.extra or ""))
        if not self._is_closing:
            self.failure = UpstreamBroken
        return CloseFrame(ABNORMAL_CLOSURE, "")

    async def send(self, text: str) -> None:
        """Raises UpstreamBroken."""
        try:
            await self._socket.send_str(text)
        except (aiohttp.ClientError, OSError, RuntimeError) as exc:
            raise UpstreamBroken(str(exc)) from exc

    async def close(self) -> None:
        """Sends a close frame and waits for the answer for a moment; then breaks the connection."""
        self._is_closing = True
        await self._socket.close()


def _new_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    family, kind, protocol, *_ = address
    made = socket.socket(family=family, type=kind, proto=protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVED_AT_ONCE)
    return made


def _connecting_within(connect_s: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, sock_connect=connect_s)


class Upstream:
    """LiteLLM at one address. Made inside a running loop; `close()` at the end."""

    def __init__(
        self, url: str, *, api_key: str, timeouts: Timeouts, connections: int, ca_file: Path | None = None
    ) -> None:
        self.url = url
        self._urls: dict[str, URL] = {}
        self._api_key = api_key
        self._timeouts = timeouts
        self._usual = _connecting_within(timeouts.connect_s)
        tls: ssl.SSLContext | bool = ssl.create_default_context(cafile=str(ca_file)) if ca_file else True
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=connections,
                ssl=tls,
                keepalive_timeout=KEEP_ALIVE_S,
                ttl_dns_cache=30,
                socket_factory=_new_socket,
            ),
            read_bufsize=RECEIVED_AT_ONCE,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=self._usual,
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept"),
        )

    async def send(
        self, path: str, headers: Mapping[str, str], body: Body, *, method: str = "POST", connect_s: float | None = None
    ) -> Answer:
        """The answer once its head is there. It must be closed: before its end, that cancels the upstream.
        `connect_s` is how long a connection is waited for, where it is not as long as usual.

        Raises UpstreamUnreachable, UpstreamBroken, UpstreamSilent."""
        own = {"authorization": f"Bearer {self._api_key}", "accept-encoding": "identity"}
        data: bytes | AsyncIterator[bytes | memoryview]
        if isinstance(body, bytes):
            data = body
        else:
            data = body.chunks()
            own |= {"content-type": body.content_type, "content-length": str(body.size)}
        try:
            async with asyncio.timeout(self._timeouts.first_byte_s):
                response = await self._session.request(
                    method,
                    self._url(path),
                    data=data or None,
                    headers={**headers, **own},
                    allow_redirects=False,
                    timeout=self._usual if connect_s is None else _connecting_within(connect_s),
                )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as exc:
            raise UpstreamUnreachable(str(exc)) from exc
        except TimeoutError as exc:
            raise UpstreamSilent("no answer in the set time") from exc
        except (aiohttp.ClientError, OSError) as exc:
            raise UpstreamBroken(str(exc)) from exc
        return Answer(response, self._timeouts.idle_s)

    async def connect(self, path: str, query: str, headers: Mapping[str, str], *, max_bytes: int) -> UpstreamWebSocket:
        """Opens a WebSocket; `query` is encoded already. It must be closed.

        Raises UpstreamUnreachable, UpstreamBroken, UpstreamSilent, UpstreamRefused."""
        own = {"authorization": f"Bearer {self._api_key}"}
        try:
            async with asyncio.timeout(min(HANDSHAKE_S, self._timeouts.first_byte_s)):
                socket = await self._session.ws_connect(
                    URL(f"{self.url}{path}?{query}", encoded=True),
                    headers={**headers, **own},
                    heartbeat=HEARTBEAT_S,
                    autoclose=False,
                    max_msg_size=max_bytes,
                    timeout=aiohttp.ClientWSTimeout(ws_close=GOODBYE_S),
                )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as exc:
            raise UpstreamUnreachable(str(exc)) from exc
        except TimeoutError as exc:
            raise UpstreamSilent("no handshake in the set time") from exc
        except aiohttp.WSServerHandshakeError as exc:
            raise UpstreamRefused(exc.status) from exc
        except (aiohttp.ClientError, OSError) as exc:
            raise UpstreamBroken(str(exc)) from exc
        return UpstreamWebSocket(socket)

    async def is_alive(self, timeout_s: float) -> bool:
        """Whether its health route answers, with anything but a server error."""
        try:
            async with self._session.get(
                self._url(HEALTH_PATH), timeout=aiohttp.ClientTimeout(total=timeout_s), allow_redirects=False
            ) as answer:
                return answer.status < 500
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False

    def _url(self, path: str) -> URL:
        # Parsing an address costs more than sending a small body.
        url = self._urls.get(path)
        if url is None:
            url = URL(self.url + path, encoded="%" in path)
            # A path may name one response.
            if len(self._urls) < MAX_URLS:
                self._urls[path] = url
        return url

    async def close(self) -> None:
        """Ends all connections."""
        await self._session.close()
