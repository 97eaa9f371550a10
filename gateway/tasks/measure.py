"""Sets the metrics that are looked up rather than counted, and writes those that are added up."""

import asyncio
from collections.abc import Hashable
from time import monotonic
from typing import Final
from urllib.parse import urlsplit

from prometheus_client import Counter, ProcessCollector

from gateway import metrics
from gateway.settle import Settlements
from gateway.storage.counters.scripts import Counters
from gateway.storage.key_cache import KeyCache
from gateway.storage.ledger.writer import LedgerWriter
from gateway.tallies import Tallies
from gateway.upstream.pool import Server, UpstreamPool

MEASURE_S: Final = 1.0
# Of the process itself: the system lists its open files for it.
PROCESS_S: Final = 5.0


class Measurement:
    """Of one worker; `run` is a task of it. Not only when scraped: another process answers for all workers, by what
    each last wrote."""

    def __init__(
        self,
        *,
        tallies: Tallies,
        ledger: LedgerWriter,
        settlements: Settlements,
        keys: KeyCache,
        upstream: UpstreamPool,
        counters: Counters,
    ) -> None:
        self._tallies = tallies
        self._ledger = ledger
        self._settlements = settlements
        self._keys = keys
        self._upstream = upstream
        self._counters = counters
        self._addresses = [_address(server.upstream.url) for server in upstream.servers]
        self._counted: dict[Hashable, int] = {}

    async def run(self) -> None:
        """Once a second, until cancelled."""
        metrics.WORKERS.set(1)
        process_due_at = 0.0
        while True:
            self.measure()
            if monotonic() >= process_due_at:
                _measure_process()
                process_due_at = monotonic() + PROCESS_S
            slept_at = monotonic()
            await asyncio.sleep(MEASURE_S)
            metrics.LOOP_DELAY.set(max(monotonic() - slept_at - MEASURE_S, 0.0))

    def measure(self) -> None:
        """Once."""
        self._tallies.write()
        journal = self._ledger.journal
        metrics.LEDGER_JOURNAL_BYTES.set(journal.size_bytes)
        metrics.LEDGER_JOURNALS_WITHOUT_DISK.set(not (journal.is_writable and journal.begun.is_open))
        metrics.LEDGER_KEPT_BYTES.set(journal.kept.size_bytes)
        metrics.LEDGER_LEFT_BYTES.set(self._ledger.bytes_left)
        metrics.LEDGER_ROWS_WAITING.set(self._ledger.rows_waiting)
        metrics.LEDGER_WAITING.set(self._ledger.waiting_s)
        metrics.SETTLEMENTS_WAITING.set(len(self._settlements))
        metrics.CACHED_KEYS.set(len(self._keys))
        metrics.REDIS_CONNECTED.set(self._counters.is_connected)
        for address, server in zip(self._addresses, self._upstream.servers, strict=True):
            self._measure_server(address, server)

    def _measure_server(self, address: str, server: Server) -> None:
        metrics.UPSTREAM_LEFT_OUT.labels(address).set(server.breaker.is_open)
        metrics.UPSTREAM_IN_FLIGHT.labels(address).set(server.calls)
        for hundreds, answers in enumerate(server.answers):
            if answers:
                status = f"{hundreds}xx"
                self._raise_to(metrics.UPSTREAM_ANSWERS.labels(address, status), (address, status), answers)
        for cause, failures in server.failures.items():
            self._raise_to(metrics.UPSTREAM_FAILURES.labels(address, cause), (address, cause), failures)

    def _raise_to(self, counter: Counter, place: Hashable, value: int) -> None:
        counter.inc(value - self._counted.get(place, 0))
        self._counted[place] = value


def _address(url: str) -> str:
    """Without a user and password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


_PROCESS: Final = ProcessCollector(registry=None)
_cpu_s = 0.0


def _measure_process() -> None:
    """Nothing where the system has no /proc."""
    global _cpu_s
    read = {sample.name: sample.value for family in _PROCESS.collect() for sample in family.samples}
    if not read:
        return
    metrics.PROCESS_CPU.inc(read["process_cpu_seconds_total"] - _cpu_s)
    _cpu_s = read["process_cpu_seconds_total"]
    metrics.PROCESS_MEMORY.set(read["process_resident_memory_bytes"])
    metrics.PROCESS_START.set(read["process_start_time_seconds"])
    if "process_open_fds" in read:
        metrics.PROCESS_FILES.set(read["process_open_fds"])
        metrics.PROCESS_MAX_FILES.set(read["process_max_fds"])
