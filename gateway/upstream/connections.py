"""The connections to one address of LiteLLM: made, kept while idle, given to calls in turn, ended in time."""

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Final

import aiohappyeyeballs
from aiohappyeyeballs import AddrInfoType

from gateway.upstream.connection import Connection
from gateway.upstream.failures import UpstreamSilent, UpstreamUnreachable

# LiteLLM's server closes idle connections after 5 s: one that is about to be closed must not be used.
KEEP_ALIVE_S: Final = 4.0
# For so long the addresses of a host name are used.
RESOLVED_FOR_S: Final = 30.0
# RFC 8305: before a host's next address is tried beside the first.
NEXT_ADDRESS_S: Final = 0.25
# Receive buffer for the answer to a slow caller. It exists several times, in the kernel and in this process.
RECEIVED_AT_ONCE: Final = 32 * 1024
# Deadlines are compared about this often within the shortest time-out, but no more often than each MIN_SWEEP_S.
SWEEPS: Final = 20
MIN_SWEEP_S: Final = 0.01
MAX_SWEEP_S: Final = 0.5
# Linux: probes of a connection without traffic, and how long what was sent may stay unacknowledged. A host that is gone
# without a word is noticed by these, not by the time-out of the answer.
PROBE_AFTER_S: Final = 15
PROBE_EVERY_S: Final = 5
PROBES: Final = 3
UNACKNOWLEDGED_MS: Final = 30_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where to connect. `tls` gives the context of the next connection; None for plain HTTP."""

    host: str
    port: int
    tls: Callable[[], ssl.SSLContext] | None


def _new_socket(address: AddrInfoType) -> socket.socket:
    family, kind, protocol, *_ = address
    made = socket.socket(family=family, type=kind, proto=protocol)
    made.setblocking(False)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVED_AT_ONCE)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", PROBE_AFTER_S),
        ("TCP_KEEPINTVL", PROBE_EVERY_S),
        ("TCP_KEEPCNT", PROBES),
        ("TCP_USER_TIMEOUT", UNACKNOWLEDGED_MS),
    ):
        if hasattr(socket, name):
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return made


class Connections:
    """At most `limit` connections to `origin`. `shortest_s` is the shortest time-out of an answer.

    Idle connections are used newest first, so that those that are too many grow old. Who finds none waits in line."""

    def __init__(self, origin: Origin, *, limit: int, shortest_s: float) -> None:
        self._origin = origin
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        # Being made, or handed to somebody in line and not yet taken.
        self._promised = 0
        self._line: deque[asyncio.Future[Connection | None]] = deque()
        self._resolved: list[AddrInfoType] = []
        self._resolved_until = 0.0
        self._turn = count()
        self._sweep_s = min(MAX_SWEEP_S, max(MIN_SWEEP_S, shortest_s / SWEEPS))
        self._timer: asyncio.TimerHandle | None = None

    def take_idle(self) -> Connection | None:
        """An idle connection, if nobody is in line for one."""
        now = self._loop.time()
        while self._idle and not self._line:
            connection = self._idle.pop()
            if connection.is_usable and now - connection.idle_since < min(KEEP_ALIVE_S, connection.keep_alive_s):
                self._busy.add(connection)
                return connection
            connection.abort()
        return None

    async def take(self, connect_s: float) -> Connection:
        """An idle connection or a new one; waits in line while `limit` are busy.

        Raises UpstreamUnreachable if no connection could be made within `connect_s`."""
        if (idle := self.take_idle()) is not None:
            return idle
        if self._line or len(self._busy) + len(self._idle) + self._promised >= self._limit:
            connection = await self._wait_in_line()
        else:
            self._promised += 1
            connection = None
        if connection is None or not connection.is_usable:
            try:
                connection = await self._connect(connect_s)
            except BaseException:
                self._promised -= 1
                self._serve_line()
                raise
        self._promised -= 1
        self._busy.add(connection)
        self._start_sweeping()
        return connection

    async def _wait_in_line(self) -> Connection | None:
        place: asyncio.Future[Connection | None] = self._loop.create_future()
        self._line.append(place)
        try:
            return await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._promised -= 1
                if (connection := place.result()) is not None:
                    connection.abort()
                self._serve_line()
            raise

    def give_back(self, connection: Connection) -> None:
        """The exchange is over. The connection is kept if its answer was read to the end and another may follow, else
        it is broken, which cancels the upstream's work."""
        self._busy.discard(connection)
        if not (connection.is_at_end and connection.is_usable):
            connection.abort()
            self._serve_line()
            return
        connection.finish(self._loop.time())
        place = self._next_in_line()
        if place is None:
            self._idle.append(connection)
        else:
            self._promised += 1
            place.set_result(connection)

    def _next_in_line(self) -> "asyncio.Future[Connection | None] | None":
        while self._line:
            place = self._line.popleft()
            if not place.done():
                return place
        return None

    def _serve_line(self) -> None:
        while len(self._busy) + len(self._idle) + self._promised < self._limit:
            place = self._next_in_line()
            if place is None:
                return
            self._promised += 1
            place.set_result(None)

    def _lost(self, connection: Connection) -> None:
        # A busy one is counted until it is given back.
        if connection in self._idle:
            self._idle.remove(connection)

    async def _connect(self, connect_s: float) -> Connection:
        origin = self._origin
        try:
            async with asyncio.timeout(connect_s):
                made = await aiohappyeyeballs.start_connection(
                    await self._resolve(),
                    happy_eyeballs_delay=NEXT_ADDRESS_S,
                    loop=self._loop,
                    socket_factory=_new_socket,
                )
                try:
                    _, connection = await self._loop.create_connection(
                        lambda: Connection(self._lost),
                        sock=made,
                        ssl=origin.tls() if origin.tls else None,
                        server_hostname=origin.host if origin.tls else None,
                    )
                except BaseException:
                    made.close()
                    raise
        except TimeoutError as exc:
            raise UpstreamUnreachable(f"no connection to {origin.host}:{origin.port} in the set time") from exc
        except OSError as exc:
            raise UpstreamUnreachable(f"no connection to {origin.host}:{origin.port}: {exc}") from exc
        return connection

    async def _resolve(self) -> list[AddrInfoType]:
        """The addresses of the host, each time another one first: a name may stand for several LiteLLM servers."""
        if self._loop.time() >= self._resolved_until:
            infos = await self._loop.getaddrinfo(self._origin.host, self._origin.port, type=socket.SOCK_STREAM)
            if not infos:
                raise OSError("the name has no address")
            self._resolved = list(infos)
            self._resolved_until = self._loop.time() + RESOLVED_FOR_S
        first = next(self._turn) % len(self._resolved)
        return self._resolved[first:] + self._resolved[:first]

    def _start_sweeping(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(self._sweep_s, self._sweep)

    def _sweep(self) -> None:
        """Ends waits whose deadline is over, and idle connections that are too old."""
        now = self._loop.time()
        for connection in [busy for busy in self._busy if busy.deadline <= now]:
            connection.expire(UpstreamSilent("nothing came for the set time"))
        kept = [idle for idle in self._idle if now - idle.idle_since < min(KEEP_ALIVE_S, idle.keep_alive_s)]
        for connection in set(self._idle).difference(kept):
            connection.abort()
        self._idle = kept
        self._timer = None
        if self._busy or self._idle:
            self._start_sweeping()

    def close(self) -> None:
        """Ends all connections; waits that are under way fail."""
        if self._timer is not None:
            self._timer.cancel()
        for connection in [*self._idle, *self._busy]:
            connection.abort()
        self._idle = []
