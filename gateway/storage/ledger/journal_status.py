"""What a folder of journals holds, for people: read while workers write there."""

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gateway.domain.ids import milliseconds_of
from gateway.storage.ledger.begun_calls import read_begun
from gateway.storage.ledger.journal_files import BEGUN, Segment, journals_in, lock_file, read_state, segments_of
from gateway.storage.ledger.journal_lines import read_row
from gateway.storage.ledger.rejected_rows import REFUSED_FILE


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalStatus:
    """One worker's journal. `oldest` is when the first call that waits had started; `rows` wait for Postgres, by what
    the worker said a second ago at most; `begun` are calls under way, or ended a moment ago."""

    worker: str
    is_alive: bool
    pid: int | None
    host: str | None
    rows: int
    bytes: int
    begun: int
    oldest: datetime | None
    error: str | None
    error_at: str | None


def list_journals(folder: Path) -> list[JournalStatus]:
    """Every journal; raises OSError when the folder cannot be read."""
    return [_status(folder, worker) for worker in journals_in(folder)]


def count_refused(folder: Path) -> int:
    """Rows that were set aside."""
    try:
        return (folder / REFUSED_FILE).read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def _status(folder: Path, worker: str) -> JournalStatus:
    state = read_state(folder / f"{worker}.lock")
    rows = size = 0
    oldest: datetime | None = None
    for path in segments_of(folder, worker):
        try:
            segment = Segment(path, os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        except FileNotFoundError:
            continue  # removed meanwhile
        segment.offset = (state.offsets if state else {}).get(path.name, 0)
        while (chunk := segment.read()).end > segment.offset:
            rows += len(chunk.rows)
            size += chunk.end - segment.offset
            segment.offset = chunk.end
            first = read_row(chunk.rows[0]) if chunk.rows and oldest is None else None
            if first is not None:
                oldest = datetime.fromtimestamp(milliseconds_of(first.request_id) / 1000, UTC)
        segment.close()
    return JournalStatus(
        worker=worker,
        is_alive=_is_locked(folder / f"{worker}.lock"),
        pid=state.pid if state else None,
        host=state.host if state else None,
        rows=rows,
        bytes=size,
        begun=len(read_begun(folder / f"{worker}{BEGUN}")),
        oldest=oldest,
        error=state.error if state else None,
        error_at=state.error_at if state else None,
    )


def _is_locked(path: Path) -> bool:
    if not path.exists():
        return False
    try:
        os.close(lock_file(path))
    except OSError:
        return True
    return False
