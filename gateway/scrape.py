"""What `GET /metrics` answers: the metrics of this process, or of all workers where they share a folder."""

import os
import struct
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import structlog
from prometheus_client import CollectorRegistry, generate_latest, multiprocess

from gateway.metrics import REGISTRY
from gateway.tallies import write_tallies

log = structlog.get_logger(__name__)


def scrape(multiprocess_folder: str | None) -> bytes:
    """The text Prometheus reads, of all workers where they share a folder."""
    if multiprocess_folder is None:
        write_tallies()
        return generate_latest(REGISTRY)
    _forget_dead_workers(Path(multiprocess_folder))
    registry = CollectorRegistry()
    _AllWorkers(registry, path=multiprocess_folder)  # type: ignore[no-untyped-call]  # untyped there
    return generate_latest(registry)


# What prometheus-client raises for a file that is not what it wrote.
_DAMAGED: Final = (struct.error, RuntimeError, ValueError, OSError)
_left_out: set[str] = set()


class _AllWorkers(multiprocess.MultiProcessCollector):
    """What all workers wrote. One that was killed while it made a file leaves it empty, and one that starts has it
    empty for a moment: no scrape is lost to that, nor to a file that is damaged."""

    def collect(self) -> Iterable[Any]:
        files = [str(file) for file in Path(self._path).glob("*.db") if _size(file) > 0]
        try:
            return self._merged(files)
        except _DAMAGED:
            return self._merged([file for file in files if self._can_be_read(file)])

    def _merged(self, files: list[str]) -> Iterable[Any]:
        found: Iterable[Any] = self.merge(files, accumulate=True)  # type: ignore[no-untyped-call]  # untyped there
        return found

    def _can_be_read(self, file: str) -> bool:
        try:
            self._merged([file])
        except _DAMAGED as exc:
            if file not in _left_out:
                _left_out.add(file)
                log.warning("metrics_file_left_out", file=file, cause=f"{type(exc).__name__}: {exc}")
            return False
        return True


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0  # of a worker that another scrape has just forgotten


def _forget_dead_workers(folder: Path) -> None:
    # What a worker held when it was killed is held no more. Its counters stay: what they counted has happened.
    for pid in {int(file.stem.rpartition("_")[2]) for file in folder.glob("gauge_live*.db")}:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            with suppress(FileNotFoundError):  # another worker is scraped at the same moment
                multiprocess.mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]  # untyped there
