"""Writes usage rows from the journal into Postgres, in batches, after the calls have ended."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Final

import structlog

from gateway.domain.usage_rows import UsageRow
from gateway.storage.failures import POSTGRES_FAILED, cause_of
from gateway.storage.ledger.adoption import Adoption
from gateway.storage.ledger.journal import Journal, JournalFull, Trouble
from gateway.storage.ledger.journal_files import Chunk, Segment
from gateway.storage.ledger.journal_lines import encode_row
from gateway.storage.ledger.lost_rows import LostRows
from gateway.storage.ledger.row_writer import Event, RowWriter

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

log = structlog.get_logger(__name__)

BATCH_S: Final = 0.1
ADOPT_S: Final = 5.0
# After a failure of Postgres; twice as long after each further one.
MIN_PAUSE_S: Final = 0.2
MAX_PAUSE_S: Final = 5.0
# Rows that wait in memory while the journal cannot be written. Their leases stay open meanwhile.
MAX_WAITING: Final = 10_000


class LedgerUnavailable(Exception):
    """There is no place left where a row would be safe."""


# Older than what anybody waits for.
UNKNOWN_MS: Final = 24 * 3600 * 1000


async def _nothing() -> None:
    """For who has no counters."""


class LedgerWriter:
    """`append` is what a call does; the rest are tasks of the app.

    `on_late(rows)` is called with rows that are in Postgres and whose leases may still be open or hold an estimate:
    those that no journal took, those of adopted journals, and the real ones that a reaper found when it came to write
    an estimate. `on_begun(rows)` is called with estimates that are in Postgres of calls whose worker had begun them and
    died: their leases may be open. `before_seeds()` is done before counters are seeded again because rows that Postgres
    had lost are back. `on_event(what, how_often)` counts.
    """

    def __init__(
        self,
        pool: "Pool",
        folder: Path,
        *,
        max_bytes: int,
        keep_s: float = 0.0,
        on_late: Callable[[Sequence[UsageRow]], Awaitable[None]],
        on_begun: Callable[[Sequence[UsageRow]], Awaitable[None]] | None = None,
        on_event: Callable[[Event, int], None] = lambda *_: None,
        before_seeds: Callable[[], Awaitable[object]] = _nothing,
    ) -> None:
        self._pool = pool
        self._on_late = on_late
        self._on_event = on_event
        self.journal = Journal(folder, max_bytes=max_bytes, keep_s=keep_s, on_trouble=self._count_trouble)
        self._rows = RowWriter(pool, folder, on_late=on_late, on_event=on_event, record_error=self.journal.record_error)
        self.lost = LostRows(
            pool,
            self.journal,
            write=self._restore,
            waiting_s=lambda: self.waiting_s,
            on_restored=lambda rows: self._on_event("restored", rows),
            before_seeds=before_seeds,
        )
        # Two tasks write batches at the same time.
        self._own, self._adopting = self.lost.new_chain(), self.lost.new_chain()
        self.adoption = Adoption(
            self.journal,
            write=lambda rows: self._rows.write(rows, self._adopting),
            set_aside=self._rows.set_aside,
            on_late=on_late,
            on_begun=on_begun,
            on_event=on_event,
        )
        self._direct: list[UsageRow] = []
        self._has_rows, self._is_back = asyncio.Event(), asyncio.Event()
        self._is_postgres_there = True
        self._oldest_at: float | None = None
        # Segments that the disk failed to read last.
        self._unread: set[Segment] = set()

    def _count_trouble(self, trouble: Trouble) -> None:
        self._on_event(trouble, 1)

    def open(self) -> None:
        """Opens the journal; without one, rows go straight to Postgres, and the disk is tried again."""
        self.journal.open()

    @property
    def is_accepting(self) -> bool:
        """Whether a row written now would be safe: in the journal, or at once in Postgres."""
        return self.journal.is_taking or (self._is_postgres_there and len(self._direct) < MAX_WAITING)

    @property
    def rows_waiting(self) -> int:
        """Rows that are not in Postgres yet."""
        return self.journal.rows_waiting + len(self._direct)

    @property
    def waiting_s(self) -> float:
        """Since when rows are waiting to be written."""
        return 0.0 if self._oldest_at is None else monotonic() - self._oldest_at

    def append(self, rows: Sequence[UsageRow]) -> bool:
        """True: the rows are in the journal, and their leases may be settled. False: they wait in memory for Postgres;
        `on_late` has them when they are there, and until then their open leases keep them from being lost. Raises
        LedgerUnavailable when there is no room in memory either."""
        if self._oldest_at is None:
            self._oldest_at = monotonic()
        self._has_rows.set()
        try:
            self.journal.append(rows)
        except JournalFull:
            if len(self._direct) + len(rows) > MAX_WAITING:
                raise LedgerUnavailable from None
            self._direct.extend(rows)
            self._on_event("direct", len(rows))
            return False
        self.journal.begun.ended(rows)
        return True

    async def append_safely(self, rows: Sequence[UsageRow]) -> None:
        """As `append`, but returns only when they are in the journal or in Postgres; raises LedgerUnavailable."""
        try:
            self.journal.append(rows)
        except JournalFull:
            try:
                await self._rows.write([encode_row(row) for row in rows], self._own)
            except POSTGRES_FAILED as exc:
                raise LedgerUnavailable from exc
        else:
            self._oldest_at = self._oldest_at or monotonic()
            self._has_rows.set()

    async def run(self) -> None:
        """Writes, syncs and adopts until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_writing())
            group.create_task(self.journal.keep())
            group.create_task(self._keep_adopting())

    async def _keep_writing(self) -> None:
        pause_s = BATCH_S
        if self.rows_waiting:
            # Those that were being written when it had to begin again.
            self._has_rows.set()
        while True:
            await self._has_rows.wait()
            await self._pause(pause_s)
            # Before the try: it may hang, and Postgres be back meanwhile.
            self._is_back.clear()
            self._has_rows.clear()
            try:
                await self.write_all()
                if not self.journal.is_writable:
                    # Rows are accepted because Postgres answers, so ask it also when none wait.
                    await self._pool.fetchval("SELECT 1")
                    self._has_rows.set()
                pause_s = BATCH_S
                self._is_postgres_there = True
            except POSTGRES_FAILED as exc:
                self._on_event("batch_failed", 1)
                self._is_postgres_there = False
                self._has_rows.set()
                log.warning("ledger_not_written", cause=cause_of(exc), rows_waiting=self.rows_waiting)
                self.journal.record_error(f"Postgres: {cause_of(exc)}")
                pause_s = min(max(2 * pause_s, MIN_PAUSE_S), MAX_PAUSE_S)

    async def _pause(self, pause_s: float) -> None:
        if self._is_postgres_there:
            await asyncio.sleep(pause_s)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._is_back.wait()

    def postgres_is_back(self) -> None:
        """Rows that wait for it are written at once."""
        self._is_back.set()

    async def write_all(self) -> None:
        """Everything that waits now. Raises what Postgres raises; nothing is lost then."""
        began = monotonic()
        if self._direct:
            await self._write_direct()
        for segment in list(self.journal.segments):
            while (chunk := self._read(segment)) is not None:
                await self._rows.write(chunk.rows, self._own)
                self._rows.set_aside(chunk.damaged)
                self.journal.give_up(segment, chunk)
        self.journal.drop_finished()
        self._unread.intersection_update(self.journal.segments)
        if self._unread:
            # Their rows are as old as they were, and wait for no other row.
            asyncio.get_running_loop().call_later(MAX_PAUSE_S, self._has_rows.set)
        else:
            self._oldest_at = began if self.rows_waiting else None

    def _read(self, segment: Segment) -> Chunk | None:
        """What is new in it; a disk that fails to read is no failure of Postgres, nor of the other segments."""
        try:
            chunk = segment.read()
        except OSError as exc:
            log.error("journal_not_read", segment=segment.path.name, cause=str(exc))
            self.journal.record_error(f"journal: {exc}")
            self._unread.add(segment)
            return None
        self._unread.discard(segment)
        return chunk if chunk.end > segment.offset else None

    async def _write_direct(self) -> None:
        rows = list(self._direct)
        try:
            self.journal.append(rows)
        except JournalFull:
            await self._rows.write([encode_row(row) for row in rows], self._own)
        del self._direct[: len(rows)]
        self.journal.begun.ended(rows)
        await self._on_late(rows)

    async def adopt_all(self) -> None:
        """As Adoption.adopt_all."""
        await self.adoption.adopt_all()

    @property
    def waiting_ms(self) -> int:
        """For how long the oldest row here has been waiting for Postgres; those of an adopted journal for ever."""
        return UNKNOWN_MS if self.bytes_left else round(self.waiting_s * 1000)

    @property
    def bytes_left(self) -> int:
        """Journals of workers that are gone, which could not be written yet."""
        return self.adoption.bytes_left

    async def _keep_adopting(self) -> None:
        while True:
            await self.adopt_all()
            await self.lost.round()
            await self.lost.wait(ADOPT_S)

    async def _restore(self, rows: Sequence[bytes]) -> Sequence[bytes]:
        """Writes rows that Postgres had and lost; those that it refused."""
        return await self._rows.write(rows, self._adopting, is_known_here=True)

    async def close(self, timeout_s: float) -> None:
        """Writes what waits, for as long as `timeout_s`; the journal keeps the rest."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.write_all()
        except POSTGRES_FAILED as exc:
            log.warning("ledger_not_written", cause=cause_of(exc), rows_waiting=self.rows_waiting)
            if self._direct:
                log.error("usage_rows_left_to_the_reaper", count=len(self._direct))
        self.journal.close()
