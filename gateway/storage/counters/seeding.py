"""Seeds counters that Redis does not have, or that are older than their epoch, from the ledger."""

import asyncio
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Final

import structlog

from gateway.domain.grants import KeyRecord
from gateway.domain.reservation_plan import Entry, ReservationPlan
from gateway.storage.counters.scripts import Counters, SeedEntry, Settlement
from gateway.storage.failures import POSTGRES_FAILED
from gateway.storage.ledger.rows import InLedger, find_counted, find_rows
from gateway.storage.ledger.sums import WindowSum, sum_windows
from gateway.storage.postgres import Pool
from gateway.storage.reads import read_again
from gateway.storage.redis.link import RedisUnavailable

log = structlog.get_logger(__name__)

# For rows of calls that have ended here; the caller who needs the counter waits too.
MAX_WAIT_S: Final = 1.0
WAIT_S: Final = 0.01
# For one seed.
KEEP_MS: Final = 5_000


class Seeder:
    """Reads the ledger once for all calls that wait for the same counters of an account.

    `on_made` gets how many counters were made; `rows_wait_s` is for how long rows of this gateway have been waiting.
    """

    def __init__(
        self,
        counters: Counters,
        pool: Pool,
        on_made: Callable[[int], None] = lambda _: None,
        rows_wait_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._counters = counters
        self._pool = pool
        self._on_made = on_made
        self._rows_wait_s = rows_wait_s
        self._running: dict[tuple[int, tuple[Entry, ...]], asyncio.Task[None]] = {}

    async def seed(self, record: KeyRecord, plan: ReservationPlan, indexes: tuple[int, ...]) -> None:
        """Seeds those limits of the plan. Raises RedisUnavailable when the ledger cannot be read either: the limits
        are not known then."""
        key = (record.account_id, tuple(plan.entries[n] for n in indexes))
        running = self._running.get(key)
        if running is None:
            work = self._seed(record.account_id, plan, indexes)
            running = self._running[key] = asyncio.get_running_loop().create_task(work, name="seed")
            running.add_done_callback(lambda _: self._running.pop(key, None))
        await asyncio.shield(running)

    async def _seed(self, account_id: int, plan: ReservationPlan, indexes: tuple[int, ...]) -> None:
        windows = [n for n in indexes if plan.limits[n].window is not None]
        queries = [
            WindowSum(account_id, limit.kind, limit.scope, entry.a, entry.b)
            for limit, entry in ((plan.limits[n], plan.entries[n]) for n in windows)
        ]
        totals: list[int] = []
        known: list[InLedger] = []
        if queries:
            try:
                totals, known = await read_again(partial(self._read_ledger, account_id, queries))
            except POSTGRES_FAILED as exc:
                raise RedisUnavailable("counters are lost and the ledger does not answer") from exc
        reported = dict(zip(windows, totals, strict=True))
        entries = []
        for n in indexes:
            entry = plan.entries[n]
            is_window = n in reported
            start, end = (entry.a, entry.b) if is_window else (0, 0)
            entries.append(SeedEntry(entry.field, start, end, reported.get(n, 0), entry.epoch))
        made = await self._counters.seed(account_id, entries, known)
        self._on_made(made)
        log.info("counters_seeded", account_id=account_id, asked=len(entries), made=made)

    async def _read_ledger(self, account_id: int, queries: list[WindowSum]) -> tuple[list[int], list[InLedger]]:
        """As _sum_and_settle. A connection may hang for longer than calls are kept before it breaks."""
        # Calls that end while the ledger is read are kept.
        await self._counters.keep_ended(account_id, KEEP_MS)
        await self._await_rows()
        return await self._sum_and_settle(account_id, queries)

    async def _await_rows(self) -> None:
        """Calls that ended here before this moment are in the ledger then, or Postgres is too slow to wait for."""
        began_at = monotonic()
        while monotonic() - began_at < min(self._rows_wait_s(), MAX_WAIT_S):
            await asyncio.sleep(WAIT_S)

    async def _sum_and_settle(self, account_id: int, queries: list[WindowSum]) -> tuple[list[int], list[InLedger]]:
        """The ledger's sums, and what they have of calls that Redis knows. Calls that are in them and still hold a
        lease are settled first, or the seed would count them twice: their gateway may have waited for Redis longer than
        their rows for Postgres.

        Calls are listed after the snapshot was taken: one that begins later cannot be in it."""
        async with self._pool.acquire() as one, one.transaction(isolation="repeatable_read", readonly=True):
            totals = await sum_windows(one, queries)
            leased, kept = await self._counters.ids_of_calls(account_id)
            rows = await find_rows(one, [*leased]) if leased else []
            counted = await find_counted(one, [*leased, *kept])
        for row in rows:
            if row.estimated_why == "reaped":
                await self._counters.reap(account_id, row.request_id)
            else:
                await self._counters.settle(Settlement.of(row))
        return totals, counted
