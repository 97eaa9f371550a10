"""Rows that Postgres refused, and lines that are no rows: kept in one file beside the journals."""

import fcntl
import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import structlog

from gateway.storage.ledger.journal_files import is_same, sync_names

if TYPE_CHECKING:
    from collections.abc import Iterator

log = structlog.get_logger(__name__)

REFUSED_FILE: Final = "refused.log"


class NotTakenOut(Exception):
    """The file cannot be changed, so it has all of its lines still; the message says why."""


def set_aside(folder: Path, line: bytes) -> None:
    """Adds a line, safe on disk when this returns; raises OSError."""
    while True:
        file = os.open(folder / REFUSED_FILE, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            about = os.fstat(file)
            if about.st_nlink == 0:
                continue  # taken for a replay meanwhile
            # One that a full disk or a crash cut off would swallow this one.
            is_torn = about.st_size > 0 and os.pread(file, 1, about.st_size - 1) != b"\n"
            data = b"\n" + line if is_torn else line
            if os.write(file, data) < len(data):
                raise OSError("the disk is full")
            os.fsync(file)
            if about.st_size == 0:
                sync_names(folder)
            return
        finally:
            os.close(file)


def is_set_aside(folder: Path, line: bytes) -> bool:
    """Whether the file has this line already."""
    try:
        return line in (folder / REFUSED_FILE).read_bytes()
    except OSError:
        return False


def set_aside_or_log(folder: Path, line: bytes) -> None:
    """As `set_aside`, of a usage row; if the disk does not take it, the log does."""
    try:
        set_aside(folder, line)
    except OSError as exc:
        # The log is the last place where it can be found. Rows hold no prompts, answers or secrets.
        log.error("usage_row_not_set_aside", cause=str(exc), line=line.decode("utf-8", "replace"))


def read_whole(file: IO[bytes]) -> bytes:
    """Every line; none that is being added at this moment is cut off."""
    with _locked(file, fcntl.LOCK_SH):
        return file.read()


def keep_only(path: Path, file: IO[bytes], lines: list[bytes], *, seen: int) -> None:
    """After a replay of the first `seen` bytes: leaves `lines` and what came meanwhile; removes an empty file. Raises
    NotTakenOut.

    `file` was opened before it was read. Where another replay has replaced it since, what that left stays as it is."""
    try:
        with _locked(file, fcntl.LOCK_EX):
            if not is_same(path, file.fileno()):
                return
            file.seek(seen)
            rest = b"".join(lines) + file.read()
            if rest:
                _replace(path, rest)
            else:
                path.unlink()
    except OSError as exc:
        raise NotTakenOut(exc.strerror or str(exc)) from exc


@contextmanager
def _locked(file: IO[bytes], how: int) -> "Iterator[None]":
    fcntl.flock(file, how)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


def _replace(path: Path, data: bytes) -> None:
    hidden = path.with_suffix(".new")
    try:
        with open(os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as new:
            new.write(data)
            new.flush()
            os.fsync(new.fileno())
        hidden.rename(path)
        sync_names(path.parent)
    except OSError:
        with suppress(OSError):
            hidden.unlink()
        raise
