"""The mail server that takes e-mails: over TLS wherever it can, and never a password without."""

import smtplib
import ssl
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

from admin_api.tls import trusted

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import SecretStr


class MailError(Exception):
    """A letter that was not taken; the message is for admins, and holds nothing that the server said."""


@dataclass(frozen=True, slots=True)
class MailServer:
    """smtp://user:password@host:587 (with STARTTLS where offered; always if there is a user) or smtps://…"""

    url: "SecretStr" = field(repr=False)
    sender: str
    ca_file: "Path | None" = None


def hand_over(server: MailServer, letter: EmailMessage, *, timeout_s: float) -> None:
    """Raises MailError. Blocks, as the standard library's client does: a few letters a minute need no other one."""
    url = urlsplit(server.url.get_secret_value())
    try:
        context = trusted(server.ca_file)
    except OSError:
        raise MailError("LITEMAAS_SMTP_CA_FILE can not be read, or holds no certificate.") from None
    try:
        with _connect(url, context, timeout_s) as connection:
            if url.username is not None:
                _log_in(connection, unquote(url.username), unquote(url.password or ""))
            connection.send_message(letter)
    except (OSError, smtplib.SMTPException) as exc:
        raise MailError(_explain(exc)) from None


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
            # Somebody in between may have taken the offer out of its answer.
            raise MailError("The mail server offers no STARTTLS, and a password goes out over TLS only.")
    except BaseException:
        connection.close()
        raise
    return connection


def _begin_tls(connection: smtplib.SMTP, context: ssl.SSLContext) -> None:
    try:
        connection.starttls(context=context)
    except smtplib.SMTPResponseException as exc:
        raise MailError(f"The mail server refused STARTTLS, which it offers ({exc.smtp_code}).") from None


def _log_in(connection: smtplib.SMTP, user: str, password: str) -> None:
    try:
        connection.login(user, password)
    except (smtplib.SMTPResponseException, smtplib.SMTPServerDisconnected):
        raise
    except smtplib.SMTPException:
        raise MailError("The mail server takes no log-in of a kind known here; LITEMAAS_SMTP_URL has a user.") from None


def _explain(exc: Exception) -> str:
    """Its own words may repeat what was sent, so they are left out."""
    code = getattr(exc, "smtp_code", None)
    match exc:
        case smtplib.SMTPAuthenticationError():
            said = "refused the user or the password of LITEMAAS_SMTP_URL"
        case smtplib.SMTPRecipientsRefused():
            said, code = "refused the recipient", next((code for code, _ in exc.recipients.values()), None)
        case smtplib.SMTPSenderRefused(smtp_code=530):
            said = "wants a log-in or TLS first"
        case smtplib.SMTPSenderRefused():
            said = "refused the sender, LITEMAAS_MAIL_FROM"
        case smtplib.SMTPServerDisconnected():
            said = "hung up"
        case smtplib.SMTPResponseException():
            said = "refused"
        case ssl.SSLCertVerificationError():
            said = "has a certificate that is not trusted; LITEMAAS_SMTP_CA_FILE may name its CA"
        case OSError():
            said = f"can not be reached: {type(exc).__name__}"
        case _:
            said = f"did not take it: {type(exc).__name__}"
    return f"The mail server {said}{f' ({code})' if code else ''}."
