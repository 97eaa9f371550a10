"""Resident memory of each worker during a run."""

import statistics
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from loadtests.processes import memory_bytes

TENTHS: Final = 10
# The first tenth warms up.
WARM: Final = 1
MAX_GROWTH: Final = 0.10
MIB: Final = 2**20


class Memory:
    """Samples from `begin` on; `planned_s` is how long it should be."""

    def __init__(self, workers: Collection[int], planned_s: float) -> None:
        self._workers = sorted(workers)
        self._began = time.monotonic()
        self._planned_s = planned_s
        self.samples: dict[int, list[tuple[float, int]]] = {pid: [] for pid in self._workers}

    def sample(self) -> None:
        """A worker that has ended has 0."""
        share = min(1.0, (time.monotonic() - self._began) / self._planned_s)
        for pid in self._workers:
            self.samples[pid].append((share, memory_bytes(pid)))

    def figures(self) -> Mapping[int, Sequence[float]]:
        """MiB of each worker: at the begin, the median of each tenth of the run, and at the end."""
        return {
            pid: [mib / MIB for mib in (found[0][1], *tenths(found), found[-1][1])]
            for pid, found in self.samples.items()
        }


def tenths(samples: Sequence[tuple[float, int]]) -> list[float]:
    """The median of each tenth of the run; samples are (share of the run, bytes). A tenth without any has the one
    before."""
    found: list[float] = []
    for number in range(TENTHS):
        values = [size for share, size in samples if min(TENTHS - 1, int(share * TENTHS)) == number]
        found.append(statistics.median(values) if values else (found or [samples[0][1]])[-1])
    return found


def growth(figures: Sequence[float]) -> float:
    """From the second tenth to the last, as a share; `figures` as Memory's."""
    of_tenths = figures[1:-1]
    return of_tenths[-1] / of_tenths[WARM] - 1
