"""LiteLLM at one or several addresses: the least busy that serves; another one where a call was surely not taken."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import uniform
from time import monotonic
from types import TracebackType
from typing import Final, Generic, Literal, TypeVar, get_args

import structlog

from gateway.domain.breaker import Breaker
from gateway.tls import cure_tls
from gateway.upstream.client import Answer, Body, Upstream
from gateway.upstream.failures import UpstreamBroken, UpstreamRefused, UpstreamSilent, UpstreamUnreachable
from gateway.upstream.websocket import UpstreamWebSocket

log = structlog.get_logger(__name__)


_Opened = TypeVar("_Opened", Answer, UpstreamWebSocket)
# An address, and how long to wait for its connection; None: as long as usual.
_Send = Callable[[Upstream, float | None], Awaitable[_Opened]]

PROBE_S: Final = 0.5
MAX_PROBE_PAUSE_S: Final = 30.0
CONNECT_WHILE_OPEN_S: Final = 1.0


def _jitter() -> float:
    # So that workers do not probe all at once.
    return uniform(0.7, 1.0)  # noqa: S311  nobody gains by guessing it


def _is_away(opened: Answer | UpstreamWebSocket) -> bool:
    if isinstance(opened, UpstreamWebSocket):
        return False
    # A 5xx with LiteLLM's own headers is a failure of a model, not of LiteLLM.
    return opened.status >= 502 and not any(name.lower().startswith("x-litellm-") for name in opened.headers)


Cause = Literal["unreachable", "broken", "silent", "not_litellm"]
CAUSES: Final[dict[type[Exception], Cause]] = {
    UpstreamUnreachable: "unreachable",
    UpstreamBroken: "broken",
    UpstreamSilent: "silent",
}


class Server:
    """One address, and what has happened there. `calls` are being answered now; `answers` are by hundreds of their
    status."""

    __slots__ = ("answers", "breaker", "calls", "failures", "probe_at", "probe_pause_s", "upstream")

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.breaker = Breaker()
        self.calls = 0
        self.answers = [0] * 10
        self.failures: dict[Cause, int] = dict.fromkeys(get_args(Cause), 0)
        # When its health is asked for next, and how long after it has opened once more.
        self.probe_at = 0.0
        self.probe_pause_s = PROBE_S


class UpstreamPool:
    """Chooses an address for each call."""

    def __init__(self, upstreams: Sequence[Upstream]) -> None:
        self.servers = [Server(upstream) for upstream in upstreams]
        self._has_opened = asyncio.Event()

    def open(self, path: str, headers: Mapping[str, str], body: Body, *, method: str = "POST") -> "OpenedAt[Answer]":
        """To be entered: as Upstream.send, and closes the answer. A second address is tried once, and only where no
        connection could be made: a call that may have been taken is never sent twice."""
        return OpenedAt(
            self, lambda upstream, connect_s: upstream.send(path, headers, body, method=method, connect_s=connect_s)
        )

    def converse(
        self, path: str, query: str, headers: Mapping[str, str], *, max_bytes: int
    ) -> "OpenedAt[UpstreamWebSocket]":
        """As `open`, by Upstream.connect."""
        return OpenedAt(self, lambda upstream, _: upstream.connect(path, query, headers, max_bytes=max_bytes))

    def choose(self, besides: Server | None = None) -> Server:
        """The least busy that serves. Where none does, still one of them: a breaker spares callers a wait where there
        is somewhere else to go, and is no reason to refuse where there is not."""
        if besides is None and len(self.servers) == 1:
            return self.servers[0]
        others = [server for server in self.servers if server is not besides]
        if not others:
            raise UpstreamUnreachable("there is no other address")
        serving = [server for server in others if not server.breaker.is_open]
        return min(serving or others, key=lambda server: server.calls)

    async def connect(self, server: Server, send: _Send[_Opened]) -> _Opened:
        try:
            opened = await send(server.upstream, CONNECT_WHILE_OPEN_S if server.breaker.is_open else None)
        except (UpstreamUnreachable, UpstreamBroken, UpstreamSilent) as failure:
            server.failures[CAUSES[type(failure)]] += 1
            if not isinstance(failure, UpstreamSilent):
                self._failed(server, str(failure), cure_tls(failure, "LITEMAAS_LITELLM"))
            raise
        except UpstreamRefused as refused:
            server.answers[min(refused.status // 100, 9)] += 1
            raise
        if isinstance(opened, Answer):
            server.answers[min(opened.status // 100, 9)] += 1
        if _is_away(opened):
            server.failures["not_litellm"] += 1
            self._failed(server, "answers that LiteLLM did not sign")
        else:
            self._served(server)
            server.probe_pause_s = PROBE_S
        return opened

    def _failed(self, server: Server, cause: str, cure: str | None = None) -> None:
        was_open = server.breaker.is_open
        server.breaker.failed(monotonic())
        if server.breaker.is_open and not was_open:
            log.warning("upstream_left_out", url=server.upstream.url, cause=cause, **({"cure": cure} if cure else {}))
            server.probe_at = monotonic() + server.probe_pause_s * _jitter()
            # Its health route may answer while its calls fail: then callers meet it ever more rarely.
            server.probe_pause_s = min(2 * server.probe_pause_s, MAX_PROBE_PAUSE_S)
            self._has_opened.set()

    def _served(self, server: Server) -> None:
        if server.breaker.is_open:
            log.info("upstream_serves_again", url=server.upstream.url)
        server.breaker.served()

    async def run(self) -> None:
        """Probes the addresses whose breaker is open, until cancelled. No caller has to try them."""
        while True:
            await self._has_opened.wait()
            if not any(server.breaker.is_open for server in self.servers):
                self._has_opened.clear()
                continue
            await asyncio.sleep(PROBE_S / 5)
            now_s = monotonic()
            due = [server for server in self.servers if server.breaker.is_open and now_s >= server.probe_at]
            await asyncio.gather(*map(self._probe, due))

    async def _probe(self, server: Server) -> None:
        is_alive = await server.upstream.is_alive(PROBE_S)
        server.probe_at = monotonic() + PROBE_S * _jitter()
        if is_alive:
            self._served(server)

    async def close(self) -> None:
        """Ends all connections."""
        for server in self.servers:
            await server.upstream.close()


class OpenedAt(Generic[_Opened]):
    """A call at the address that was chosen for it, where it counts until it has ended."""

    __slots__ = ("_opened", "_pool", "_send", "_server")

    def __init__(self, pool: UpstreamPool, send: _Send[_Opened]) -> None:
        self._pool = pool
        self._send: _Send[_Opened] = send
        self._server: Server
        self._opened: _Opened

    async def __aenter__(self) -> _Opened:
        server = self._server = self._pool.choose()
        server.calls += 1
        try:
            try:
                self._opened = await self._pool.connect(server, self._send)
            except UpstreamUnreachable:
                other = self._pool.choose(besides=server)
                server.calls -= 1
                other.calls += 1
                server = self._server = other
                self._opened = await self._pool.connect(server, self._send)
        except BaseException:
            server.calls -= 1
            raise
        return self._opened

    async def __aexit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, where: TracebackType | None
    ) -> None:
        server, opened = self._server, self._opened
        try:
            if isinstance(opened, Answer):
                opened.close()
            else:
                await opened.close()
        finally:
            server.calls -= 1
            if opened.failure is not None:
                server.failures[CAUSES[opened.failure]] += 1
