"""The journal: usage rows on local disk, from the moment a call ends until Postgres has them.

`write()` survives a kill of the process; one fsync per 100 ms bounds what a power loss can take. No call waits for
either fsync or Postgres.
"""

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Final, Literal
from uuid import uuid4

import structlog

from gateway.domain.usage_rows import UsageRow
from gateway.storage.ledger.begun_calls import BegunCalls
from gateway.storage.ledger.journal_files import (
    BEGUN,
    Adopted,
    Chunk,
    JournalState,
    Segment,
    adopt,
    is_same,
    new_lock,
    sync_names,
    write_state,
)
from gateway.storage.ledger.journal_lines import encode_row
from gateway.storage.ledger.kept_parts import KeptParts

log = structlog.get_logger(__name__)

SEGMENT_BYTES: Final = 4 * 1024 * 1024
# Each segment keeps a descriptor: a large journal has larger ones.
MAX_SEGMENTS: Final = 64
SYNC_S: Final = 0.1
# How far the segments are in Postgres is written to the lock file for people.
OFFSETS_S: Final = 1.0
# A disk that was full or read-only is tried again after this.
RETRY_S: Final = 1.0

Trouble = Literal["write", "sync"]


class JournalFull(Exception):
    """The journal has its set size, or cannot be written: the rows are not in it."""


class Journal:
    """This worker's part: open for writing, and read by the writer. What Postgres has is kept for `keep_s` more.
    `on_trouble` gets what the disk refused."""

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int,
        keep_s: float = 0.0,
        on_trouble: Callable[[Trouble], None] = lambda _: None,
    ) -> None:
        self.folder = folder
        self.kept = KeptParts(folder, keep_s=keep_s, max_bytes=max_bytes)
        self._max_bytes = max_bytes
        self._segment_bytes = max(SEGMENT_BYTES, max_bytes // MAX_SEGMENTS)
        self._on_trouble = on_trouble
        self.worker = str(uuid4())
        self._state = JournalState(pid=os.getpid(), host=socket.gethostname())
        self._lock = -1
        self._number = 0
        self._is_open = False
        self._retry_at = 0.0
        self._is_reported = True
        self._reported_at = 0.0
        # Segments with something that a power loss could take.
        self._unsynced: set[Segment] = set()
        # Whether the names of all segments are on disk, too: syncing a file does not promise that.
        self._are_names_synced = True
        self.segments: list[Segment] = []
        self.begun = BegunCalls(self._fail_begun)
        self._begun_retry_at = 0.0
        # What is not in Postgres yet.
        self.size_bytes = 0

    @property
    def rows_waiting(self) -> int:
        """How many rows that is."""
        return sum(segment.waiting for segment in self.segments)

    @property
    def is_writable(self) -> bool:
        """Whether the disk took what was written last."""
        return self._is_open

    @property
    def is_taking(self) -> bool:
        """Whether a row written now would be safe."""
        return self._is_open and self.size_bytes < self._max_bytes

    def open(self) -> bool:
        """Takes a lock and starts a segment; False: the folder cannot be written, and will be tried again."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if self._lock < 0 or not is_same(self.folder / f"{self.worker}.lock", self._lock):
                self._take_lock()
            self._open_begun()
            self._start_segment()
        except OSError as exc:
            self._fail("write", exc)
        return self._is_open

    def _take_lock(self) -> None:
        if self._lock >= 0:
            # It was removed. Its segments are read on through their descriptors, under a new name.
            os.close(self._lock)
            self._lock = -1
            self.worker, self._number = str(uuid4()), 0
        self._lock = new_lock(self.folder, self.worker)
        write_state(self._lock, self._state)

    def _open_begun(self) -> None:
        path = self.folder / f"{self.worker}{BEGUN}"
        if not self.begun.is_at(path):
            try:
                self.begun.open(path)
                self._are_names_synced = False
            except OSError as exc:
                self._fail_begun(exc)

    def _fail_begun(self, cause: OSError) -> None:
        # Rows are safe without it, and calls are covered by their leases.
        log.error("begun_calls_not_written", folder=str(self.folder), cause=str(cause))
        self._begun_retry_at = monotonic() + RETRY_S
        self.record_error(f"begun calls: {cause}")
        self._on_trouble("write")

    def _start_segment(self) -> None:
        # No number twice: a disk that failed may keep the file.
        self._number += 1
        path = self.folder / f"{self.worker}.{self._number:06d}.log"
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        segment = Segment(path, file)
        try:
            segment.start()
        except OSError:
            with suppress(OSError):
                segment.remove()
            segment.close()
            raise
        if self.segments:
            self.segments[-1].drop_fresh()
        self.segments.append(segment)
        self._are_names_synced = False
        self._is_open = True

    def _fail(self, what: Trouble, cause: OSError) -> None:
        if self._is_open or self._retry_at == 0:
            log.error("journal_not_written", what=what, folder=str(self.folder), cause=str(cause))
        self._is_open = False
        self._retry_at = monotonic() + RETRY_S
        self.record_error(f"journal: {cause}")
        if cause.errno in (None, errno.ENOSPC, errno.EDQUOT):
            self.kept.make_room()
        self._on_trouble(what)

    def append(self, rows: Sequence[UsageRow]) -> None:
        """Raises JournalFull: not all of the rows are in it, and none may be taken to be."""
        if not self.is_taking:
            raise JournalFull
        segment = self.segments[-1]
        before = segment.size
        try:
            segment.append([encode_row(row) for row in rows])
        except OSError as exc:
            self._fail("write", exc)
            raise JournalFull from exc
        finally:
            self.size_bytes += segment.size - before
        self._unsynced.add(segment)
        if segment.size >= self._segment_bytes:
            self.open()

    def give_up(self, segment: Segment, chunk: Chunk) -> None:
        """Postgres has the chunk. A segment that is not written any more is removed when nothing waits in it."""
        self.size_bytes -= chunk.end - segment.offset
        segment.give_up(chunk)
        self._is_reported = False

    def drop_finished(self) -> None:
        """Removes segments that are read to their last whole line and not written any more."""
        for segment in list(self.segments):
            if segment is self.segments[-1] and self._is_open:
                break
            try:
                if segment.waiting or segment.read().end > segment.offset:
                    continue
                segment.finish(self.kept)
            except OSError as exc:
                # A read-only folder, a disk that fails: later, or by its adopter. Its rows are in Postgres.
                self.record_error(f"journal: {exc}")
                continue
            self.segments.remove(segment)
            # A torn line at its end was never part of anything.
            self.size_bytes -= segment.size - segment.offset
            self._unsynced.discard(segment)

    def _write_offsets(self) -> None:
        self._is_reported, self._reported_at = True, monotonic()
        self._state.offsets = {segment.path.name: segment.offset for segment in self.segments}
        write_state(self._lock, self._state)

    def record_error(self, error: str) -> None:
        """For `litemaas ledger status`."""
        self._state.error, self._state.error_at = error[:500], datetime.now(UTC).isoformat(timespec="seconds")
        write_state(self._lock, self._state)

    async def keep(self) -> None:
        """One fsync per 100 ms; and tries a disk again that took nothing. Until cancelled."""
        while True:
            await asyncio.sleep(SYNC_S)
            await self._sync()
            if not self._is_reported and monotonic() - self._reported_at >= OFFSETS_S:
                self._write_offsets()
            if self._is_open and not self._is_where_it_was():
                log.error("journal_removed", folder=str(self.folder))
                self.open()
            self.begun.clear()
            if self._is_open and not self.begun.is_open and monotonic() >= self._begun_retry_at:
                self._open_begun()
            if not self._is_open and monotonic() >= self._retry_at and self.open():
                log.warning("journal_written_again", folder=str(self.folder))
                self._retry_at = 0.0

    def _is_where_it_was(self) -> bool:
        return is_same(self.segments[-1].path, self.segments[-1].file)

    async def _sync(self) -> None:
        segments, self._unsynced = self._unsynced, set()
        for segment in segments:
            try:
                # A copy: the segment may be given up while it is being synced.
                file = os.dup(segment.file)
            except OSError as exc:
                if segment.file >= 0:
                    # Too many open files. It is not given up meanwhile, so it is tried again.
                    self._unsynced.add(segment)
                    self.record_error(f"journal: {exc}")
                continue
            try:
                await asyncio.to_thread(os.fsync, file)
            except OSError as exc:
                # The kernel may have dropped those pages and will not say so again: no more into this segment.
                self._fail("sync", exc)
            finally:
                os.close(file)
        try:
            await self.begun.sync()
        except OSError as exc:
            # Too many open files.
            self.record_error(f"begun calls: {exc}")
        if self._is_open and not self._are_names_synced:
            self._are_names_synced = True
            try:
                await asyncio.to_thread(sync_names, self.folder)
            except OSError as exc:
                self._fail("sync", exc)

    def adopt(self, *, but: frozenset[str] = frozenset()) -> Adopted | None:
        """The journal of a worker that is gone, if there is one; it is this worker's until it is closed."""
        return adopt(self.folder, self.kept, but=but | {self.worker})

    def close(self) -> None:
        """Removes what Postgres has; the rest waits for the worker that adopts it."""
        self._is_open = False
        try:
            self.drop_finished()
            for segment in self.segments:
                os.fsync(segment.file)
        except OSError as exc:
            log.error("journal_not_synced", cause=str(exc))
        for segment in self.segments:
            segment.close()
        self._close_begun()
        if self._lock >= 0:
            if not self.segments and not len(self.begun):
                (self.folder / f"{self.worker}.lock").unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = -1

    def _close_begun(self) -> None:
        """A call without a row is left to the adopter, as its lease is to a reaper."""
        try:
            self.begun.clear()
            if len(self.begun):
                self.begun.close()
            else:
                self.begun.remove()
        except OSError as exc:
            log.error("begun_calls_not_removed", cause=str(exc))
