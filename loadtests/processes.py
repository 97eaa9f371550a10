"""What processes use, from /proc, and the cores they run on."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from deploy.embedded.processes import NotStarted

PROC: Final = Path("/proc")
TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")
KIB: Final = 1024


def tree(pid: int) -> list[int]:
    """The process and all its descendants."""
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        found.append(one)
        waiting += _children(one)
    return found


def worker_pids(pid: int) -> set[int]:
    """The workers of a gateway, without its other children."""
    return {one for one in _children(pid) if b"spawn_main" in _command(one)}


def _children(pid: int) -> list[int]:
    return [int(child) for task in (PROC / str(pid) / "task").glob("*/children") for child in _read(task).split()]


def _command(pid: int) -> bytes:
    return _read(PROC / str(pid) / "cmdline").encode()


def cpu_s(pid: int, *, with_ended: bool = False) -> float:
    """User and system time of a process and its descendants, in seconds; `with_ended`: also of its children that have
    ended."""
    running = sum(_ticks(_read(PROC / str(one) / "stat")) for one in tree(pid))
    return (running + (_ticks_of_ended(_read(PROC / str(pid) / "stat")) if with_ended else 0)) / TICKS_A_SECOND


def _fields(stat: str) -> list[str]:
    # The name of the program is in parentheses, and may hold any character.
    return stat.rpartition(")")[2].split()


def _ticks(stat: str) -> int:
    return sum(map(int, _fields(stat)[11:13]))


def _ticks_of_ended(stat: str) -> int:
    return sum(map(int, _fields(stat)[13:15]))


def memory_bytes(pid: int) -> int:
    """Resident memory of a process and its descendants; what they share is counted for each."""
    return sum(_resident(_read(PROC / str(one) / "status")) for one in tree(pid))


def _resident(status: str) -> int:
    for line in status.splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * KIB
    return 0


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""  # it has ended


def choose_cores() -> tuple[set[int], set[int]]:
    """One core for the proxies, one for everything else. Raises NotStarted on a machine with one core."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise NotStarted("The bench needs two cores: one for the proxy, one for the client and the model server.")
    return {cores[0]}, {cores[1]}


@contextmanager
def started_on(cores: set[int]) -> Iterator[None]:
    """Child processes that are started within it run on these cores; this process goes back to its own."""
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, own)


def processor() -> str:
    """The name of the processor."""
    for line in _read(PROC / "cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown processor"


def load_average() -> Sequence[float]:
    """Of one, five and fifteen minutes."""
    return os.getloadavg()
