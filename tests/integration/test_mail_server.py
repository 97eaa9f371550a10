"""E-mails to a real SMTP server with TLS and authentication: errors are reported and retried, no password leaks."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest
from alerting import AT_ONCE, KEYS, send_due
from certificates import Certificate
from factories import make_user
from notification_servers import SMTPServer
from pydantic import SecretStr, ValidationError

from admin_api.notification_settings import NotificationSettings
from admin_api.operations.notifications.channels import Sender
from admin_api.operations.notifications.smtp import MailServer
from admin_api.reported_settings import explain
from gateway.storage.postgres import Pool

USER, PASSWORD = "litemaas", "planted p@ssword/0123456789"
IN_URL: Final = "litemaas:planted%20p%40ssword%2F0123456789@"
PATIENT: Final = (timedelta(hours=1),)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("mail"))


@pytest.fixture
async def outbox(pool: Pool) -> Pool:
    """An outbox with one e-mail."""
    payload = '{"model": "small", "account": "ana", "reason": "not now"}'
    await pool.execute(
        "INSERT INTO deliveries (channel, user_id, event, payload) VALUES ('email', $1, 'subscription.denied', $2)",
        (await make_user(pool)).id,
        payload,
    )
    return pool


def sender(
    box: SMTPServer, ca: Path | None, *, login: str = IN_URL, scheme: str = "smtp", patient: bool = False
) -> Sender:
    url = SecretStr(f"{scheme}://{login}127.0.0.1:{box.port}")
    mail = MailServer(url, "LiteMaaS <litemaas@example.com>", ca)
    return Sender(keys=KEYS, mail=mail, pauses=PATIENT if patient else AT_ONCE)


async def state(pool: Pool) -> tuple[str | None, int, bool]:
    """The last error, the number of attempts, and whether another one follows."""
    row = await pool.fetchrow(
        "SELECT last_error, tries, next_try_at > now() AND gave_up_at IS NULL AND delivered_at IS NULL AS waits "
        "FROM deliveries"
    )
    assert row is not None
    return row["last_error"], row["tries"], row["waits"]


@contextmanager
def no_password_in_clear(box: SMTPServer) -> Iterator[None]:
    yield
    plain = f"\0{USER}\0{PASSWORD}".encode()
    assert box.received_in_clear.upper().startswith(b"EHLO")
    assert b"AUTH" not in box.received_in_clear.upper()
    for said in (PASSWORD.encode(), base64.b64encode(PASSWORD.encode()), base64.b64encode(plain)):
        assert said not in box.received_in_clear


async def test_an_email_is_sent_over_starttls_with_authentication(outbox: Pool, certificate: Certificate) -> None:
    async with SMTPServer(tls=certificate.context, login=(USER, PASSWORD)) as box:
        with no_password_in_clear(box):
            assert await send_due(outbox, sender(box, certificate.file)) == 1

    assert box.logins == [(USER, PASSWORD)]
    assert [email["Subject"] for email in box.emails] == ["Access denied: small"]
    assert b"small" not in box.received_in_clear
    assert (await state(outbox))[:2] == (None, 1)


async def test_an_email_is_sent_over_implicit_tls(outbox: Pool, certificate: Certificate) -> None:
    async with SMTPServer(tls=certificate.context, login=(USER, PASSWORD), begins_with_tls=True) as box:
        assert await send_due(outbox, sender(box, certificate.file, scheme="smtps")) == 1

    assert (len(box.emails), box.logins) == (1, [(USER, PASSWORD)])


async def test_a_wrong_password_is_reported_and_the_email_arrives_once_it_is_corrected(
    outbox: Pool, certificate: Certificate
) -> None:
    async with SMTPServer(tls=certificate.context, login=(USER, "another")) as box:
        with no_password_in_clear(box):
            sent = await send_due(outbox, sender(box, certificate.file, patient=True))
        reported = await state(outbox)
        box.login = (USER, PASSWORD)
        await outbox.execute("UPDATE deliveries SET next_try_at = now()")
        again = await send_due(outbox, sender(box, certificate.file))

    assert (sent, again) == (0, 1)
    assert reported == ("The mail server rejected the user or password of LITEMAAS_SMTP_URL (535).", 1, True)
    assert len(box.emails) == 1


async def test_refused_starttls_is_reported_and_retried(outbox: Pool, certificate: Certificate) -> None:
    async with SMTPServer(tls=certificate.context, login=(USER, PASSWORD)) as box:
        box.refuses_starttls = True
        with no_password_in_clear(box):
            sent = await send_due(outbox, sender(box, certificate.file, patient=True))
        reported = await state(outbox)
        box.refuses_starttls = False
        await outbox.execute("UPDATE deliveries SET next_try_at = now()")
        again = await send_due(outbox, sender(box, certificate.file))

    assert (sent, again) == (0, 1)
    assert reported == ("The mail server offers STARTTLS but rejected it (454).", 1, True)


@pytest.mark.parametrize("login", [IN_URL, "litemaas@", "litemaas:@"])
async def test_a_server_without_starttls_receives_no_credentials(outbox: Pool, login: str) -> None:
    """It offers authentication without TLS, or an attacker removed its STARTTLS offer."""
    async with SMTPServer(login=(USER, PASSWORD)) as box:
        with no_password_in_clear(box):
            assert await send_due(outbox, sender(box, None, login=login, patient=True)) == 0

    assert (box.logins, box.emails) == ([], [])
    assert USER.encode() not in box.received_in_clear
    assert await state(outbox) == (
        "The mail server offers no STARTTLS, and passwords are sent over TLS only.", 1, True
    )  # fmt: skip


@pytest.mark.parametrize("login", [IN_URL, ""])
async def test_an_untrusted_certificate_is_refused(outbox: Pool, certificate: Certificate, login: str) -> None:
    async with SMTPServer(tls=certificate.context, login=(USER, PASSWORD)) as box:
        with no_password_in_clear(box):
            assert await send_due(outbox, sender(box, None, login=login, patient=True)) == 0

    assert (box.logins, box.emails) == ([], [])
    error, tries, waits = await state(outbox)
    assert "LITEMAAS_SMTP_CA_FILE" in str(error)
    assert (tries, waits) == (1, True)


async def test_a_missing_ca_file_is_reported(outbox: Pool, certificate: Certificate, tmp_path: Path) -> None:
    async with SMTPServer(tls=certificate.context) as box:
        assert await send_due(outbox, sender(box, tmp_path / "none.pem", login="", patient=True)) == 0

    assert await state(outbox) == ("LITEMAAS_SMTP_CA_FILE cannot be read or contains no certificate.", 1, True)


async def test_a_programming_error_is_a_failed_attempt_and_ends(outbox: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("admin_api.operations.notifications.channels.write_email", lambda *_: 1 / 0)
    async with SMTPServer() as box:
        while not await outbox.fetchval("SELECT gave_up_at IS NOT NULL FROM deliveries"):
            assert await send_due(outbox, sender(box, None, login="")) == 0

    assert await state(outbox) == (
        "Internal error; see the log of the admin API.", len(AT_ONCE) + 1, False
    )  # fmt: skip


@pytest.mark.parametrize(
    "url",
    [
        "smtp://user:planted/rest@127.0.0.1:587",  # where the password ends, and what is left of it as a port
        "smtp://user:587/planted@127.0.0.1",
        "smtp://user:planted#rest@127.0.0.1:587",
        "smtp://user:planted?rest@127.0.0.1:587",
        "smtp://user:planted[rest@127.0.0.1:587",
        "smtp://user:planted\u2100@127.0.0.1:587",
        "smtp://user:planted%C3%A9@127.0.0.1:587",
        "smtp://127.0.0.1:587000",
        "smtp://:587",
    ],
)
def test_an_ambiguous_smtp_url_is_refused_at_start(url: str) -> None:
    with pytest.raises(ValidationError) as refused:
        NotificationSettings.model_validate({"smtp_url": url, "mail_from": "litemaas@example.com"})
    said = explain(refused.value, NotificationSettings)

    assert "LITEMAAS_SMTP_URL: an address as smtp://" in said
    assert not any(part in said for part in ("planted", "rest"))


async def test_other_smtp_refusals_are_reported(outbox: Pool, certificate: Certificate) -> None:
    reported = []
    async with SMTPServer(tls=certificate.context) as box:
        box.refuse = 1
        await send_due(outbox, sender(box, certificate.file, login=""))
        reported.append((await state(outbox))[0])
        # It requires no authentication and offers none.
        await send_due(outbox, sender(box, certificate.file))
        reported.append((await state(outbox))[0])
    await send_due(outbox, sender(box, certificate.file))
    reported.append((await state(outbox))[0])
    async with SMTPServer(tls=certificate.context, login=(USER, PASSWORD)) as strict:
        await send_due(outbox, sender(strict, certificate.file, login=""))
        reported.append((await state(outbox))[0])

    assert reported == [
        "The mail server rejected the e-mail (451).",
        "The mail server has no supported login method, but LITEMAAS_SMTP_URL has a user.",
        "The mail server cannot be reached: ConnectionRefusedError.",
        "The mail server requires a login or TLS (530).",
    ]
