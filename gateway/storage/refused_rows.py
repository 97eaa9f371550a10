"""Rows that Postgres refused, and lines that nobody understood: kept in one file beside the journals."""

import fcntl
import os
from pathlib import Path
from typing import Final

REFUSED_FILE: Final = "refused.log"


def set_aside(folder: Path, line: bytes) -> None:
    """Adds a line, safe on disk when this returns; raises OSError."""
    while True:
        file = os.open(folder / REFUSED_FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_SH)
            if os.fstat(file).st_nlink == 0:
                continue  # taken for a replay meanwhile
            if os.write(file, line) < len(line):
                raise OSError("the disk is full")
            os.fsync(file)
            return
        finally:
            os.close(file)


def keep_only(path: Path, lines: list[bytes], *, seen: int) -> None:
    """After a replay of the first `seen` bytes: leaves `lines` and what came meanwhile; removes an empty file."""
    with path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(seen)
        rest = b"".join(lines) + file.read()
        if not rest:
            path.unlink()
            return
        hidden = path.with_suffix(".new")
        hidden.write_bytes(rest)
        hidden.chmod(0o600)
        hidden.rename(path)
