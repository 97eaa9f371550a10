"""WebSockets to LiteLLM, over aiohttp: realtime sessions are few and long, so its cost for each is no matter."""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import aiohttp
from yarl import URL

from gateway.upstream.failures import UpstreamBroken, UpstreamRefused, UpstreamSilent, UpstreamUnreachable

# LiteLLM answers an upgrade before it asks its model; who is gone without a word is noticed by pings.
HANDSHAKE_S: Final = 30.0
HEARTBEAT_S: Final = 30.0
GOODBYE_S: Final = 2.0
# The code of a WebSocket that ended without a close frame.
ABNORMAL_CLOSURE: Final = 1006


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


class WebSockets:
    """Opens WebSockets at one address. Made inside a running loop."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str,
        connect_s: float,
        handshake_s: float,
        limit: int,
        tls: Callable[[], ssl.SSLContext] | None,
    ) -> None:
        self._url = url
        self._authorization = {"authorization": f"Bearer {api_key}"}
        self._connect_s = connect_s
        self._handshake_s = min(HANDSHAKE_S, handshake_s)
        self._limit = limit
        self._tls = tls
        # Made for the first of them: most workers have none.
        self._session: aiohttp.ClientSession | None = None

    def _open_session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._limit, ttl_dns_cache=30),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_s),
            skip_auto_headers=("User-Agent", "Accept"),
        )

    async def connect(self, path: str, query: str, headers: Mapping[str, str], *, max_bytes: int) -> UpstreamWebSocket:
        """As Upstream.connect."""
        if self._session is None:
            self._session = self._open_session()
        try:
            async with asyncio.timeout(self._handshake_s):
                socket = await self._session.ws_connect(
                    URL(f"{self._url}{path}?{query}", encoded=True),
                    headers={**headers, **self._authorization},
                    ssl=self._tls() if self._tls else True,
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

    async def close(self) -> None:
        """Ends all connections."""
        if self._session is not None:
            await self._session.close()
