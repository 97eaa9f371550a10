"""Receivers on loopback: of webhooks, and of e-mails. Both keep what they got."""

import asyncio
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from types import TracebackType
from typing import Any, Self

from aiosmtpd.smtp import SMTP
from stand_ins import LoopbackServer
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


@dataclass(frozen=True, slots=True)
class Got:
    """One request, as it came."""

    headers: dict[str, str]
    body: bytes
    status: int


class HookServer(LoopbackServer):
    """Answers with the statuses it was told, in order, then with 204; a status of 302 leads to `elsewhere`."""

    def __init__(self) -> None:
        self.got: list[Got] = []
        self.statuses: list[int] = []
        self.elsewhere = ""
        super().__init__([Route("/{path:path}", self._receive, methods=["POST", "GET"])])
        self.url += "/hook?a=b"

    @property
    def accepted(self) -> list[Got]:
        """What it answered with success."""
        return [got for got in self.got if got.status < 300]

    async def _receive(self, request: Request) -> Response:
        status = self.statuses.pop(0) if self.statuses else 204
        self.got.append(Got(dict(request.headers), await request.body(), status))
        return Response(status_code=status, headers={"location": self.elsewhere} if status == 302 else None)


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
