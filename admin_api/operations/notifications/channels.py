"""One attempt to send a message: to a webhook, signed according to Standard Webhooks, or as an e-mail.

At-least-once delivery: a row is leased, sent, then marked. If the process dies in between, it is sent again with the
same `webhook-id` (for e-mail: the same Message-ID), which lets the receiver recognize duplicates.
"""

import asyncio
import base64
import hmac
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.utils import format_datetime
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit
from uuid import uuid5

import structlog

from admin_api.encryption import EncryptionError, SecretKeys
from admin_api.operations.notifications.email_texts import write_digest, write_email
from admin_api.operations.notifications.smtp import MailError, MailServer, send_email
from admin_api.operations.notifications.webhook_bodies import write_body
from admin_api.operations.notifications.webhook_urls import WebhookURLError, WebhookURLRules, resolve
from admin_api.storage.deliveries import Channel, Delivery
from admin_api.tls import trusted

if TYPE_CHECKING:
    from pathlib import Path

    import httpx2


log = structlog.get_logger(__name__)

PREFIX: Final = "whsec_"
PURPOSE: Final = "webhook"
TRY_S: Final = 10.0
# Pauses after failed attempts; after the last the delivery has failed. Two days in total.
PAUSES: Final = tuple(timedelta(seconds=s) for s in (5, 30, 120, 600, 3600, 4 * 3600, 12 * 3600, 24 * 3600))
MAX_ERROR: Final = 300
# What is kept of a receiver's answer, in characters; read for it, in bytes and seconds.
MAX_ANSWER: Final = 200
MAX_ANSWER_BYTES: Final = 4096
ANSWER_S: Final = 2.0
# The 4xx that the same message may survive later: timeout, conflict, misdirected, locked, too early, too many. The
# others say that the receiver will not take it, as Slack's 400 `no_text` or 410 `channel_is_archived`.
PASSING_4XX: Final = frozenset({408, 409, 421, 423, 425, 429})


class SendError(Exception):
    """A failed attempt. The message is shown to admins and contains nothing from the receiver's response."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """How one attempt ended. `error` None: delivered. `is_permanent`: another attempt would end in the same way.
    `status` and `answer` are the receiver's, None without any; the answer is one line of printable characters."""

    error: str | None = None
    is_permanent: bool = False
    status: int | None = None
    answer: str | None = None

    @classmethod
    def of_answer(cls, status: int, answer: str | None) -> Self:
        """A webhook's answer. A redirect fails, as it would bypass the check of the address."""
        if 200 <= status < 300:
            return cls(status=status, answer=answer)
        is_permanent = 400 <= status < 500 and status not in PASSING_4XX
        error = f"The receiver answered with status {status}."
        return cls(error=error, is_permanent=is_permanent, status=status, answer=answer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Settings for sending. `keys` decrypt the signing secrets of webhooks. Without a mail server e-mails wait."""

    keys: SecretKeys
    mail: MailServer | None = None
    rules: WebhookURLRules = field(default_factory=WebhookURLRules)
    ca_file: "Path | None" = None
    pauses: Sequence[timedelta] = PAUSES


def new_signing_secret() -> str:
    """A signing secret of Standard Webhooks: `whsec_` and 32 random bytes in base64."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """HMAC-SHA256 over `id.timestamp.body` (github.com/standard-webhooks, version 1)."""
    key = base64.b64decode(secret.removeprefix(PREFIX))
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


async def try_once(sender: Sender, deliveries: Sequence[Delivery]) -> Attempt:
    """Sends one message to a webhook, or what is due for one person as one e-mail. Raises nothing."""
    delivery = deliveries[0]
    try:
        async with asyncio.timeout(2 * TRY_S):
            return await SENDERS[delivery.channel](sender, deliveries)
    except MailError as exc:
        answer = None if exc.answer is None else one_line(exc.answer)
        return Attempt(error=str(exc)[:MAX_ERROR], is_permanent=exc.is_permanent, status=exc.status, answer=answer)
    except (SendError, WebhookURLError, EncryptionError, TimeoutError) as exc:
        return Attempt(error=(str(exc) or "It took too long.")[:MAX_ERROR])
    except Exception as exc:
        # A bug counts as a failed attempt, too: otherwise it would be retried every minute forever, without an error.
        log.error("delivery_broke", delivery=delivery.id, channel=delivery.channel, exc_info=exc)
        return Attempt(error="Internal error; see the log of the admin API.")


async def post_webhook(sender: Sender, deliveries: Sequence[Delivery]) -> Attempt:
    """Raises SendError, WebhookURLError or EncryptionError if nothing was answered."""
    (delivery,) = deliveries
    # Imported only here: it takes longer to load than the rest of a command.
    import httpx2

    if delivery.secret is None or delivery.url is None or delivery.format is None:
        raise SendError("The webhook was deleted.")
    secret = sender.keys.decrypt(delivery.secret, purpose=PURPOSE, row=delivery.webhook_id).decode()
    url, timestamp = urlsplit(delivery.url), round(datetime.now(UTC).timestamp())
    body = write_body(delivery, delivery.format)
    host = url.hostname or ""
    port = url.port or (443 if url.scheme == "https" else 80)
    address = await resolve(host, port, sender.rules)
    headers = {
        "host": url.netloc,
        "content-type": "application/json",
        "user-agent": "LiteMaaS",
        "accept-encoding": "identity",
        "webhook-id": str(delivery.message_id),
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(secret, str(delivery.message_id), timestamp, body),
    }
    host_part = f"[{address}]" if ":" in address else address
    path = url.path or "/"
    target = f"{url.scheme}://{host_part}:{port}{path}" + (f"?{url.query}" if url.query else "")
    try:
        verify = trusted(sender.ca_file)
    except OSError:
        raise SendError("LITEMAAS_WEBHOOK_CA_FILE cannot be read or contains no certificate.") from None
    async with httpx2.AsyncClient(timeout=TRY_S, verify=verify, trust_env=False, follow_redirects=False) as client:
        try:
            # Connects to the checked address, and verifies the certificate against the host name.
            request = client.build_request("POST", target, content=body, headers=headers)
            request.extensions["sni_hostname"] = host
            answer = await client.send(request, stream=True)
        except httpx2.HTTPError as exc:
            raise SendError(f"The receiver did not answer: {type(exc).__name__}.") from None
        return Attempt.of_answer(answer.status_code, await _read_text(answer))


async def _read_text(answer: "httpx2.Response") -> str | None:
    """The beginning of the answer's body; None if it has none, is compressed, or is not text. Whatever goes wrong here
    changes nothing of what the status says."""
    import httpx2

    got = b""
    with suppress(httpx2.HTTPError, TimeoutError):
        async with asyncio.timeout(ANSWER_S):
            async for chunk in answer.aiter_raw():
                got += chunk[:MAX_ANSWER_BYTES]
                if len(got) >= MAX_ANSWER_BYTES:
                    break
    with suppress(httpx2.HTTPError, TimeoutError):
        async with asyncio.timeout(ANSWER_S):
            await answer.aclose()
    if "content-encoding" in answer.headers or b"\0" in got:
        return None
    return one_line(got.decode(errors="replace"))


def one_line(text: str) -> str | None:
    """The first MAX_ANSWER characters, without line breaks or anything else that a terminal obeys; None for nothing."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(shown.split())[:MAX_ANSWER] or None


async def _post_mail(sender: Sender, deliveries: Sequence[Delivery]) -> Attempt:
    delivery = deliveries[0]
    if sender.mail is None or delivery.email is None:
        raise SendError("There is no mail server.")
    message_id, date = delivery.message_id, delivery.created_at
    if len(deliveries) == 1:
        subject, text = write_email(delivery.event, delivery.payload, delivery.locale)
    else:
        # The same id for another try of the same messages.
        message_id = uuid5(message_id, ",".join(str(one.message_id) for one in deliveries))
        date = datetime.now(UTC)
        entries = [(one.created_at, one.event, one.payload) for one in deliveries]
        subject, text = write_digest(entries, delivery.locale)
    email = EmailMessage()
    email["From"], email["To"], email["Subject"] = sender.mail.sender, delivery.email, subject
    email["Date"] = format_datetime(date)
    domain = sender.mail.sender.rpartition("@")[2].strip(">") or "localhost"
    email["Message-ID"] = f"<{message_id}@{domain}>"
    email["Auto-Submitted"] = "auto-generated"
    email.set_content(text)
    await asyncio.to_thread(send_email, sender.mail, email, timeout_s=TRY_S)
    return Attempt()


SENDERS: Final[dict[Channel, Callable[[Sender, Sequence[Delivery]], Awaitable[Attempt]]]] = {
    "webhook": post_webhook,
    "email": _post_mail,
}
