"""Sends the messages of the outbox, each receiver independently of the others.

A receiver that is slow, down or has many messages must not delay the others. So the attempts in flight are limited per
webhook, and separately for the mail server.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Sequence
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
NO_MAIL_SERVER: Final = "There is no mail server: LITEMAAS_SMTP_URL is not set."
SUPERSEDED: Final = "A later message says what holds now."


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
            messages = [[delivery] for delivery in due]
            messages += await self._take_mails(connection, limit=MAX_IN_FLIGHT_EMAILS - mails)
        for message in messages:
            task = self._background.start(self._send(message), "delivery")
            self._tries[task] = message[0].webhook_id
            task.add_done_callback(self._tries.pop)
        return len(messages)

    async def _take_mails(self, executor: "Executor", *, limit: int) -> list[list[Delivery]]:
        """The e-mails to send now, each with the messages in it; drops what is out of date."""
        if self._sender.mail is None:
            await deliveries.hold_mails(executor, NO_MAIL_SERVER)
            return []
        await deliveries.release_mails(executor)
        people: dict[int | None, list[Delivery]] = defaultdict(list)
        for delivery in await deliveries.take_due_mails(executor, limit=limit, lease=LEASE):
            people[delivery.user_id].append(delivery)
        dropped = {one.id: reason for due in people.values() for one, reason in _outdated(due)}
        if dropped:
            await deliveries.mark_dropped(executor, dropped)
            log.info("emails_dropped", count=len(dropped))
        kept = ([one for one in due if one.id not in dropped] for due in people.values())
        return [message for message in kept if message]

    async def close(self, *, grace_s: float) -> None:
        """Waits up to `grace_s` for attempts to end. Interrupted ones are repeated after their lease, so a receiver may
        get a message twice, with the same id."""
        if self._tries:
            await asyncio.wait(set(self._tries), timeout=grace_s)
        await self._background.stop()

    async def _send(self, message: Sequence[Delivery]) -> None:
        attempt = await try_once(self._sender, message)
        delivery, pauses = message[0], self._sender.pauses
        try:
            async with self._pool.acquire() as connection, connection.transaction():
                for one in message:
                    pause = pauses[one.tries - 1] if one.tries <= len(pauses) else None
                    await record(connection, one, attempt, pause=pause)
            if attempt.error is None:
                self.delivered += len(message)
        except failures.POSTGRES_FAILED as exc:
            # It is tried again after its lease.
            log.warning("delivery_not_marked", delivery=delivery.id, cause=failures.cause_of(exc))
        if attempt.error is not None:
            log.warning(
                "delivery_failed",
                delivery=delivery.id,
                channel=delivery.channel,
                tries=delivery.tries,
                cause=attempt.error,
            )


def _outdated(due: Sequence[Delivery]) -> list[tuple[Delivery, str]]:
    """Which of a person's e-mails are out of date, and why."""
    last = {subject_of(one): one.id for one in due}
    found = []
    for one in due:
        if one.outdated is not None:
            found.append((one, one.outdated))
        elif last[subject_of(one)] != one.id:
            found.append((one, SUPERSEDED))
    return found


def subject_of(delivery: Delivery) -> tuple[object, ...]:
    """What a message is about: of two about one subscription, or one limit and window, the later one holds."""
    data = delivery.payload
    if delivery.event == "limit.threshold_reached" and "window_start" in data:
        names = ("account_id", "level", "user", "key_id", "model", "kind", "window", "window_start")
        return ("limit", *(data.get(name) for name in names))
    if "subscription_id" in data:
        return ("subscription", data["subscription_id"])
    return (delivery.event,) if delivery.event == "requests.pending" else ("message", delivery.id)


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
