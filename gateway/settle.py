"""Steps 5 and 6, done by the app and not by the request: first the row is safe in the journal, then the lease is
settled. A disconnect, a cancelled task or a stop of the server does not interrupt them."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import msgspec
import structlog

from gateway.domain.usage_rows import UsageRow
from gateway.storage.counters.scripts import Counters, Settlement
from gateway.storage.ledger.writer import LedgerUnavailable, LedgerWriter
from gateway.storage.redis.link import RedisUnavailable

if TYPE_CHECKING:
    from gateway.tracing import Tracing

log = structlog.get_logger(__name__)

# Settlements that wait for Redis. Older ones are dropped: their leases are reaped, and their rows are in the ledger.
MAX_WAITING: Final = 200_000
RETRY_S: Final = 0.2
# Scripts sent at once: Redis runs them one by one anyway.
BATCH: Final = 256


class Settlements:
    """Closes calls. `close_call` returns at once and never fails; `run` is a task of the app."""

    def __init__(
        self,
        counters: Counters,
        ledger: LedgerWriter,
        unmetered: Callable[[UsageRow], None] = lambda _: None,
        tracing: "Tracing | None" = None,
    ) -> None:
        """`unmetered` gets the row of each call that ended without a lease, once it is journaled."""
        self._counters = counters
        self._ledger = ledger
        self._unmetered = unmetered
        self._tracing = tracing
        self._ended: list[tuple[UsageRow, bool]] = []
        # Not tried yet; how many are under way; and what Redis did not take, to be tried again.
        self._fresh: list[Settlement] = []
        self._under_way = 0
        self._waiting: deque[Settlement] = deque(maxlen=MAX_WAITING)
        self._new_work, self._failure = asyncio.Event(), asyncio.Event()

    def __len__(self) -> int:
        return len(self._ended) + len(self._fresh) + self._under_way + len(self._waiting)

    def close_call(self, row: UsageRow, *, is_leased: bool) -> None:
        """The call has ended. Its row is journaled within this tick of the loop, its lease settled after."""
        if not self._ended:
            asyncio.get_running_loop().call_soon(self._journal)
        self._ended.append((row, is_leased))

    def free(self, account_id: int, request_id: UUID) -> None:
        """A reservation whose outcome is unknown, or that was never used: gives all of it back."""
        self._settle_soon([Settlement.of_nothing(account_id, request_id)])

    def _journal(self) -> None:
        ended, self._ended = self._ended, []
        if not ended:
            return
        try:
            is_safe = self._ledger.append([row for row, _ in ended])
        except LedgerUnavailable:
            # Calls are refused from then on; these were already under way. Their leases stay open, so the reaper
            # writes a row for each. A call without a lease has only the log.
            for row, is_leased in ended:
                reported = msgspec.structs.asdict(row)
                log.error("usage_row_left_to_the_reaper" if is_leased else "usage_row_lost", row=reported)
            if self._tracing is not None:
                self._tracing.journaled([row for row, _ in ended], is_safe=False)
            return
        if self._tracing is not None:
            self._tracing.journaled([row for row, _ in ended], is_safe=True)
        for row, is_leased in ended:
            if not is_leased:
                self._unmetered(row)
        if is_safe:
            # Also those without a lease: one may be taken at this moment.
            self._settle_soon([Settlement.of(row) for row, _ in ended])

    def _settle_soon(self, settlements: Sequence[Settlement]) -> None:
        self._fresh.extend(settlements)
        self._new_work.set()

    async def run(self) -> None:
        """Settles what waits, until cancelled.

        What is new goes out at once, neither behind answers that are awaited nor behind what Redis failed to take: a
        caller who sends the next call after the answer would find their last call still in flight.
        """
        async with asyncio.TaskGroup() as tries:
            tries.create_task(self._keep_retrying())
            while True:
                await self._new_work.wait()
                self._new_work.clear()
                fresh, self._fresh = self._fresh, []
                if not self._counters.is_connected:
                    self._put_back(fresh)
                    continue
                for settlement in fresh:
                    self._send(settlement, tries.create_task)

    async def _keep_retrying(self) -> None:
        if self._waiting:
            self._failure.set()
        while True:
            await self._failure.wait()
            await asyncio.sleep(RETRY_S)
            self._failure.clear()
            await self._settle_waiting()

    def _send(
        self, settlement: Settlement, create_task: Callable[[Coroutine[Any, Any, bool]], asyncio.Task[bool]]
    ) -> asyncio.Task[bool]:
        # Counted before its task has run for the first time: nobody may take it for settled until then.
        self._under_way += 1
        task = create_task(self._try(settlement))
        task.add_done_callback(partial(self._sent, settlement))
        return task

    def _sent(self, settlement: Settlement, task: asyncio.Task[bool]) -> None:
        self._under_way -= 1
        if task.cancelled():
            self._put_back([settlement])
        elif self._tracing is not None and task.result():
            self._tracing.settled(settlement.request_id)

    async def _try(self, settlement: Settlement) -> bool:
        """Whether Redis answered. What has no answer is tried again: by its id it counts once."""
        try:
            await self._counters.settle(settlement)
        except RedisUnavailable:
            self._put_back([settlement])
            return False
        except Exception as exc:  # a mistake of ours, or another's value under our name, must not stop the others
            log.error("settlement_failed", cause=str(exc))
        return True

    def _put_back(self, settlements: Sequence[Settlement]) -> None:
        self._waiting.extend(settlements)
        if settlements:
            self._failure.set()

    async def _settle_waiting(self) -> bool:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            create_task = asyncio.get_running_loop().create_task
            if not all(await asyncio.gather(*[self._send(settlement, create_task) for settlement in batch])):
                return False
        return True

    async def settle_late(self, rows: Sequence[UsageRow]) -> None:
        """Rows of a journal whose gateway died before it settled, or that no journal took: by their ids, once."""
        self._settle_soon([Settlement.of(row) for row in rows])

    async def drain(self, timeout_s: float) -> None:
        """At shutdown: everything that ended is journaled, and settled as far as Redis answers in time."""
        self._journal()
        try:
            async with asyncio.timeout(timeout_s):
                while not await self._settle_all():
                    await asyncio.sleep(RETRY_S)
        except TimeoutError:
            log.warning("settlements_left_to_the_reaper", count=len(self))

    async def _settle_all(self) -> bool:
        fresh, self._fresh = self._fresh, []
        self._put_back(fresh)
        # What is under way ends by itself, or comes back.
        return await self._settle_waiting() and not self._under_way
