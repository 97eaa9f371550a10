"""Makes counters anew that Redis does not have, or that are older than the account's epoch."""

import asyncio
from collections.abc import Callable

import structlog

from gateway.domain.grants import KeyRecord
from gateway.domain.plans import Plan
from gateway.storage.counters import Counters, SeedEntry
from gateway.storage.failures import POSTGRES_FAILED
from gateway.storage.ledger_sums import WindowSum, sum_windows
from gateway.storage.postgres import Pool
from gateway.storage.redis import RedisUnavailable

log = structlog.get_logger(__name__)


class Seeder:
    """Asks the ledger once for all calls that wait for the same counters of an account; `on_made` hears how many."""

    def __init__(self, counters: Counters, pool: Pool, on_made: Callable[[int], None] = lambda _: None) -> None:
        self._counters = counters
        self._pool = pool
        self._on_made = on_made
        self._running: dict[tuple[int, int, tuple[str, ...]], asyncio.Task[None]] = {}

    async def seed(self, record: KeyRecord, plan: Plan, indexes: tuple[int, ...]) -> None:
        """Seeds those limits of the plan. Raises RedisUnavailable when the ledger can not be read either: the limits
        are not known then."""
        fields = tuple(plan.entries[n].field for n in indexes)
        key = (record.account_id, record.epoch, fields)
        running = self._running.get(key)
        if running is None:
            work = self._seed(record, plan, indexes)
            running = self._running[key] = asyncio.get_running_loop().create_task(work, name="seed")
            running.add_done_callback(lambda _: self._running.pop(key, None))
        await asyncio.shield(running)

    async def _seed(self, record: KeyRecord, plan: Plan, indexes: tuple[int, ...]) -> None:
        windows = [n for n in indexes if plan.limits[n].window is not None]
        questions = [
            WindowSum(plan.limits[n].kind, plan.limits[n].scope, plan.entries[n].a, plan.entries[n].b) for n in windows
        ]
        totals: list[int] = []
        if questions:
            try:
                totals = await sum_windows(self._pool, record.account_id, questions)
            except POSTGRES_FAILED as exc:
                raise RedisUnavailable("counters are lost and the ledger does not answer") from exc
        told = dict(zip(windows, totals, strict=True))
        entries = []
        for n in indexes:
            entry = plan.entries[n]
            is_window = n in told
            entries.append(
                SeedEntry(entry.field, entry.a if is_window else 0, entry.b if is_window else 0, told.get(n, 0))
            )
        made = await self._counters.seed(record.account_id, record.epoch, entries)
        self._on_made(made)
        log.info("counters_seeded", account_id=record.account_id, epoch=record.epoch, asked=len(entries), made=made)
