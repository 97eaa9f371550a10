"""How lines of the access log are written: many at a time, and whole, also where several workers write to one pipe."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from gateway import access_log
from gateway.access_log import AccessLog, Line

LINES: Final = 5_000
WORKERS: Final = 3
# Writes its lines to the pipe that is its standard output.
WORKER: Final = """
import sys
from gateway.access_log import AccessLog
log = AccessLog(is_on=True)
log.start()
for number in range(int(sys.argv[1])):
    log.end(log.begin("POST", "/v1/chat/completions", "127.0.0.1", "x" * (number % 120)), number)
log.close(30.0)
"""


class Counted:
    """A file that counts how often it is written to."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self.writes = 0

    def write(self, data: bytes) -> int:
        self.writes += 1
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    def fileno(self) -> int:
        return self._file.fileno()

    def close(self) -> None:
        self._file.close()


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Counted]:
    counted = Counted(tmp_path / "log")
    yield counted
    counted.close()


def write_lines(out: object) -> None:
    log = AccessLog(is_on=True, out=out)  # type: ignore[arg-type]  # as much of a file as it uses
    for number in range(LINES):
        line = log.begin("POST", "/v1/chat/completions", "127.0.0.1")
        assert isinstance(line, Line)
        log.end(line, number)
    log._write()


def test_thousands_of_lines_are_a_few_writes(tmp_path: Path, out: Counted) -> None:
    write_lines(out)

    written = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line["total_ms"] for line in written] == list(range(LINES))
    assert out.writes == -(-LINES // access_log.BATCH)


def test_without_locks_no_write_is_more_than_a_pipe_takes_as_a_whole(
    tmp_path: Path, out: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    write = out.write
    monkeypatch.setattr(out, "write", lambda data: sizes.append(len(data)) or write(data))
    monkeypatch.setattr(out, "fileno", lambda: -1)

    write_lines(out)

    assert max(sizes) <= access_log.AT_ONCE
    assert (tmp_path / "log").read_text().count("\n") == LINES


def test_lines_of_several_workers_into_one_pipe_are_whole() -> None:
    reading, writing = os.pipe()
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, str(LINES)], stdout=writing, cwd=Path(__file__).parents[2])
        for _ in range(WORKERS)
    ]
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        written = [json.loads(line) for line in pipe]

    assert [worker.wait() for worker in workers] == [0] * WORKERS
    assert sorted(line["total_ms"] for line in written) == sorted(list(range(LINES)) * WORKERS)
