"""LiteLLM at one or several addresses: the least busy that serves; another one where a call was surely not taken."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from time import monotonic
from typing import TypeVar

import structlog

from gateway.domain.breaker import Breaker
from gateway.upstream.client import Answer, Body, Conversation, Upstream, UpstreamBroken, UpstreamUnreachable

log = structlog.get_logger(__name__)


_Opened = TypeVar("_Opened", Answer, Conversation)


def _is_away(opened: Answer | Conversation) -> bool:
    if isinstance(opened, Conversation):
        return False
    # A 5xx with LiteLLM's own headers is a failure of a model, not of LiteLLM.
    return opened.status >= 502 and not any(name.lower().startswith("x-litellm-") for name in opened.headers)


class _Server:
    __slots__ = ("breaker", "calls", "upstream")

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.breaker = Breaker()
        self.calls = 0


class UpstreamPool:
    """Chooses an address for each call."""

    def __init__(self, upstreams: Sequence[Upstream]) -> None:
        self._servers = [_Server(upstream) for upstream in upstreams]

    @asynccontextmanager
    async def open(self, path: str, headers: Mapping[str, str], body: Body) -> AsyncIterator[Answer]:
        """As Upstream.send. A second address is tried once, and only where no connection could be made: a call that
        may have been taken is never sent twice."""

        async def send(upstream: Upstream) -> Answer:
            return await upstream.send(path, headers, body)

        async with self._open(send) as answer:
            try:
                yield answer
            finally:
                answer.close()

    @asynccontextmanager
    async def converse(
        self, path: str, query: str, headers: Mapping[str, str], *, max_bytes: int
    ) -> AsyncIterator[Conversation]:
        """As Upstream.connect, at an address chosen as for a call."""

        async def connect(upstream: Upstream) -> Conversation:
            return await upstream.connect(path, query, headers, max_bytes=max_bytes)

        async with self._open(connect) as conversation:
            try:
                yield conversation
            finally:
                await conversation.close()

    @asynccontextmanager
    async def _open(self, send: Callable[[Upstream], Awaitable[_Opened]]) -> AsyncIterator[_Opened]:
        server = self._choose()
        server.calls += 1
        try:
            try:
                opened = await self._connect(server, send)
            except UpstreamUnreachable:
                other = self._choose(besides=server)
                server.calls -= 1
                other.calls += 1
                server = other
                opened = await self._connect(server, send)
            yield opened
        finally:
            server.calls -= 1

    def _choose(self, besides: _Server | None = None) -> _Server:
        now_s = monotonic()
        servers = [s for s in self._servers if s is not besides and s.breaker.admits(now_s)]
        if not servers:
            raise UpstreamUnreachable("no address serves")
        server = min(servers, key=lambda s: s.calls)
        server.breaker.sent(now_s)
        return server

    async def _connect(self, server: _Server, send: Callable[[Upstream], Awaitable[_Opened]]) -> _Opened:
        was_open = server.breaker.is_open
        try:
            opened = await send(server.upstream)
        except (UpstreamUnreachable, UpstreamBroken) as failure:
            server.breaker.failed(monotonic())
            if server.breaker.is_open and not was_open:
                log.warning("upstream_left_out", url=server.upstream.url, cause=str(failure))
            raise
        if _is_away(opened):
            server.breaker.failed(monotonic())
        else:
            server.breaker.served()
            if was_open:
                log.info("upstream_serves_again", url=server.upstream.url)
        return opened

    async def close(self) -> None:
        """Ends all connections."""
        for server in self._servers:
            await server.upstream.close()
