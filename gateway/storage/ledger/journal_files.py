"""What a journal is on disk: segments, and the lock that shows whether its worker lives.

A worker owns a family of segments `<worker>.<number>.log` and `<worker>.lock`, on which it holds a file lock while it
lives: no process id is asked, so none can be mistaken for another's. A segment begins with a head line; each line after
it is a row (journal_lines.py). `<worker>.begun` has the calls under way (begun_calls.py).
"""

import errno
import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
import structlog

from gateway.storage.counters.layout import Lease
from gateway.storage.ledger.begun_calls import read_begun
from gateway.storage.ledger.journal_lines import check_line, line_of, size_of
from gateway.storage.ledger.kept_parts import KeptParts

log = structlog.get_logger(__name__)

READ_BYTES: Final = 128 * 1024
# Of rows that are still in memory, so many are read at once.
READ_ROWS: Final = 256
# So many are kept there; while Postgres is away, the others wait on disk alone.
MAX_FRESH: Final = 4096
HEAD: Final = b"# litemaas journal 1\n"
BEGUN: Final = ".begun"
# A journal without a lock is left alone until it was not written for so long.
COPIED_S: Final = 5.0


@dataclass(slots=True)
class Chunk:
    """The next part of a segment: `end` is the offset after it, `rows` are rows as JSON, undecoded, and `damaged` are
    lines that are no rows."""

    end: int
    rows: list[bytes] = field(default_factory=list)
    damaged: list[bytes] = field(default_factory=list)


class Segment:
    """One file; `offset` is how far its rows are in Postgres, `waiting` how many are not, where that is known.

    Read through a descriptor of its own: a segment that is removed meanwhile loses nothing. Its writer need not read
    again what it has just written: the rows from `_fresh_from` on are kept in memory, too.
    """

    __slots__ = ("_fresh", "_fresh_from", "file", "offset", "path", "size", "waiting")

    def __init__(self, path: Path, file: int) -> None:
        self.path = path
        self.file = file
        self.offset = 0
        self.size = 0
        self.waiting = 0
        self._fresh: list[bytes] = []
        self._fresh_from: int | None = None

    def start(self) -> None:
        """Writes the head of a new file, which is a trial of the disk, too: an empty file fits on a full one. Raises
        OSError."""
        if os.write(self.file, HEAD) < len(HEAD):
            raise OSError("the disk is full")
        self.size = self.offset = self._fresh_from = len(HEAD)

    def append(self, rows: Sequence[bytes]) -> None:
        """Adds rows as JSON to a segment that was started. Raises OSError: a part of them may be in the file, and
        nothing more may be added: a torn line would swallow the next one."""
        data = b"".join([line_of(row) for row in rows]) if len(rows) > 1 else line_of(rows[0])
        written = os.write(self.file, data)
        self.size += written
        if written < len(data):
            # The whole ones of these rows are read from the disk, as when it is adopted: memory does not have them.
            self._fresh, self._fresh_from = [], None
            raise OSError("the disk is full")
        self.waiting += len(rows)
        self._fresh += rows
        if len(self._fresh) > MAX_FRESH:
            self.drop_fresh()

    def drop_fresh(self) -> None:
        """Frees the rows that are in memory and on disk."""
        if self._fresh_from is not None:
            self._fresh_from += size_of(self._fresh)
            self._fresh = []

    def read(self) -> Chunk:
        """What is whole from `offset` on; `end` is still `offset` when there is nothing."""
        if self.offset == self._fresh_from:
            rows = self._fresh[:READ_ROWS]
            return Chunk(self.offset + size_of(rows), rows)
        room = READ_BYTES if self._fresh_from is None else min(READ_BYTES, self._fresh_from - self.offset)
        data = os.pread(self.file, room, self.offset)
        end = data.rfind(b"\n") + 1
        chunk = Chunk(self.offset + end)
        if end == 0 and data and len(data) == room:
            # No line is that long: blocks that a power loss left unwritten. What follows may be whole.
            log.error("journal_damaged", segment=self.path.name, offset=self.offset)
            chunk.end += len(data)
        for line in data[:end].split(b"\n")[:-1]:
            row = check_line(line)
            if row is not None:
                chunk.rows.append(row)
            elif not line.startswith(b"#"):
                chunk.damaged.append(line + b"\n")
        return chunk

    def give_up(self, chunk: Chunk) -> None:
        """Postgres has what was read last."""
        if self.offset == self._fresh_from:
            del self._fresh[: len(chunk.rows)]
            self._fresh_from = chunk.end
        self.offset = chunk.end
        self.waiting = max(0, self.waiting - len(chunk.rows))

    def remove(self) -> None:
        """No row of it is needed."""
        self.path.unlink(missing_ok=True)
        self.close()

    def finish(self, kept: KeptParts) -> None:
        """Every row of it is in Postgres. Raises OSError."""
        kept.take(self.path, is_empty=self.offset <= len(HEAD))
        self.close()

    def close(self) -> None:
        """Leaves the file where it is. May be called twice."""
        if self.file >= 0:
            os.close(self.file)
            self.file = -1


class Adopted:
    """A journal whose owner is gone; it is ours until `remove` or `leave`."""

    def __init__(self, path: Path, lock: int, segments: Sequence[Path], kept: KeptParts) -> None:
        """Raises OSError for a segment that cannot be opened; the lock is released then."""
        self.name = path.stem
        self.kept = kept
        self._path = path
        self._begun = path.with_suffix(BEGUN)
        self._lock = lock
        self._segments: list[Segment] = []
        try:
            for segment in segments:
                self._segments.append(Segment(segment, os.open(segment, os.O_RDONLY | os.O_CLOEXEC)))
        except OSError:
            self.leave()
            raise

    def chunks(self) -> Iterator[Chunk]:
        """Every part of every segment, from the start: what is in Postgres already changes nothing. A segment goes when
        the next one is asked for, so that where Postgres fails time and again, there is less to do each time."""
        for segment in self._segments:
            while (chunk := segment.read()).end > segment.offset:
                yield chunk
                segment.offset = chunk.end
            if torn := os.fstat(segment.file).st_size - segment.offset:
                # Its process died while it wrote: the lease was not settled, so the reaper accounts for the call.
                log.warning("journal_line_torn", segment=segment.path.name, bytes=torn)
            with suppress(OSError):
                segment.finish(self.kept)

    def begun(self) -> list[tuple[int, Lease]]:
        """The calls that were under way, with their accounts; also some that have rows. Raises OSError."""
        return read_begun(self._begun)

    @property
    def size_bytes(self) -> int:
        """What has not been read of it yet."""
        return sum(os.fstat(segment.file).st_size - segment.offset for segment in self._segments if segment.file >= 0)

    def remove(self) -> None:
        """All of it is in Postgres."""
        for segment in self._segments:
            if segment.file >= 0:
                segment.finish(self.kept)
        self._begun.unlink(missing_ok=True)
        self._path.unlink(missing_ok=True)
        os.close(self._lock)

    def leave(self) -> None:
        """Lets another worker, or this one later, try again."""
        for segment in self._segments:
            segment.close()
        os.close(self._lock)


def adopt(folder: Path, kept: KeptParts, *, but: frozenset[str] = frozenset()) -> Adopted | None:
    """A journal whose owner is gone, if there is one but those named; also where its lock was lost."""
    for worker in journals_in(folder):
        if worker in but:
            continue
        path = folder / f"{worker}.lock"
        if not path.exists() and _is_being_written([*segments_of(folder, worker), path.with_suffix(BEGUN)]):
            continue
        try:
            lock = lock_file(path)
        except OSError:
            continue  # its owner lives, or another worker was faster
        if not is_same(path, lock):
            os.close(lock)
            continue  # its owner has just removed it
        try:
            return Adopted(path, lock, segments_of(folder, worker), kept)
        except OSError as exc:
            # Too many open files, say: later, and the others now.
            log.error("journal_not_readable", worker=worker, cause=str(exc))
    return None


def _is_being_written(files: Sequence[Path]) -> bool:
    """Whether a process without the lock may still write it: a journal that is copied here from another disk. Removing
    it would lose what was not read yet."""
    now = time.time()
    for file in files:
        with suppress(FileNotFoundError):
            if 0 <= now - file.stat().st_mtime < COPIED_S:
                return True
    return False


def journals_in(folder: Path) -> list[str]:
    """The workers that have a journal there."""
    patterns = ("*.lock", "*.[0-9]*.log", f"*{BEGUN}")
    return sorted({path.name.split(".")[0] for pattern in patterns for path in folder.glob(pattern)})


def segments_of(folder: Path, worker: str) -> list[Path]:
    """Oldest first."""
    return sorted(folder.glob(f"{worker}.[0-9]*.log"))


def new_lock(folder: Path, worker: str) -> int:
    """A lock that is held before it is visible: else an adopter might be faster than the owner."""
    hidden = folder / f"{worker}.new"
    lock = lock_file(hidden)
    hidden.rename(folder / f"{worker}.lock")
    return lock


def sync_names(folder: Path) -> None:
    """What files there are in it, safe on disk when this returns, where the file system can say so; raises OSError."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    except OSError as exc:
        if exc.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(file)


def lock_file(path: Path) -> int:
    """A descriptor that holds the lock; raises OSError when another process does."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        raise
    return file


def is_same(path: Path, file: int) -> bool:
    """Whether the open file is the one at the path, and not one that was removed there."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except OSError:  # also where the folder has become a file
        return False


class JournalState(msgspec.Struct):
    """What a worker reports in its lock file, for `litemaas ledger status`."""

    pid: int
    host: str
    # How far each segment that is still there is in Postgres.
    offsets: dict[str, int] = {}
    error: str | None = None
    error_at: str | None = None


_decode_state = msgspec.json.Decoder(JournalState).decode


def write_state(lock: int, state: JournalState) -> None:
    """Replaces the file. A disk that cannot be written is reported elsewhere."""
    data = msgspec.json.encode(state) + b"\n"
    with suppress(OSError):
        os.ftruncate(lock, os.pwrite(lock, data, 0))


def read_state(path: Path) -> JournalState | None:
    """None where the worker has not written one yet."""
    try:
        return _decode_state(path.read_bytes().strip())
    except (OSError, msgspec.MsgspecError):
        return None
