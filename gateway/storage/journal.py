"""The journal: usage rows on local disk, from the moment a call ends until Postgres has them.

A worker owns a family of segments `<worker>.<number>.log`, told to be alive by a lock on `<worker>.lock`. A line is the
CRC-32 of its JSON, a space, and the JSON: a line torn by a crash is known and left out. `write()` survives a kill of
the process; one fsync per 100 ms bounds what a power loss can take.
"""

import asyncio
import fcntl
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final
from uuid import uuid4

import msgspec
import structlog

from gateway.domain.usage_rows import UsageRow

log = structlog.get_logger(__name__)

SEGMENT_BYTES: Final = 4 * 1024 * 1024
SYNC_S: Final = 0.1
READ_BYTES: Final = 512 * 1024

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(UsageRow).decode


class JournalFull(Exception):
    """The journal has its set size, or can not be written."""


def encode_line(row: UsageRow) -> bytes:
    """One line of a segment."""
    data = _encode(row)
    return b"%08x %s\n" % (zlib.crc32(data), data)


def decode_line(line: bytes) -> UsageRow | None:
    """The row, or None for a line that a crash tore."""
    try:
        if int(line[:8], 16) != zlib.crc32(line[9:]):
            return None
        return _decode(line[9:])
    except (ValueError, msgspec.MsgspecError):
        return None


class Segment:
    """One file; `offset` is how far its rows are in Postgres."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0

    def read(self) -> tuple[list[UsageRow], int]:
        """The next rows and the offset behind them; (…, self.offset): nothing whole is there now."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            data = file.read(READ_BYTES)
        end = data.rfind(b"\n") + 1
        rows = []
        for line in data[:end].splitlines():
            row = decode_line(line)
            if row is None:
                log.error("journal_line_unreadable", segment=self.path.name)
            else:
                rows.append(row)
        return rows, self.offset + end


class Journal:
    """This worker's part, open for writing, and what there is to be written to Postgres."""

    def __init__(self, folder: Path, *, most_bytes: int) -> None:
        self._folder = folder
        self._most_bytes = most_bytes
        self._worker = uuid4()
        self._lock = -1
        self._file = -1
        self._number = 0
        self._written = 0
        self._dirty = False
        self._kept_bytes = 0
        self.segments: list[Segment] = []

    @property
    def size_bytes(self) -> int:
        """What is on disk and not given up yet."""
        return self._kept_bytes + self._written

    @property
    def is_full(self) -> bool:
        """Whether nothing more may be journaled."""
        return self.size_bytes >= self._most_bytes

    def open(self) -> None:
        """Takes the worker's lock and starts a segment; raises OSError when the folder can not be written."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(self._folder / f"{self._worker}.lock")
        self._start_segment()

    def append(self, rows: Sequence[UsageRow]) -> None:
        """Raises JournalFull: the rows are not in it."""
        if self.is_full or self._file < 0:
            raise JournalFull
        data = b"".join(map(encode_line, rows))
        try:
            written = os.write(self._file, data)
            if written < len(data):
                raise OSError("short write")
        except OSError as exc:
            # A torn line would swallow the next one.
            self._start_segment_or_close()
            raise JournalFull from exc
        self._written += len(data)
        self._dirty = True
        if self._written >= SEGMENT_BYTES:
            self._start_segment_or_close()

    def _start_segment_or_close(self) -> None:
        try:
            self._start_segment()
        except OSError as exc:
            log.error("journal_not_writable", cause=str(exc))
            os.close(self._file)
            self._file = -1

    def _start_segment(self) -> None:
        path = self._folder / f"{self._worker}.{self._number + 1:06d}.log"
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        if self._file >= 0:
            os.fsync(self._file)
            os.close(self._file)
        self._file = file
        self._number += 1
        self._kept_bytes += self._written
        self._written = 0
        self.segments.append(Segment(path))

    def give_up(self, segment: Segment, offset: int) -> None:
        """Postgres has the rows up to `offset`. A segment that is not written any more goes when it is empty."""
        segment.offset = offset
        if segment is not self.segments[-1] and offset >= segment.path.stat().st_size:
            self._kept_bytes = max(0, self._kept_bytes - offset)
            segment.path.unlink(missing_ok=True)
            self.segments.remove(segment)

    async def keep_synced(self) -> None:
        """One fsync per 100 ms, until cancelled."""
        while True:
            await asyncio.sleep(SYNC_S)
            if self._dirty and self._file >= 0:
                self._dirty = False
                # A copy: the segment may be closed while it is being synced.
                file = os.dup(self._file)
                try:
                    await asyncio.to_thread(os.fsync, file)
                except OSError as exc:
                    log.error("journal_not_synced", cause=str(exc))
                finally:
                    os.close(file)

    def adopt(self) -> "Adopted | None":
        """The journal of a worker that is gone, if there is one; it is this worker's until it is closed."""
        for path in sorted(self._folder.glob("*.lock")):
            worker = path.stem
            if worker == str(self._worker):
                continue
            try:
                lock = _lock(path)
            except OSError:
                continue  # its owner lives, or another worker was faster
            if not path.exists():
                os.close(lock)
                continue
            return Adopted(path, lock, [Segment(p) for p in sorted(self._folder.glob(f"{worker}.*.log"))])
        return None

    def close(self) -> None:
        """Removes what Postgres has; the rest waits for whoever adopts it."""
        if self._file >= 0:
            os.fsync(self._file)
            os.close(self._file)
            self._file = -1
        for segment in list(self.segments):
            if segment.offset >= segment.path.stat().st_size:
                segment.path.unlink(missing_ok=True)
                self.segments.remove(segment)
        if not self.segments and self._lock >= 0:
            (self._folder / f"{self._worker}.lock").unlink(missing_ok=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


class Adopted:
    """A journal whose owner is gone."""

    def __init__(self, path: Path, lock: int, segments: list[Segment]) -> None:
        self._path = path
        self._lock = lock
        self.segments = segments

    def batches(self) -> Iterator[tuple[Segment, list[UsageRow], int]]:
        """Every row that is whole, with its segment and the offset behind it."""
        for segment in self.segments:
            while True:
                rows, offset = segment.read()
                if offset == segment.offset:
                    break
                yield segment, rows, offset
                segment.offset = offset

    def remove(self) -> None:
        """All of it is in Postgres."""
        for segment in self.segments:
            segment.path.unlink(missing_ok=True)
        self._path.unlink(missing_ok=True)
        os.close(self._lock)

    def leave(self) -> None:
        """Lets another worker, or this one later, try again."""
        os.close(self._lock)


def _lock(path: Path) -> int:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        raise
    return file
