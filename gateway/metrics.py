"""What Prometheus scrapes: every metric of the gateway, named once. docs/metrics.md is checked against this.

Labels take only words from our own tables: never a key, a user, or a name a caller made up. With several workers,
PROMETHEUS_MULTIPROC_DIR (set by `litemaas gateway`) adds them up.
"""

import os
import struct
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

from gateway.domain.errors import CODES
from gateway.domain.usage_rows import UsageRow
from gateway.storage.ledger.writer import Event

log = structlog.get_logger(__name__)

REGISTRY: Final = CollectorRegistry()

CALLS: Final = Counter(
    "litemaas_calls",
    "Calls answered, by endpoint, status and ending",
    ["endpoint", "status", "ending"],
    registry=REGISTRY,
)
REFUSALS: Final = Counter(
    "litemaas_refusals", "Calls refused by a limit, by its level and kind", ["level", "kind", "code"], registry=REGISTRY
)
SHADOW_REFUSALS: Final = Counter(
    "litemaas_shadow_refusals", "Calls that a shadow limit would have refused", ["level", "kind"], registry=REGISTRY
)
ERRORS: Final = Counter(
    "litemaas_errors", "Calls answered with an error of the gateway's own", ["code"], registry=REGISTRY
)
PARAMETERS_REFUSED: Final = Counter(
    "litemaas_parameters_refused", "Calls refused for a field that no list allows", ["endpoint"], registry=REGISTRY
)
OTHER_MODELS_SERVED: Final = Counter(
    "litemaas_other_models_served",
    "Calls answered by another model of the catalogue than the key was granted, charged by its price",
    registry=REGISTRY,
)
PINGS: Final = Counter("litemaas_pings", "Comments sent into silent streams", registry=REGISTRY)
READ_ON: Final = Counter(
    "litemaas_read_on",
    "Calls read on after their caller left, by what they are charged by: usage that was reported, or an estimate",
    ["charged_by"],
    registry=REGISTRY,
)
RESPONSE_LOOK_UPS: Final = Counter(
    "litemaas_response_look_ups",
    "Ids of stored responses that were looked up, by where: worker, redis, postgres, nowhere, or failed",
    ["found_in"],
    registry=REGISTRY,
)
TOKENS: Final = Counter("litemaas_tokens", "Tokens of forwarded calls", ["direction"], registry=REGISTRY)
COST: Final = Counter("litemaas_cost_nano_usd", "Cost of forwarded calls in nano-USD", registry=REGISTRY)
COST_DIFFERENCE: Final = Counter(
    "litemaas_cost_difference_nano_usd",
    "Difference between LiteLLM's figure of a call and that of the model's price, in nano-USD, by which is higher",
    ["higher"],
    registry=REGISTRY,
)
IMPLAUSIBLE_COSTS: Final = Counter(
    "litemaas_implausible_costs",
    "Calls for which LiteLLM reported more than ten times what they can cost at most; they were charged by their price",
    registry=REGISTRY,
)
FIRST_BYTE: Final = Histogram(
    "litemaas_first_byte_seconds",
    "From the request to the first byte of the answer",
    ["endpoint"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 600),
    registry=REGISTRY,
)
IN_FLIGHT: Final = Gauge(
    "litemaas_calls_in_flight", "Calls being forwarded now", multiprocess_mode="livesum", registry=REGISTRY
)
SESSIONS: Final = Gauge(
    "litemaas_realtime_sessions_open", "Realtime sessions open now", multiprocess_mode="livesum", registry=REGISTRY
)
LIMITS_UNAVAILABLE: Final = Counter(
    "litemaas_limits_unavailable", "Calls while Redis was unavailable, by outcome", ["outcome"], registry=REGISTRY
)
LEDGER_ROWS_WAITING: Final = Gauge(
    "litemaas_ledger_rows_waiting", "Usage rows not yet in Postgres", multiprocess_mode="livesum", registry=REGISTRY
)
LEDGER_WAITING: Final = Gauge(
    "litemaas_ledger_waiting_seconds",
    "How long the oldest waiting row waits",
    multiprocess_mode="livemax",
    registry=REGISTRY,
)
LEDGER_JOURNAL_BYTES: Final = Gauge(
    "litemaas_ledger_journal_bytes",
    "Usage rows on disk, not yet in Postgres",
    multiprocess_mode="livesum",
    registry=REGISTRY,
)
LEDGER_LEFT_BYTES: Final = Gauge(
    "litemaas_ledger_left_bytes",
    "Journals of workers that are gone, which could not be written yet",
    multiprocess_mode="livemax",
    registry=REGISTRY,
)
LEDGER_JOURNALS_WITHOUT_DISK: Final = Gauge(
    "litemaas_ledger_journals_without_disk",
    "Workers whose journal cannot be written: full disk or read-only folder",
    multiprocess_mode="livesum",
    registry=REGISTRY,
)
LEDGER_CLOSED_UNTIL: Final = Gauge(
    "litemaas_ledger_sealed_until_seconds",
    "End of the last sealed day of the ledger, in Unix time",
    multiprocess_mode="livemax",
    registry=REGISTRY,
)
LEDGER_ROWS: Final = Counter(
    "litemaas_ledger_rows",
    "Usage rows, by outcome: written, replaced (an estimate), known (there already), refused by Postgres "
    "and set aside, direct (no journal took them)",
    ["outcome"],
    registry=REGISTRY,
)
LEDGER_BEGUN_CALLS: Final = Counter(
    "litemaas_ledger_begun_calls",
    "Calls that a worker had begun when it died, found beside its journal: each has a row now",
    registry=REGISTRY,
)
LEDGER_BATCHES: Final = Counter(
    "litemaas_ledger_batches",
    "Batches for Postgres: written, or failed and tried again",
    ["outcome"],
    registry=REGISTRY,
)
LEDGER_JOURNAL_ERRORS: Final = Counter(
    "litemaas_ledger_journal_errors", "What the disk refused the journal: write or sync", ["action"], registry=REGISTRY
)
SETTLEMENTS_WAITING: Final = Gauge(
    "litemaas_settlements_waiting",
    "Ended calls whose leases are not settled yet",
    multiprocess_mode="livesum",
    registry=REGISTRY,
)
SEEDS: Final = Counter("litemaas_counters_seeded", "Counters seeded from the ledger", registry=REGISTRY)
REAPED: Final = Counter(
    "litemaas_leases_reaped", "Leases of gateways that died, charged by estimate", registry=REGISTRY
)
LEASES_LOST: Final = Counter("litemaas_leases_lost", "Open leases Redis lost, taken again", registry=REGISTRY)
LINES_DROPPED: Final = Counter(
    "litemaas_access_log_lines_dropped", "Lines of the access log its output did not take", registry=REGISTRY
)
DRIFT: Final = Gauge(
    "litemaas_counter_drift",
    "Largest difference of a window counter from the ledger at the last look, as a share of the larger of the two",
    ["kind"],
    multiprocess_mode="livemax",
    registry=REGISTRY,
)
CACHED_KEYS: Final = Gauge("litemaas_cached_keys", "Key records held", multiprocess_mode="livesum", registry=REGISTRY)

OWN_CODES: Final = frozenset(CODES)
_CALLS: dict[tuple[str, int, str], Counter] = {}
_FIRST_BYTE: dict[str, Histogram] = {}
_LITELLM_HIGHER, _OWN_HIGHER = COST_DIFFERENCE.labels("litellm"), COST_DIFFERENCE.labels("own")
_IN, _OUT = TOKENS.labels("input"), TOKENS.labels("output")


def count_look_ups(found_in: str, how_many: int) -> None:
    """Ids of stored responses, by where they were found."""
    RESPONSE_LOOK_UPS.labels(found_in).inc(how_many)


def count_call(endpoint: str, row: UsageRow) -> None:
    """One forwarded call."""
    place = (endpoint, row.status, row.ending)
    calls = _CALLS.get(place)
    if calls is None:
        # Finding a label's child costs more than counting: the set of them is small and fixed.
        calls = _CALLS[place] = CALLS.labels(endpoint, str(row.status), row.ending)
    calls.inc()
    if row.prompt_tokens:
        _IN.inc(row.prompt_tokens)
    if row.completion_tokens:
        _OUT.inc(row.completion_tokens)
    if row.cost_nano_usd:
        COST.inc(row.cost_nano_usd)
    if row.litellm_cost_nano_usd is not None and row.own_cost_nano_usd is not None:
        count_difference(row.litellm_cost_nano_usd - row.own_cost_nano_usd)
    if row.first_byte_ms is not None:
        first_byte = _FIRST_BYTE.get(endpoint)
        if first_byte is None:
            first_byte = _FIRST_BYTE[endpoint] = FIRST_BYTE.labels(endpoint)
        first_byte.observe(row.first_byte_ms / 1000)


def count_difference(nano_usd: int) -> None:
    """What LiteLLM says that a call cost, less what its price says."""
    if nano_usd > 0:
        _LITELLM_HIGHER.inc(nano_usd)
    elif nano_usd:
        _OWN_HIGHER.inc(-nano_usd)


_LEDGER_EVENTS: dict[Event, Counter] = {
    **{what: LEDGER_ROWS.labels(what) for what in ("written", "replaced", "known", "refused", "direct")},
    "begun": LEDGER_BEGUN_CALLS,
    "batch": LEDGER_BATCHES.labels("written"),
    "batch_failed": LEDGER_BATCHES.labels("failed"),
    "write": LEDGER_JOURNAL_ERRORS.labels("write"),
    "sync": LEDGER_JOURNAL_ERRORS.labels("sync"),
}


def count_ledger_event(what: Event, times: int) -> None:
    """Metrics of the ledger writer."""
    _LEDGER_EVENTS[what].inc(times)


def scrape(multiprocess_folder: str | None) -> bytes:
    """The text Prometheus reads, of all workers where they share a folder."""
    if multiprocess_folder is None:
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
