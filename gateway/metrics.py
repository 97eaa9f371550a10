"""What Prometheus scrapes: every metric of the gateway, named once. docs/metrics.md is checked against this.

Labels take only words from our own tables: never a key, a user, or a name a caller made up. With several workers,
PROMETHEUS_MULTIPROC_DIR (set by `litemaas gateway`) adds them up.
"""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from gateway.domain.errors import CODES
from gateway.storage.ledger.row_writer import Event
from gateway.web.build_info import new_build_info

REGISTRY: Final = CollectorRegistry()
# Seconds of a call, and of a realtime session.
CALL_BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 600.0, 3600.0)
# Seconds of what is short unless something is wrong.
SHORT_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

BUILD_INFO: Final = new_build_info(REGISTRY)
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
    buckets=CALL_BUCKETS,
    registry=REGISTRY,
)
CALL_SECONDS: Final = Histogram(
    "litemaas_call_seconds",
    "From the request to the end of the answer",
    ["endpoint"],
    buckets=CALL_BUCKETS,
    registry=REGISTRY,
)
OWN_SECONDS: Final = Histogram(
    "litemaas_own_seconds",
    "The gateway's own share of a call: without the time it waited for LiteLLM, or for the caller to send or to read",
    ["endpoint"],
    buckets=SHORT_BUCKETS,
    registry=REGISTRY,
)
MODEL_CALLS: Final = Counter(
    "litemaas_model_calls",
    "Calls answered, by model, its provider and ending",
    ["model", "provider", "ending"],
    registry=REGISTRY,
)
MODEL_TOKENS: Final = Counter(
    "litemaas_model_tokens",
    "Tokens of forwarded calls, by model and its provider",
    ["model", "provider", "direction"],
    registry=REGISTRY,
)
MODEL_COST: Final = Counter(
    "litemaas_model_cost_nano_usd",
    "Cost of forwarded calls in nano-USD, by model and its provider",
    ["model", "provider"],
    registry=REGISTRY,
)
MODEL_FIRST_BYTE: Final = Histogram(
    "litemaas_model_first_byte_seconds",
    "From the request to the first byte of the answer, by model and its provider",
    ["model", "provider"],
    buckets=CALL_BUCKETS,
    registry=REGISTRY,
)
MODEL_SECONDS: Final = Histogram(
    "litemaas_model_call_seconds",
    "From the request to the end of the answer, by model and its provider",
    ["model", "provider"],
    buckets=CALL_BUCKETS,
    registry=REGISTRY,
)
UPSTREAM_ANSWERS: Final = Counter(
    "litemaas_upstream_answers",
    "Answers of LiteLLM, by its address and class of status (2xx to 5xx)",
    ["address", "status"],
    registry=REGISTRY,
)
UPSTREAM_FAILURES: Final = Counter(
    "litemaas_upstream_failures",
    "Failures of an address of LiteLLM: unreachable, broken (the connection ended too early), silent (nothing came for "
    "the set time), not_litellm (a server error that LiteLLM did not sign)",
    ["address", "cause"],
    registry=REGISTRY,
)
UPSTREAM_LEFT_OUT: Final = Gauge(
    "litemaas_upstream_left_out",
    "Workers that leave an address of LiteLLM out, because it failed too often in a row",
    ["address"],
    multiprocess_mode="livesum",
    registry=REGISTRY,
)
UPSTREAM_IN_FLIGHT: Final = Gauge(
    "litemaas_upstream_calls_in_flight",
    "Calls being answered now, by address of LiteLLM",
    ["address"],
    multiprocess_mode="livesum",
    registry=REGISTRY,
)
REDIS_SECONDS: Final = Histogram(
    "litemaas_redis_seconds",
    "From a script's call to Redis's answer",
    ["script"],
    buckets=SHORT_BUCKETS,
    registry=REGISTRY,
)
REDIS_FAILURES: Final = Counter(
    "litemaas_redis_failures",
    "Scripts that Redis did not answer: not connected, no answer in time, or it cannot serve now",
    ["script"],
    registry=REGISTRY,
)
REDIS_CONNECTED: Final = Gauge(
    "litemaas_redis_connected", "Workers that are connected to Redis", multiprocess_mode="livesum", registry=REGISTRY
)
NOT_READY: Final = Gauge(
    "litemaas_workers_not_ready",
    "Workers that are not ready: their calls would be refused, or they are about to stop",
    multiprocess_mode="livesum",
    registry=REGISTRY,
)
DEGRADED: Final = Gauge(
    "litemaas_workers_degraded",
    "Workers that serve calls while Postgres, Redis, the journal or every LiteLLM is away",
    multiprocess_mode="livesum",
    registry=REGISTRY,
)
IN_FLIGHT: Final = Gauge(
    "litemaas_calls_in_flight", "Calls being forwarded now", multiprocess_mode="livesum", registry=REGISTRY
)
SESSIONS: Final = Gauge(
    "litemaas_realtime_sessions_open", "Realtime sessions open now", multiprocess_mode="livesum", registry=REGISTRY
)
LIMITS_UNAVAILABLE: Final = Counter(
    "litemaas_limits_unavailable",
    "Calls while Redis was unavailable: denied, allowed, within the worker's share (local), or beyond it (share_used)",
    ["outcome"],
    registry=REGISTRY,
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
LEDGER_KEPT_BYTES: Final = Gauge(
    "litemaas_ledger_kept_bytes",
    "Usage rows on disk that Postgres has: they are written again if it loses them",
    multiprocess_mode="livemax",
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
    "and set aside, direct (no journal took them), restored (written again after Postgres had lost them)",
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

WORKERS: Final = Gauge("litemaas_workers", "Workers that run", multiprocess_mode="livesum", registry=REGISTRY)
LOOP_DELAY: Final = Gauge(
    "litemaas_loop_delay_seconds",
    "How late the busiest worker came to a task that was due, at the last look: other work was before it",
    multiprocess_mode="livemax",
    registry=REGISTRY,
)
# The names that client libraries of Prometheus give them.
PROCESS_CPU: Final = Counter("process_cpu_seconds", "Processor time of all workers", registry=REGISTRY)
PROCESS_MEMORY: Final = Gauge(
    "process_resident_memory_bytes", "Memory of all workers", multiprocess_mode="livesum", registry=REGISTRY
)
PROCESS_FILES: Final = Gauge(
    "process_open_fds", "Open files and connections of the worker with most", multiprocess_mode="livemax",
    registry=REGISTRY,
)  # fmt: skip
PROCESS_MAX_FILES: Final = Gauge(
    "process_max_fds", "Most open files and connections of a worker", multiprocess_mode="livemax", registry=REGISTRY
)
PROCESS_START: Final = Gauge(
    "process_start_time_seconds", "Start of the worker that was started last, in Unix time",
    multiprocess_mode="livemax", registry=REGISTRY,
)  # fmt: skip

OWN_CODES: Final = frozenset(CODES)
# From 0 on: Prometheus sees no rise in a series that begins with its first error.
for _code, (_status, _) in CODES.items():
    if _status >= 500:
        ERRORS.labels(_code)


def count_look_ups(found_in: str, how_many: int) -> None:
    """Ids of stored responses, by where they were found."""
    RESPONSE_LOOK_UPS.labels(found_in).inc(how_many)


_LEDGER_EVENTS: dict[Event, Counter] = {
    **{what: LEDGER_ROWS.labels(what) for what in ("written", "replaced", "known", "refused", "direct", "restored")},
    "begun": LEDGER_BEGUN_CALLS,
    "batch": LEDGER_BATCHES.labels("written"),
    "batch_failed": LEDGER_BATCHES.labels("failed"),
    "write": LEDGER_JOURNAL_ERRORS.labels("write"),
    "sync": LEDGER_JOURNAL_ERRORS.labels("sync"),
}


def count_ledger_event(what: Event, times: int) -> None:
    """Metrics of the ledger writer."""
    _LEDGER_EVENTS[what].inc(times)
