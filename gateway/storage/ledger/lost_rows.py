"""Finds out that Postgres has lost rows it had committed, and writes them again from what the journals keep."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog

from gateway.storage.counters.epochs import record_restored_rows
from gateway.storage.failures import POSTGRES_FAILED, cause_of
from gateway.storage.ledger.chain import Chain, marks_of
from gateway.storage.ledger.journal import Journal
from gateway.storage.ledger.journal_files import Segment
from gateway.storage.ledger.journal_lines import read_row
from gateway.storage.ledger.rows import Mark, find_missing

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

log = structlog.get_logger(__name__)

# The moment of its first migration stays the same in every copy of a database.
READ_DATABASE: Final = "SELECT (extract(epoch FROM min(applied_at)) * 1000000)::bigint::text FROM schema_migrations"
# How often the last rows of every worker that kept some are looked for. Those of this worker are at each round.
LOOK_S: Final = 60.0
# For new rows to be written, before counters are seeded again.
MAX_WAIT_S: Final = 30.0
# After Postgres failed.
PAUSE_S: Final = 1.0
# No batch has more rows.
MAX_BATCH: Final = 512


class LostRows:
    """Of one worker. All parts of the folder are offered, also those of other workers: what is there changes nothing.
    To another database than the one they were in, nothing is offered.

    `write(rows)` writes rows that are missing and returns those that Postgres refused; `waiting_s` is for how long the
    oldest new row has been waiting for Postgres; `before_seeds` is done before all counters are seeded again.
    """

    def __init__(
        self, pool: "Pool", journal: Journal, *, write: Callable[[Sequence[bytes]], Awaitable[Sequence[bytes]]],
        waiting_s: Callable[[], float], on_restored: Callable[[int], None],
        before_seeds: Callable[[], Awaitable[object]],
    ) -> None:  # fmt: skip
        self._pool = pool
        self._journal = journal
        self._kept = journal.kept
        self._write = write
        self._waiting_s = waiting_s
        self._on_restored = on_restored
        self._before_seeds = before_seeds
        self.chains: list[Chain] = []
        self._found = asyncio.Event()
        self._look_at = 0.0
        # Never in the ledger: Postgres refused them.
        self._refused: set[UUID] = set()
        # The last rows of a part, which does not change any more.
        self._last: dict[Path, list[Mark]] = {}

    def new_chain(self) -> Chain:
        """For one task that writes batches."""
        chain = Chain(self._pool, keep_s=self._kept.keep_s, on_lost=self.found)
        self.chains.append(chain)
        return chain

    def found(self) -> None:
        """Something that was committed is not there."""
        if not self._found.is_set():
            log.error("postgres_lost_commits", kept_parts=len(self._kept.list()))
        self._kept.note_due()
        self._found.set()

    async def wait(self, timeout_s: float) -> None:
        """Until something was lost, or for so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._found.wait()

    async def round(self) -> None:
        """Looks for the last rows, offers everything again if they are missing, and removes what was kept long."""
        expires = self._kept.keep_s <= 0
        if self._kept.keep_s > 0:
            try:
                expires = await self._look()
                if self._found.is_set() or self._kept.is_due:
                    await self._offer_again()
            except POSTGRES_FAILED as exc:
                expires = False
                log.warning("lost_rows_not_looked_for", cause=cause_of(exc))
                # What was found stays so, and `wait` would return at once.
                await asyncio.sleep(PAUSE_S)
        self._kept.prune(waiting=self._journal.size_bytes, expires=expires)

    async def _look(self) -> bool:
        """Whether it was looked for the last rows of all parts, too."""
        marks = [mark for chain in self.chains for mark in chain.marks]
        looks_at_all = monotonic() >= self._look_at
        if looks_at_all and await self._is_same_database():
            marks += await asyncio.to_thread(self._last_rows)
        if marks and await find_missing(self._pool, marks) - self._refused:
            self.found()
        if looks_at_all:
            self._look_at = monotonic() + LOOK_S
        return looks_at_all

    async def _is_same_database(self) -> bool:
        """Whether the rows that are kept were in this database, or in one that it is a copy of; forgets them if not."""
        database: str = await self._pool.fetchval(READ_DATABASE)
        if self._kept.is_of(database):
            return True
        log.error("kept_rows_of_another_database", parts=len(self._kept.list()))
        self._kept.start_over(database)
        return False

    def _last_rows(self) -> list[Mark]:
        """Of each worker, the last rows of the part that was kept last."""
        newest: dict[str, Path] = {}
        for part in self._kept.list():
            newest.setdefault(part.worker, part.path)
        self._last = {path: self._last.get(path) or _read_last(path) for path in newest.values()}
        return [mark for marks in self._last.values() for mark in marks]

    async def _offer_again(self) -> None:
        self._found.clear()
        try:
            await self._offer()
        except BaseException:
            self._found.set()
            raise

    async def _offer(self) -> None:
        if not await self._is_same_database():
            return
        began, restored = monotonic(), 0
        for rows in self._batches():
            missing = await find_missing(self._pool, marks_of(rows))
            lost = [data for data in rows if (row := read_row(data)) is not None and row.request_id in missing]
            if not lost:
                continue
            refused = set(await self._write(lost))
            self._refused |= {mark.request_id for mark in marks_of(list(refused))}
            restored += len(lost) - len(refused)
            self._on_restored(len(lost) - len(refused))
        # What no part has is gone: looked for again, it would be found missing at each round.
        self._refused |= await find_missing(self._pool, [mark for chain in self.chains for mark in chain.marks])
        # Those that waited for Postgres meanwhile belong to what counters are seeded from.
        while began + MAX_WAIT_S > monotonic() and self._waiting_s() > monotonic() - began:
            await asyncio.sleep(0.1)
        await self._before_seeds()
        await record_restored_rows(self._pool)
        if not self._found.is_set():
            self._kept.note_done()
        log.warning("lost_rows_restored", rows=restored)

    def _batches(self) -> Iterator[list[bytes]]:
        """The rows that Postgres had: of this worker's journal, and of all that is kept, the newest part first."""
        for segment in reversed(list(self._journal.segments)):
            yield from _rows_of(segment.path, segment)
        for part in self._kept.list():
            yield from _rows_of(part.path)


def _rows_of(path: Path, written: Segment | None = None) -> Iterator[list[bytes]]:
    """Of one file, or of the part of a segment that was given up; one that cannot be read is logged."""
    until = None if written is None else written.offset
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC) if written is None else os.dup(written.file)
    except FileNotFoundError:
        return  # another worker has removed it
    except OSError as exc:
        log.error("journal_not_read", segment=path.name, cause=str(exc))
        return
    segment = Segment(path, file)
    try:
        while (until is None or segment.offset < until) and (chunk := segment.read()).end > segment.offset:
            yield chunk.rows
            segment.offset = chunk.end
    except OSError as exc:
        log.error("journal_not_read", segment=path.name, cause=str(exc))
    finally:
        segment.close()


def _read_last(path: Path) -> list[Mark]:
    """The rows that the last batch can have had."""
    last: list[bytes] = []
    for rows in _rows_of(path):
        last = [*last, *rows][-MAX_BATCH:]
    return marks_of(last)
