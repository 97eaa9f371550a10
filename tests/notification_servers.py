"""Servers on loopback that receive and keep webhooks and e-mails."""

import asyncio
import ssl
import warnings
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from types import TracebackType
from typing import Any, Self

from aiosmtpd.smtp import SMTP, AuthResult
from loopback_servers import LoopbackServer
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """One received request."""

    headers: dict[str, str]
    body: bytes
    status: int


class WebhookServer(LoopbackServer):
    """Responds with the statuses set by the test, in order, then with 204; a 302 redirects to `elsewhere`. Responses
    have the body `answer`."""

    def __init__(self) -> None:
        self.got: list[ReceivedRequest] = []
        self.statuses: list[int] = []
        self.elsewhere = ""
        self.answer = b""
        super().__init__([Route("/{path:path}", self._receive, methods=["POST", "GET"])])
        self.url += "/hook?a=b"

    @property
    def accepted(self) -> list[ReceivedRequest]:
        """The requests it responded to with success."""
        return [got for got in self.got if got.status < 300]

    async def _receive(self, request: Request) -> Response:
        status = self.statuses.pop(0) if self.statuses else 204
        self.got.append(ReceivedRequest(dict(request.headers), await request.body(), status))
        headers = {"location": self.elsewhere} if status == 302 else None
        return Response(None if status == 204 else self.answer, status_code=status, headers=headers)


class _Session(SMTP):
    """Keeps the data received before TLS, and may refuse STARTTLS."""

    def __init__(self, mail_server: "SMTPServer", **options: Any) -> None:
        super().__init__(mail_server, enable_SMTPUTF8=True, **options)
        self._mail_server = mail_server

    def data_received(self, data: bytes) -> None:
        if self._tls_protocol is None and self._mail_server.begins_with_tls is False:
            self._mail_server.received_in_clear += data
        super().data_received(data)

    async def smtp_STARTTLS(self, arg: str) -> None:
        if self._mail_server.refuses_starttls:
            await self.push("454 TLS not available due to temporary reason")
            return
        await super().smtp_STARTTLS(arg)


class SMTPServer:
    """An SMTP server (aiosmtpd) that responds 451 `refuse` times, and to recipients `refuses_recipients` if set.
    With a `login` it requires authentication, offered over TLS only if it has a context for that."""

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        login: tuple[str, str] | None = None,
        begins_with_tls: bool = False,
    ) -> None:
        self.emails: list[EmailMessage] = []
        self.refuse = 0
        self.refuses_starttls = False
        self.refuses_recipients = ""
        self.received_in_clear = b""
        self.begins_with_tls = begins_with_tls
        self.login = login
        self.logins: list[tuple[str, str]] = []
        self._tls = tls

    def _authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        credentials = (data.login.decode(), data.password.decode())
        self.logins.append(credentials)
        return AuthResult(success=credentials == self.login, handled=False)

    def _new_session(self) -> _Session:
        starttls = self._tls if not self.begins_with_tls else None
        options: dict[str, Any] = {"tls_context": starttls, "auth_require_tls": starttls is not None}
        if self.login is not None:
            options |= {"authenticator": self._authenticate, "auth_required": True}
        else:
            options["auth_exclude_mechanism"] = ("LOGIN", "PLAIN")
        with warnings.catch_warnings():
            # aiosmtpd warns of authentication without TLS, which is tested here.
            warnings.simplefilter("ignore", UserWarning)
            return _Session(self, **options)

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if self.refuses_recipients:
            return self.refuses_recipients
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if self.refuse:
            self.refuse -= 1
            return "451 not now"
        email = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(email, EmailMessage)
        self.emails.append(email)
        return "250 OK"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.get_running_loop().create_server(
            self._new_session, "127.0.0.1", 0, ssl=self._tls if self.begins_with_tls else None
        )
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.url = f"smtp://127.0.0.1:{self.port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
