"""Small HTTP servers on loopback that replace programs the tests do not start."""

import asyncio
import socket
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


class LoopbackServer:
    """A Starlette app on a loopback socket, bound in the constructor: the port is taken before anyone connects."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.app = Starlette(routes=routes)

    async def __aenter__(self) -> Self:
        self._server = uvicorn.Server(uvicorn.Config(self.app, log_level="error", lifespan="off"))
        self._task = asyncio.ensure_future(self._server.serve(sockets=[self._socket]))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        await self._task


class LiteLLMInfoServer(LoopbackServer):
    """LiteLLM's `GET /model/info`, with the response set by the test."""

    KEY: Final = "sk-the-key-of-litellm"

    def __init__(self) -> None:
        self._body, self._status = '{"data":[]}', 200
        super().__init__([Route("/model/info", self._model_info)])

    def answer(self, body: str, *, status: int = 200) -> None:
        self._body, self._status = body, status

    async def _model_info(self, request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {self.KEY}":
            return Response('{"error":{"message":"wrong key"}}', 401)
        return Response(self._body, self._status, media_type="application/json")
