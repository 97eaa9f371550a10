"""Makes the ledger's months and the days of response owners ahead of time, seals the ledger's days, drops what is older
than it is to be kept, and keeps small what the ledger leaves for the alerts of an admin API, which may not run."""

import asyncio
from datetime import UTC, datetime
from typing import Final

import structlog

from gateway import metrics
from gateway.storage.accounts_to_check import merge_accounts_to_check
from gateway.storage.failures import POSTGRES_FAILED, cause_of
from gateway.storage.ledger.closed_days import close_due_days, closed_until
from gateway.storage.ledger.partitions import drop_old_months, ensure_partitions
from gateway.storage.postgres import Pool
from gateway.storage.response_owners import keep_response_days

log = structlog.get_logger(__name__)

# Three months are made ahead: once a day would do.
LOOK_S: Final = 3600.0
RETRY_S: Final = 60.0
ACTOR: Final = "gateway:retention"


class PartitionKeeper:
    """Every worker looks; the database lets one at a time do it. `retention_months` of 0: nothing is dropped."""

    def __init__(self, pool: Pool, *, retention_months: int, response_owners_days: int = 30) -> None:
        self._pool = pool
        self._retention_months = retention_months
        self._response_owners_days = response_owners_days

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.look(datetime.now(UTC))
            except POSTGRES_FAILED as exc:
                log.warning("partitions_not_kept", cause=cause_of(exc))
                await asyncio.sleep(RETRY_S)
            else:
                await asyncio.sleep(LOOK_S)

    async def look(self, now: datetime) -> list[str]:
        """The names of the months that were dropped."""
        dropped = await self._keep_months(now)
        await keep_response_days(self._pool, self._response_owners_days)
        return dropped

    async def _keep_months(self, now: datetime) -> list[str]:
        await ensure_partitions(self._pool)
        await merge_accounts_to_check(self._pool)
        await self._close_days()
        if not self._retention_months:
            return []
        dropped = await drop_old_months(self._pool, kept=self._retention_months, now=now, actor=ACTOR)
        if dropped:
            log.warning("months_dropped", partitions=dropped)
        return dropped

    async def _close_days(self) -> None:
        """Before months are dropped: of a month with rows all days must be sealed."""
        closed = await close_due_days(self._pool)
        if closed:
            log.info("ledger_days_sealed", first=str(closed[0]), last=str(closed[-1]))
        until = await closed_until(self._pool)
        if until is not None:
            metrics.LEDGER_CLOSED_UNTIL.set(until.timestamp())
