"""Passes on what the gateway answers, piece by piece.

A piece is read when the one before it was taken: who reads slowly makes the gateway slow, and not this program large.
Who leaves ends the call at the gateway, at whatever point it is.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Final

import httpx2
import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.domain.errors import GatewayError
from gateway.web.disconnects import InterruptOnDisconnect

log = structlog.get_logger(__name__)

PASSED_ON: Final = ("content-type", "retry-after", "x-request-id")
PREFIX_PASSED_ON: Final = "x-ratelimit-"
# nginx would collect pieces.
UNBUFFERED: Final = (b"x-accel-buffering", b"no")

OpenAnswer = Callable[[], AbstractAsyncContextManager[httpx2.Response]]
# The last piece, by the headers of an answer that is complete.
MakeLast = Callable[[Mapping[str, str]], Awaitable[bytes]]


class Relay(Response):
    """The gateway's status, body and headers; a refusal too. Behind a complete answer comes what `last` makes."""

    def __init__(self, open_answer: OpenAnswer, last: MakeLast) -> None:
        self._open_answer = open_answer
        self._last = last
        self._has_begun = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises GatewayError while nothing was sent."""
        with InterruptOnDisconnect(receive):
            try:
                await self._pass_on(send)
            except GatewayError as error:
                if not self._has_begun:
                    raise
                # The reader sees an end without the last piece.
                log.warning("relay_broke_off", code=error.code, cause=str(error.__cause__ or error))
                await send({"type": "http.response.body", "body": b""})

    async def _pass_on(self, send: Send) -> None:
        async with self._open_answer() as answer:
            headers = [(name.encode(), value.encode()) for name, value in passed_on(answer.headers).items()]
            await send({
                "type": "http.response.start", "status": answer.status_code, "headers": [*headers, UNBUFFERED],
            })  # fmt: skip
            self._has_begun = True
            async for piece in answer.aiter_raw():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        last = await self._last(answer.headers) if answer.status_code == 200 else b""
        await send({"type": "http.response.body", "body": last})


def passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    """Those of the gateway's headers that a browser may see."""
    return {n: v for n, v in headers.items() if n in PASSED_ON or n.startswith(PREFIX_PASSED_ON)}
