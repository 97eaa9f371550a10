"""Sends the messages of the outbox, each receiver independently of the others.

A receiver that is slow, down or has many messages must not delay the others. So the attempts in flight are limited per
webhook, and separately for the mail server.
"""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import structlog

from admin_api.operations.notifications.channels import Attempt, Sender, try_once
from admin_api.storage import deliveries
from admin_api.storage.deliveries import Delivery
from gateway.storage import failures
from gateway.web.background import Background

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor, Pool

log = structlog.get_logger(__name__)

# Longer than an attempt can take, so that no other replica starts one meanwhile.
LEASE: Final = timedelta(seconds=60)
# Attempts in flight: of one webhook, of all webhooks, and of e-mails.
MAX_IN_FLIGHT_PER_WEBHOOK: Final = 4
MAX_IN_FLIGHT: Final = 100
MAX_IN_FLIGHT_EMAILS: Final = 10
# Name resolution and SMTP use a thread each, so there are enough threads for all attempts.
THREADS: Final = MAX_IN_FLIGHT + MAX_IN_FLIGHT_EMAILS + 8
# How long slow attempts may delay the check for new messages.
CHECK_INTERVAL_S: Final = 1.0
KEPT: Final = timedelta(days=30)


class Outbox:
    """The attempts in flight in this process. Several processes may share the outbox. `delivered` counts successful
    attempts."""

    def __init__(self, pool: "Pool", sender: Sender) -> None:
        self._pool, self._sender, self._background = pool, sender, Background()
        # Task -> id of the webhook; None: an e-mail.
        self._tries: dict[asyncio.Task[None], int | None] = {}
        self.delivered = 0

    async def send_due(self) -> None:
        """Starts due messages, and more whenever an attempt ends, until nothing is due or only slow attempts remain,
        which continue in the background."""
        while True:
            began = await self.begin_due()
            if not self._tries:
                return
            ended, _ = await asyncio.wait(
                set(self._tries), timeout=CHECK_INTERVAL_S, return_when=asyncio.FIRST_COMPLETED
            )
            if not began and not ended:
                return

    async def begin_due(self) -> int:
        """Starts an attempt for each due message within the limits, oldest first; returns their number."""
        busy = Counter(webhook for webhook in self._tries.values() if webhook is not None)
        mails = len(self._tries) - busy.total()
        async with self._pool.acquire() as connection:
            due = await deliveries.take_due_webhooks(
                connection,
                under_way=busy,
                max_in_flight_each=MAX_IN_FLIGHT_PER_WEBHOOK,
                limit=MAX_IN_FLIGHT - busy.total(),
                lease=LEASE,
            )
            # Without a mail server e-mails wait.
            if self._sender.mail is not None:
                due += await deliveries.take_due_mails(connection, limit=MAX_IN_FLIGHT_EMAILS - mails, lease=LEASE)
        for delivery in due:
            task = self._background.start(self._send(delivery), "delivery")
            self._tries[task] = delivery.webhook_id
            task.add_done_callback(self._tries.pop)
        return len(due)

    async def close(self, *, grace_s: float) -> None:
        """Waits up to `grace_s` for attempts to end. Interrupted ones are repeated after their lease, so a receiver may
        get a message twice, with the same id."""
        if self._tries:
            await asyncio.wait(set(self._tries), timeout=grace_s)
        await self._background.stop()

    async def _send(self, delivery: Delivery) -> None:
        attempt = await try_once(self._sender, delivery)
        pauses = self._sender.pauses
        pause = pauses[delivery.tries - 1] if delivery.tries <= len(pauses) else None
        try:
            async with self._pool.acquire() as connection:
                await record(connection, delivery, attempt, pause=pause)
            if attempt.error is None:
                self.delivered += 1
        except failures.POSTGRES_FAILED as exc:
            # It is tried again after its lease.
            log.warning("delivery_not_marked", delivery=delivery.id, cause=str(exc) or type(exc).__name__)
        if attempt.error is not None:
            log.warning(
                "delivery_failed",
                delivery=delivery.id,
                channel=delivery.channel,
                tries=delivery.tries,
                cause=attempt.error,
            )


async def record(executor: "Executor", delivery: Delivery, attempt: Attempt, *, pause: timedelta | None) -> None:
    """Writes how an attempt ended. A failed one is repeated after `pause`, unless that is None or it is permanent."""
    status, answer = attempt.status, attempt.answer
    if attempt.error is None:
        await deliveries.mark_delivered(executor, delivery.id, status=status, answer=answer)
        return
    pause = None if attempt.is_permanent else pause
    await deliveries.mark_failed(executor, delivery.id, error=attempt.error, pause=pause, status=status, answer=answer)


async def delete_old(pool: "Pool") -> None:
    """Deletes messages older than KEPT."""
    async with pool.acquire() as connection:
        await deliveries.delete_old(connection, datetime.now(UTC) - KEPT)
