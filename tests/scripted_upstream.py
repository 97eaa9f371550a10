"""An HTTP server that answers with exactly the bytes that a test gives it, legal or not."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from enum import Enum, auto

from gateway.upstream.client import Answer, Timeouts, Upstream

OK = b"HTTP/1.1 200 OK\r\n"
GOOD = OK + b"content-length: 4\r\n\r\ngood"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"


class Then(Enum):
    """What the server does besides sending."""

    CLOSE = auto()
    RESET = auto()
    WAIT_FOR_CLIENT = auto()


# Bytes are one write, a number is a pause in seconds.
Step = bytes | float | Then
Script = Sequence[Step]


class ScriptedUpstream:
    """`scripts` are used up one a request; the last is repeated. `requests` holds what came, head and body as bytes,
    with the number of its connection."""

    def __init__(self, scripts: Sequence[Script]) -> None:
        self.scripts = list(scripts)
        self.requests: list[tuple[int, bytes, bytes]] = []
        self.connections = 0
        self.ended = 0
        self.url = ""
        self._serving: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        number = self.connections
        if (task := asyncio.current_task()) is not None:
            self._serving.add(task)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                body = await reader.readexactly(_content_length(head))
                self.requests.append((number, head, body))
                script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
                if not await self._play(script, reader, writer):
                    return
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass
        finally:
            self.ended += 1
            writer.close()
            with suppress(ConnectionError, ssl.SSLError, TimeoutError):
                await writer.wait_closed()

    async def stop(self) -> None:
        """Ends all connections."""
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _play(self, script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        for step in script:
            if isinstance(step, bytes):
                writer.write(step)
                await writer.drain()
            elif isinstance(step, float):
                await asyncio.sleep(step)
            elif step is Then.CLOSE:
                return False
            elif step is Then.RESET:
                raw: socket.socket = writer.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
                return False
            else:
                await reader.read()
                return False
        return True


def _content_length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


@asynccontextmanager
async def scripted_upstream(
    *scripts: Script, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[ScriptedUpstream]:
    """Serves on a free port."""
    upstream = ScriptedUpstream(scripts)
    server = await asyncio.start_server(upstream.serve, host, 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    upstream.url = f"{'https' if tls else 'http'}://{host}:{port}"
    try:
        yield upstream
    finally:
        server.close()
        await upstream.stop()


def upstream_at(url: str, *, first_byte_s: float = 5.0, idle_s: float = 5.0, connections: int = 10) -> Upstream:
    timeouts = Timeouts(connect_s=5.0, first_byte_s=first_byte_s, idle_s=idle_s)
    return Upstream(url, api_key="sk-upstream", timeouts=timeouts, connections=connections)


async def call(upstream: Upstream) -> tuple[int, bytes]:
    answer = await upstream.send("/v1/x", {"x-call": "1"}, b"{}")
    try:
        return answer.status, await all_of(answer)
    finally:
        answer.close()


async def all_of(answer: Answer) -> bytes:
    body = b""
    while piece := await answer.read():
        body += piece
    return body
