"""Parts of journals that Postgres has: kept for a while, since it may lose its last commits. A replica that is promoted
without them, or a backup that is restored, asks for them again (lost_rows.py).

They are segments (journal_files.py), in a folder of their own, which no adopter looks at. The time of a file is when
Postgres had the last row of it.
"""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

log = structlog.get_logger(__name__)

FOLDER: Final = "kept"
# Which database has the rows.
DATABASE_FILE: Final = "database"
# All of it is to be offered again: somebody found that rows are missing, and may have died since.
DUE_FILE: Final = "due"


@dataclass(frozen=True, slots=True)
class KeptPart:
    """One file; `kept_at` is when Postgres had all of it, in Unix time."""

    path: Path
    worker: str
    bytes: int
    kept_at: float


class KeptParts:
    """Those of all workers of a folder. With `keep_s` 0 nothing is kept. Together with what waits for Postgres they
    take `max_bytes`: the oldest go first."""

    def __init__(self, journal: Path, *, keep_s: float, max_bytes: int) -> None:
        self.folder = journal / FOLDER
        self.keep_s = keep_s
        self._max_bytes = max_bytes
        # At the last look.
        self.size_bytes = 0

    def take(self, path: Path, *, is_empty: bool = False) -> None:
        """Postgres has every row of this file: it is kept, or removed. Raises OSError if it stays where it is."""
        if self.keep_s > 0 and not is_empty:
            try:
                self.folder.mkdir(exist_ok=True)
                # The kernel's own times are of its last tick, in which another part may have been kept.
                os.utime(path, ns=(time.time_ns(),) * 2)
                path.rename(self.folder / path.name)
            except OSError as exc:
                # Also a folder that was removed with the file.
                log.warning("journal_part_not_kept", part=path.name, cause=str(exc))
            else:
                return
        path.unlink(missing_ok=True)

    def write(self, worker: str, data: bytes) -> None:
        """Rows that Postgres has and that were in no journal, as a segment. A disk that refuses them is logged."""
        if self.keep_s <= 0:
            return
        path = self.folder / f"{worker}.{time.time_ns()}.log"
        try:
            self.folder.mkdir(exist_ok=True)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
                file.write(data)
        except OSError as exc:
            log.warning("journal_part_not_kept", part=path.name, cause=str(exc))

    def list(self) -> list[KeptPart]:
        """The newest first."""
        return sorted(self._parts(), key=lambda part: (part.kept_at, part.path.name), reverse=True)

    def _parts(self) -> Iterator[KeptPart]:
        for path in self.folder.glob("*.[0-9]*.log"):
            with suppress(OSError):  # another worker removes old ones, too; a disk that fails
                about = path.stat()
                yield KeptPart(path, path.name.split(".")[0], about.st_size, about.st_mtime)

    def prune(self, *, waiting: int, expires: bool) -> None:
        """Removes what is beyond `max_bytes` beside `waiting` bytes of the journal; if `expires`, also what was kept
        for long enough: not before it is known that Postgres has it still."""
        room, now, size = self._max_bytes - waiting, time.time(), 0
        for part in self.list():
            is_over = expires and now - part.kept_at > self.keep_s
            if size + part.bytes <= room and not is_over:
                size += part.bytes
                continue
            if not is_over:
                log.warning("journal_part_dropped_early", part=part.path.name, kept_s=round(now - part.kept_at))
            with suppress(OSError):
                part.path.unlink(missing_ok=True)
        self.size_bytes = size

    def make_room(self) -> None:
        """Removes everything. The disk is full: what waits is worth more."""
        for part in self.list():
            with suppress(OSError):
                part.path.unlink(missing_ok=True)

    def is_of(self, database: str) -> bool:
        """Whether the rows were in this database; what is kept first belongs to the first one that is named."""
        file = self.folder / DATABASE_FILE
        try:
            if not self.folder.is_dir():
                return True
            known = file.read_text() if file.exists() else ""
            if not known:
                file.write_text(database)
            return known in ("", database)
        except OSError as exc:
            log.warning("kept_database_unknown", cause=str(exc))
            return True

    def start_over(self, database: str) -> None:
        """With nothing, for this database."""
        self.make_room()
        self.note_done()
        with suppress(OSError):
            (self.folder / DATABASE_FILE).write_text(database)

    def note_due(self) -> None:
        """They are to be offered again: another process does it if this one cannot any more."""
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / DUE_FILE).touch()

    @property
    def is_due(self) -> bool:
        """Whether somebody found that they are to be offered again."""
        return (self.folder / DUE_FILE).exists()

    def note_done(self) -> None:
        """All of them were offered."""
        with suppress(OSError):
            (self.folder / DUE_FILE).unlink(missing_ok=True)
