"""A slow, dead or overloaded receiver does not delay the others."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Self

import pytest
from admin_client import settings_for
from alerting import KEYS, RULES
from conftest import Database
from factories import ADMIN, make_user
from gateways import wait_until
from notification_servers import WebhookServer
from pydantic import SecretStr

from admin_api.main import create_app
from admin_api.operations.notifications import outbox as sending
from admin_api.operations.notifications.channels import Sender
from admin_api.operations.notifications.outbox import MAX_IN_FLIGHT_EMAILS, MAX_IN_FLIGHT_PER_WEBHOOK, Outbox
from admin_api.operations.notifications.smtp import MailServer
from admin_api.operations.notifications.webhooks import create_webhook
from deploy.embedded.processes import free_port
from gateway.storage.postgres import Pool

HOUR = (timedelta(hours=1),)


class Silent:
    """Accepts connections and sends nothing until `disconnect`; counts the concurrent ones."""

    def __init__(self) -> None:
        self.open = self.maximum = self.taken = 0
        self._writers: list[asyncio.StreamWriter] | None = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.disconnect()
        self._server.close()
        await self._server.wait_closed()

    def disconnect(self) -> None:
        """Closes current and later connections."""
        writers, self._writers = self._writers or [], None
        for writer in writers:
            writer.close()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.taken += 1
        self.open += 1
        self.maximum = max(self.maximum, self.open)
        if self._writers is None:
            writer.close()
        else:
            self._writers.append(writer)
        # Until the other side closes it as well.
        await reader.read()
        self.open -= 1
        writer.close()


@pytest.fixture
async def silent() -> AsyncIterator[Silent]:
    async with Silent() as server:
        yield server


@pytest.fixture
async def hook() -> AsyncIterator[WebhookServer]:
    async with WebhookServer() as server:
        yield server


async def write_mails(pool: Pool, count: int) -> None:
    """One to each of so many people: what is due for one person is one e-mail."""
    people = [(await make_user(pool)).id for _ in range(count)]
    await pool.execute(
        "INSERT INTO deliveries (channel, user_id, event, payload) "
        "SELECT 'email', id, 'subscription.denied', $2 FROM unnest($1::bigint[]) AS id",
        people,
        '{"model": "small", "account": "ana", "reason": "not now"}',
    )


async def write_notifications(pool: Pool, url: str, count: int) -> None:
    """Messages to a webhook there."""
    await create_webhook(pool, ADMIN, KEYS, RULES, url=url, events=["subscription.denied"])
    await pool.execute(
        "INSERT INTO deliveries (channel, webhook_id, event, payload) SELECT 'webhook', "
        "(SELECT max(id) FROM webhooks), 'subscription.denied', '{}' FROM generate_series(1, $1)",
        count,
    )


def mail_at(port: int) -> MailServer:
    return MailServer(SecretStr(f"smtp://127.0.0.1:{port}"), "LiteMaaS <litemaas@example.com>", None)


def sender(mail_port: int | None = None) -> Sender:
    return Sender(keys=KEYS, rules=RULES, pauses=HOUR, mail=None if mail_port is None else mail_at(mail_port))


async def send_until(outbox: Outbox, arrived: int) -> None:
    """Sends like the scheduler. A busy machine may be as slow as a receiver."""
    async with asyncio.timeout(30):
        while outbox.delivered < arrived:
            await outbox.send_due()


async def test_emails_to_a_dead_server_do_not_delay_a_webhook(pool: Pool, hook: WebhookServer) -> None:
    await write_mails(pool, 100)
    await write_notifications(pool, hook.url, 1)
    outbox = Outbox(pool, sender(free_port()))

    await outbox.begin_due()
    await outbox.close(grace_s=30)
    first = len(hook.accepted)
    # Each of them is attempted, and none arrives.
    async with asyncio.timeout(30):
        while await pool.fetchval("SELECT count(*) FROM deliveries WHERE channel = 'email' AND tries = 0"):
            await outbox.send_due()
    await outbox.close(grace_s=30)

    assert first == 1
    assert await pool.fetchval("SELECT count(*) FROM deliveries WHERE channel = 'email' AND tries = 1") == 100


async def test_trusted_certificates_are_not_loaded_for_each_message(
    pool: Pool, hook: WebhookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each load takes 20 ms of CPU time, which blocks the admin API."""
    await write_mails(pool, 20)
    await write_notifications(pool, hook.url, 20)
    outbox, read = Outbox(pool, sender(free_port())), []

    def load(self: ssl.SSLContext, *_: object, **__: object) -> None:
        read.append(self)

    for name in ("load_verify_locations", "set_default_verify_paths"):
        monkeypatch.setattr(ssl.SSLContext, name, load)
    await send_until(outbox, 20)
    await outbox.close(grace_s=30)

    assert outbox.delivered == 20
    assert len(read) <= 1


async def test_a_silent_receiver_with_many_messages_delays_no_other_and_keeps_to_its_maximum_in_flight(
    pool: Pool, hook: WebhookServer, silent: Silent
) -> None:
    await write_notifications(pool, f"http://127.0.0.1:{silent.port}/", 200)
    await write_notifications(pool, hook.url, 50)
    outbox = Outbox(pool, sender())

    await send_until(outbox, 50)
    arrived, waiting, taken = outbox.delivered, silent.open, silent.taken
    silent.disconnect()
    await outbox.close(grace_s=30)

    assert arrived == 50
    assert (waiting, taken, silent.maximum) == (MAX_IN_FLIGHT_PER_WEBHOOK,) * 3
    assert len({got.headers["webhook-id"] for got in hook.accepted}) == len(hook.got) == 50


async def test_a_new_message_is_sent_before_slow_attempts_end(pool: Pool, hook: WebhookServer, silent: Silent) -> None:
    await write_notifications(pool, f"http://127.0.0.1:{silent.port}/", MAX_IN_FLIGHT_PER_WEBHOOK)
    outbox = Outbox(pool, sender())

    async def send() -> None:
        while not hook.got:
            await outbox.send_due()

    async def come_later() -> None:
        await wait_until(all_wait, "the tries")
        await write_notifications(pool, hook.url, 1)

    async def all_wait() -> bool:
        return silent.open == MAX_IN_FLIGHT_PER_WEBHOOK

    await asyncio.gather(send(), come_later())
    still_waiting = silent.open
    silent.disconnect()
    await outbox.close(grace_s=30)

    assert still_waiting == MAX_IN_FLIGHT_PER_WEBHOOK
    assert len(hook.accepted) == 1


async def test_many_silent_receivers_share_the_total_maximum_in_flight(
    pool: Pool, silent: Silent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "MAX_IN_FLIGHT", 10)
    for _ in range(5):
        await write_notifications(pool, f"http://127.0.0.1:{silent.port}/", 10)
    outbox = Outbox(pool, sender())

    began = [await outbox.begin_due() for _ in range(3)]

    async def all_there() -> bool:
        return silent.open == 10

    await wait_until(all_there, "the tries")
    silent.disconnect()
    await outbox.close(grace_s=30)

    assert began == [10, 0, 0]
    assert silent.taken == 10


async def test_a_silent_mail_server_keeps_to_its_maximum_in_flight(pool: Pool, silent: Silent) -> None:
    await write_mails(pool, 40)
    outbox = Outbox(pool, sender(silent.port))

    began = [await outbox.begin_due() for _ in range(3)]
    silent.disconnect()
    await outbox.close(grace_s=30)

    assert began == [MAX_IN_FLIGHT_EMAILS, 0, 0]


async def test_a_delivery_cut_off_at_shutdown_is_repeated_with_the_same_id(
    pool: Pool, hook: WebhookServer, silent: Silent
) -> None:
    await write_notifications(pool, f"http://127.0.0.1:{silent.port}/", 2)
    outbox = Outbox(pool, sender())
    await outbox.begin_due()
    await outbox.close(grace_s=0.2)
    ids = {row["message_id"] for row in await pool.fetch("SELECT message_id FROM deliveries")}
    # The leases end, and the receiver recovers.
    await pool.execute("UPDATE deliveries SET next_try_at = now()")
    await pool.execute("UPDATE webhooks SET url = $1", hook.url)
    again = Outbox(pool, sender())
    await again.send_due()
    await again.close(grace_s=30)

    assert again.delivered == 2
    assert {got.headers["webhook-id"] for got in hook.accepted} == {str(one) for one in ids}
    assert await pool.fetchval("SELECT max(tries) FROM deliveries") == 2


async def test_an_attempt_in_progress_may_complete_at_shutdown(pool: Pool, hook: WebhookServer) -> None:
    await write_notifications(pool, hook.url, MAX_IN_FLIGHT_PER_WEBHOOK)
    outbox = Outbox(pool, sender())
    await outbox.begin_due()
    await outbox.close(grace_s=30)

    assert outbox.delivered == len(hook.accepted) == MAX_IN_FLIGHT_PER_WEBHOOK


async def test_a_silent_mail_server_does_not_block_name_resolution(
    database: Database, pool: Pool, hook: WebhookServer, silent: Silent
) -> None:
    """Both use threads of one pool."""
    await write_mails(pool, 40)
    settings = settings_for(
        database.app_url, smtp_url=f"smtp://127.0.0.1:{silent.port}", mail_from="a@example.com",
        webhook_allow_http=True, webhook_networks="127.0.0.0/8,::1/128",
    )  # fmt: skip
    app = create_app(settings)
    async with app.router.lifespan_context(app):

        async def all_talk() -> bool:
            return silent.open == MAX_IN_FLIGHT_EMAILS

        async def has_arrived() -> bool:
            return len(hook.accepted) == 1

        await wait_until(all_talk, "the mail server's places")
        await write_notifications(pool, hook.url.replace("127.0.0.1", "localhost"), 1)
        await wait_until(has_arrived, "the webhook's message")
        tried = silent.taken
        silent.disconnect()

    # It did not come when the first of them were given up.
    assert tried == MAX_IN_FLIGHT_EMAILS
