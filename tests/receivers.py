"""Receivers on loopback: of webhooks, and of e-mails. Both keep what they got."""

import asyncio
import socket
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from types import TracebackType
from typing import Any, Self

import uvicorn
from aiosmtpd.smtp import SMTP
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


@dataclass(frozen=True, slots=True)
class Got:
    """One request, as it came."""

    headers: dict[str, str]
    body: bytes
    status: int


class HookServer:
    """Answers with the statuses it was told, in order, then with 204; a status of 302 leads to `elsewhere`."""

    def __init__(self) -> None:
        self.got: list[Got] = []
        self.statuses: list[int] = []
        self.elsewhere = ""
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/hook?a=b"
        app = Starlette(routes=[Route("/{path:path}", self._receive, methods=["POST", "GET"])])
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))

    @property
    def accepted(self) -> list[Got]:
        """What it answered with success."""
        return [got for got in self.got if got.status < 300]

    async def _receive(self, request: Request) -> Response:
        status = self.statuses.pop(0) if self.statuses else 204
        self.got.append(Got(dict(request.headers), await request.body(), status))
        return Response(status_code=status, headers={"location": self.elsewhere} if status == 302 else None)

    async def __aenter__(self) -> Self:
        self._task = asyncio.ensure_future(self._server.serve(sockets=[self._socket]))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        await self._task


class MailBox:
    """An SMTP server (aiosmtpd); `refuse` makes it answer 451 that many times."""

    def __init__(self) -> None:
        self.letters: list[EmailMessage] = []
        self.refuse = 0

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if self.refuse:
            self.refuse -= 1
            return "451 not now"
        letter = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(letter, EmailMessage)
        self.letters.append(letter)
        return "250 OK"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.get_running_loop().create_server(
            lambda: SMTP(self, enable_SMTPUTF8=True), "127.0.0.1", 0
        )
        self.url = f"smtp://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
