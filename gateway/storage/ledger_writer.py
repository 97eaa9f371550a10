"""Takes usage rows from the journal into Postgres, behind the calls' backs."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Final

import asyncpg
import structlog

from gateway.domain.usage_rows import UsageRow
from gateway.storage.failures import POSTGRES_FAILED
from gateway.storage.journal import Journal, JournalFull, Segment, encode_line
from gateway.storage.ledger import Written, ensure_partitions, find_rows, write_rows

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

log = structlog.get_logger(__name__)

BATCH_S: Final = 0.1
ADOPT_S: Final = 5.0
# Three months are made ahead: once a day would do.
PARTITIONS_S: Final = 3600.0
LONGEST_PAUSE_S: Final = 5.0
# Rows that wait in memory while the journal can not be written and Postgres is there.
MOST_WAITING: Final = 10_000
REFUSED_FILE: Final = "refused.log"
# What Postgres says of a row it will never take; everything else may go away by itself.
REFUSALS: Final = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)


class LedgerUnavailable(Exception):
    """No place is left where a row would be safe."""


class LedgerWriter:
    """`append` is what a call does; the rest are tasks of the app.

    `on_late(rows)` is called with rows whose leases may still hold an estimate: those of adopted journals, and the real
    ones that a reaper found when it came to write an estimate.
    """

    def __init__(
        self, pool: "Pool", folder: Path, *, most_bytes: int, on_late: Callable[[Sequence[UsageRow]], Awaitable[None]]
    ) -> None:
        self._pool = pool
        self._folder = folder
        self._on_late = on_late
        self._journal = Journal(folder, most_bytes=most_bytes)
        self._direct: list[UsageRow] = []
        self._news = asyncio.Event()
        self._is_postgres_there = True
        self._oldest_at: float | None = None
        self.rows_written = 0
        self.rows_refused = 0
        self.write_errors = 0
        self.batches = 0

    def open(self) -> None:
        """Opens the journal; without one, rows go straight to Postgres."""
        try:
            self._journal.open()
        except OSError as exc:
            log.error("journal_not_writable", folder=str(self._folder), cause=str(exc))

    @property
    def is_accepting(self) -> bool:
        """Whether a row written now would be safe: in the journal, or at once in Postgres."""
        return not self._journal.is_full or (self._is_postgres_there and len(self._direct) < MOST_WAITING)

    @property
    def journal_bytes(self) -> int:
        """On disk, not yet in Postgres."""
        return self._journal.size_bytes

    @property
    def waiting_s(self) -> float:
        """Since when rows are waiting to be written."""
        return 0.0 if self._oldest_at is None else monotonic() - self._oldest_at

    def append(self, rows: Sequence[UsageRow]) -> None:
        """Puts rows where they are safe; raises LedgerUnavailable when there is no such place."""
        try:
            self._journal.append(rows)
        except JournalFull:
            if len(self._direct) >= MOST_WAITING:
                raise LedgerUnavailable from None
            self._direct.extend(rows)
        if self._oldest_at is None:
            self._oldest_at = monotonic()
        self._news.set()

    async def run(self) -> None:
        """Writes, syncs and adopts until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_writing())
            group.create_task(self._journal.keep_synced())
            group.create_task(self._keep_adopting())
            group.create_task(self._keep_partitions())

    async def _keep_writing(self) -> None:
        pause_s = BATCH_S
        while True:
            await self._news.wait()
            await asyncio.sleep(pause_s)
            self._news.clear()
            try:
                await self.write_all()
                pause_s = BATCH_S
                self._is_postgres_there = True
            except POSTGRES_FAILED as exc:
                self.write_errors += 1
                self._is_postgres_there = False
                self._news.set()
                log.warning("ledger_not_written", cause=str(exc), journal_bytes=self.journal_bytes)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def write_all(self) -> None:
        """Everything that waits now. Raises what Postgres raises; nothing is lost then."""
        if self._direct:
            rows = list(self._direct)
            await self._write(rows)
            del self._direct[: len(rows)]
        for segment in list(self._journal.segments):
            await self._write_segment(segment)
        self._oldest_at = None

    async def _write_segment(self, segment: Segment) -> None:
        while True:
            rows, offset = segment.read()
            if offset > segment.offset:
                await self._write(rows)
                self._journal.give_up(segment, offset)
                if segment not in self._journal.segments:
                    # Another one was begun meanwhile, and of this one all is in Postgres: its file is gone.
                    return
            else:
                if segment is not self._journal.segments[-1]:
                    self._journal.give_up(segment, segment.path.stat().st_size)
                return

    async def _write(self, rows: Sequence[UsageRow]) -> Written:
        try:
            written = await write_rows(self._pool, rows)
        except REFUSALS:
            written = await self._write_one_by_one(rows)
        self.batches += 1
        self.rows_written += written.inserted + written.replaced
        reaped = {row.request_id for row in rows if row.estimated_why == "reaped"}
        if real := [request_id for request_id in written.kept if request_id in reaped]:
            await self._on_late(await find_rows(self._pool, real))
        return written

    async def _write_one_by_one(self, rows: Sequence[UsageRow]) -> Written:
        """After a refusal: the rows at fault are set aside, and never block the others."""
        await ensure_partitions(self._pool)
        inserted = replaced = 0
        kept: tuple[object, ...] = ()
        for row in rows:
            try:
                written = await write_rows(self._pool, [row])
            except REFUSALS as exc:
                self.rows_refused += 1
                log.error("usage_row_refused", request_id=str(row.request_id), cause=str(exc))
                self._set_aside(row)
                continue
            inserted, replaced = inserted + written.inserted, replaced + written.replaced
            kept = (*kept, *written.kept)
        return Written(inserted=inserted, replaced=replaced, kept=kept)  # type: ignore[arg-type]  # ids, gathered

    def _set_aside(self, row: UsageRow) -> None:
        with (self._folder / REFUSED_FILE).open("ab") as file:
            file.write(encode_line(row))

    async def _keep_adopting(self) -> None:
        while True:
            try:
                while (adopted := self._journal.adopt()) is not None:
                    try:
                        for _, rows, _ in adopted.batches():
                            await self._write(rows)
                            await self._on_late(rows)
                    except BaseException:
                        adopted.leave()
                        raise
                    adopted.remove()
                    log.info("journal_adopted")
            except POSTGRES_FAILED as exc:
                log.warning("journal_not_adopted", cause=str(exc))
            await asyncio.sleep(ADOPT_S)

    async def _keep_partitions(self) -> None:
        while True:
            try:
                await ensure_partitions(self._pool)
                await asyncio.sleep(PARTITIONS_S)
            except POSTGRES_FAILED as exc:
                log.warning("partitions_not_made", cause=str(exc))
                await asyncio.sleep(LONGEST_PAUSE_S)

    async def close(self, timeout_s: float) -> None:
        """Writes what waits, for as long as `timeout_s`; the journal keeps the rest."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.write_all()
        except POSTGRES_FAILED as exc:
            log.warning("ledger_not_written", cause=str(exc), journal_bytes=self.journal_bytes)
        self._journal.close()
