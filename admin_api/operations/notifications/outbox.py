"""Works off the outbox, each receiver apart from the others.

One that is slow, dead or buried under news must hold up nobody else. So each webhook has a few places for tries under
way, and the mail server has its own: what waits for a place takes none of another's.
"""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import structlog

from admin_api.operations.notifications.channels import Sender, try_once
from admin_api.storage import deliveries
from admin_api.storage.deliveries import Delivery
from gateway.storage import failures
from gateway.web.background import Background

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

log = structlog.get_logger(__name__)

# Longer than a try can take, so that nobody else begins one meanwhile.
LEASE: Final = timedelta(seconds=60)
# Tries under way at once: of one webhook, of all of them, and of e-mails.
MAX_IN_FLIGHT_PER_WEBHOOK: Final = 4
MAX_IN_FLIGHT: Final = 100
MAX_IN_FLIGHT_EMAILS: Final = 10
# Looking up a name and talking to a mail server each take a thread; nobody waits for one.
THREADS: Final = MAX_IN_FLIGHT + MAX_IN_FLIGHT_EMAILS + 8
# How long a slow try may keep the outbox from looking for what came meanwhile.
LOOK_S: Final = 1.0
KEPT: Final = timedelta(days=30)


class Outbox:
    """Tries under way in this process; any number of processes may work on the same rows. `arrived` counts those that
    did."""

    def __init__(self, pool: "Pool", sender: Sender) -> None:
        self._pool, self._sender, self._background = pool, sender, Background()
        # Task -> id of the webhook; None: an e-mail.
        self._tries: dict[asyncio.Task[None], int | None] = {}
        self.arrived = 0

    async def send_due(self) -> None:
        """Begins what is due, and more whenever a try ends, until nothing is due or only slow tries are under way: they
        go on behind."""
        while True:
            began = await self.begin_due()
            if not self._tries:
                return
            ended, _ = await asyncio.wait(set(self._tries), timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
            if not began and not ended:
                return

    async def begin_due(self) -> int:
        """Begins a try of each message that is due and has a place; how many. Those that came first go first."""
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
        """Lets tries end that long. What is cut off then is tried again when its lease ends, maybe for the second
        time, which its receiver tells by the id."""
        if self._tries:
            await asyncio.wait(set(self._tries), timeout=grace_s)
        await self._background.stop()

    async def _send(self, delivery: Delivery) -> None:
        error = await try_once(self._sender, delivery)
        try:
            async with self._pool.acquire() as connection:
                if error is None:
                    await deliveries.mark_delivered(connection, delivery.id)
                    self.arrived += 1
                    return
                pauses = self._sender.pauses
                pause = pauses[delivery.tries - 1] if delivery.tries <= len(pauses) else None
                await deliveries.mark_failed(connection, delivery.id, error=error, pause=pause)
        except failures.POSTGRES_FAILED as exc:
            # Its lease ends, and it comes again.
            log.warning("delivery_not_marked", delivery=delivery.id, cause=str(exc) or type(exc).__name__)
        if error is not None:
            log.warning(
                "delivery_failed", delivery=delivery.id, channel=delivery.channel, tries=delivery.tries, cause=error
            )


async def delete_old(pool: "Pool") -> None:
    """Forgets messages of long ago."""
    async with pool.acquire() as connection:
        await deliveries.delete_old(connection, datetime.now(UTC) - KEPT)
