"""Sends e-mails to the mail server: with TLS if the server offers it, and never a password without TLS."""

import smtplib
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

from admin_api.tls import trusted

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import SecretStr


class MailError(Exception):
    """An e-mail that was not accepted. The message is for admins and contains nothing from the server's response.

    `status` and `answer` are the server's words about sender, recipient or text, never about a login, which they may
    repeat. `is_permanent`: it will never take this e-mail."""

    def __init__(
        self, message: str, *, is_permanent: bool = False, status: int | None = None, answer: str | None = None
    ) -> None:
        super().__init__(message)
        self.is_permanent, self.status, self.answer = is_permanent, status, answer


@dataclass(frozen=True, slots=True)
class MailServer:
    """`url` is smtp://user:password@host:587 (STARTTLS if offered, required with a user) or smtps://…"""

    url: "SecretStr" = field(repr=False)
    sender: str
    ca_file: "Path | None" = None


def send_email(server: MailServer, email: EmailMessage, *, timeout_s: float) -> None:
    """Raises MailError. Blocking, as the standard library's client is enough for a few e-mails per minute."""
    _with_connection(server, timeout_s, lambda connection: connection.send_message(email))


def log_in_once(server: MailServer, *, timeout_s: float) -> None:
    """Connects and logs in, and sends nothing. Raises MailError. Blocking."""
    _with_connection(server, timeout_s, lambda connection: connection.noop())


def _with_connection(server: MailServer, timeout_s: float, act: Callable[[smtplib.SMTP], object]) -> None:
    url = urlsplit(server.url.get_secret_value())
    try:
        context = trusted(server.ca_file)
    except OSError:
        raise MailError("LITEMAAS_SMTP_CA_FILE cannot be read or contains no certificate.") from None
    try:
        with _connect(url, context, timeout_s) as connection:
            if url.username is not None:
                _log_in(connection, unquote(url.username), unquote(url.password or ""))
            act(connection)
    except (OSError, smtplib.SMTPException) as exc:
        code, answer = _said(exc)
        raise MailError(_explain(exc), is_permanent=_is_permanent(exc), status=code, answer=answer) from None


def _connect(url: SplitResult, context: ssl.SSLContext, timeout_s: float) -> smtplib.SMTP:
    host = url.hostname or ""
    if url.scheme == "smtps":
        return smtplib.SMTP_SSL(host, url.port or 465, timeout=timeout_s, context=context)
    connection = smtplib.SMTP(host, url.port or 587, timeout=timeout_s)
    try:
        connection.ehlo()
        if connection.has_extn("starttls"):
            _begin_tls(connection, context)
        elif url.username is not None:
            # A man in the middle may have removed the offer from the server's response.
            raise MailError("The mail server offers no STARTTLS, and passwords are sent over TLS only.")
    except BaseException:
        connection.close()
        raise
    return connection


def _begin_tls(connection: smtplib.SMTP, context: ssl.SSLContext) -> None:
    try:
        connection.starttls(context=context)
    except smtplib.SMTPResponseException as exc:
        raise MailError(f"The mail server offers STARTTLS but rejected it ({exc.smtp_code}).") from None


def _log_in(connection: smtplib.SMTP, user: str, password: str) -> None:
    try:
        connection.login(user, password)
    except (smtplib.SMTPResponseException, smtplib.SMTPServerDisconnected):
        raise
    except smtplib.SMTPException:
        raise MailError("The mail server has no supported login method, but LITEMAAS_SMTP_URL has a user.") from None


def _is_permanent(exc: Exception) -> bool:
    """Whether the server will never take this recipient or text. A refused sender, a missing login and what its policy
    forbids (5.7.x of RFC 3463, as relaying) are for an operator to mend, and a later attempt may succeed."""
    if not isinstance(exc, smtplib.SMTPRecipientsRefused | smtplib.SMTPDataError):
        return False
    code, answer = _said(exc)
    return code is not None and code >= 500 and code != 530 and not (answer or "").startswith("5.7.")


def _said(exc: Exception) -> tuple[int | None, str | None]:
    """The server's status and words, where they are not about a login."""
    code: int
    text: bytes | str
    match exc:
        case smtplib.SMTPRecipientsRefused(recipients=refused) if refused:
            code, text = next(iter(refused.values()))
        case smtplib.SMTPSenderRefused() | smtplib.SMTPDataError():
            code, text = exc.smtp_code, exc.smtp_error
        case _:
            return None, None
    return code, text.decode(errors="replace") if isinstance(text, bytes) else text


def _explain(exc: Exception) -> str:
    """An error message without the server's own text, which may repeat what was sent."""
    code = getattr(exc, "smtp_code", None)
    match exc:
        case smtplib.SMTPAuthenticationError():
            problem = "rejected the user or password of LITEMAAS_SMTP_URL"
        case smtplib.SMTPRecipientsRefused():
            problem, code = "rejected the recipient", next((code for code, _ in exc.recipients.values()), None)
        case smtplib.SMTPSenderRefused(smtp_code=530):
            problem = "requires a login or TLS"
        case smtplib.SMTPSenderRefused():
            problem = "rejected the sender, LITEMAAS_MAIL_FROM"
        case smtplib.SMTPServerDisconnected():
            problem = "closed the connection"
        case smtplib.SMTPResponseException():
            problem = "rejected the e-mail"
        case ssl.SSLCertVerificationError():
            problem = "has an untrusted certificate; set LITEMAAS_SMTP_CA_FILE to its CA"
        case OSError():
            problem = f"cannot be reached: {type(exc).__name__}"
        case _:
            problem = f"did not accept the e-mail: {type(exc).__name__}"
    return f"The mail server {problem}{f' ({code})' if code else ''}."
