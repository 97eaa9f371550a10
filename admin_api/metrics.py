"""What Prometheus scrapes of the admin API. docs/metrics.md is checked against this.

Labels take only words from our own tables: the pattern of a route, never its path. Names of teams, which admins gave,
are there only where a setting asks for them.
"""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from gateway.web.build_info import new_build_info

REGISTRY: Final = CollectorRegistry()
# process_cpu_seconds_total and others, as client libraries of Prometheus name them.
ProcessCollector(registry=REGISTRY)

BUILD_INFO: Final = new_build_info(REGISTRY)
REQUESTS: Final = Counter(
    "litemaas_admin_requests",
    "Requests answered, by route and status",
    ["method", "route", "status"],
    registry=REGISTRY,
)
DURATION: Final = Histogram(
    "litemaas_admin_request_seconds",
    "From a request to the end of its answer",
    ["method", "route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    registry=REGISTRY,
)
RATE_UNAVAILABLE: Final = Counter(
    "litemaas_admin_rate_limit_unavailable", "Requests let through because Redis did not answer", registry=REGISTRY
)
LOGINS_REFUSED: Final = Counter(
    "litemaas_admin_logins_refused",
    "Logins at an identity provider, and JWTs, that were refused",
    ["login", "cause"],
    registry=REGISTRY,
)
VERIFIED: Final = Gauge(
    "litemaas_verified_timestamp_seconds",
    "Last check of the hash chain over the audit log, or over closed days of the ledger, in Unix time",
    ["chain"],
    registry=REGISTRY,
)
FAULTS: Final = Gauge(
    "litemaas_verification_faults", "Faults that the last check of a hash chain found", ["chain"], registry=REGISTRY
)
TASK_TIME: Final = Gauge(
    "litemaas_admin_task_timestamp_seconds",
    "When this process last ended a periodic task without a failure, or began, in Unix time",
    ["task"],
    registry=REGISTRY,
)
TASK_FAILURES: Final = Counter(
    "litemaas_admin_task_failures", "Runs of a periodic task that failed", ["task"], registry=REGISTRY
)
MODEL_SYNC_TIME: Final = Gauge(
    "litemaas_model_sync_timestamp_seconds",
    "Last model sync without a problem, by any program, or the start of this one, in Unix time; 0: syncs are off",
    registry=REGISTRY,
)
DELIVERIES_WAITING: Final = Gauge(
    "litemaas_deliveries_waiting",
    "Messages that wait for their first or next attempt, up to 100,000",
    ["channel"],
    registry=REGISTRY,
)
DELIVERIES_FAILED: Final = Gauge(
    "litemaas_deliveries_failed",
    "Messages of the last month that were given up, up to 100,000",
    ["channel"],
    registry=REGISTRY,
)
DELIVERIES_OLDEST: Final = Gauge(
    "litemaas_deliveries_oldest_seconds",
    "Age of the oldest message that waits; without those of disabled webhooks, and e-mails without a mail server",
    ["channel"],
    registry=REGISTRY,
)
TEAM_USE: Final = Gauge(
    "litemaas_team_limit_used_ratio",
    "What a team has used of a limit on all it uses, as a share of it; of LITEMAAS_METRICS_TEAMS teams",
    ["team", "account_id", "kind", "window"],
    registry=REGISTRY,
)

USAGE_STORE_MISSING: Final = Gauge(
    "litemaas_usage_store_rows_missing",
    "Calls and corrections that the last comparison found in the ledger and not in ClickHouse; then they were sent",
    registry=REGISTRY,
)
USAGE_STORE_TIME: Final = Gauge(
    "litemaas_usage_store_timestamp_seconds",
    "Until when ClickHouse has everything that was in the ledger, in Unix time; 0: there is none, or not yet",
    registry=REGISTRY,
)
USAGE_STORE_SENT: Final = Counter(
    "litemaas_usage_store_rows", "Calls and corrections sent to ClickHouse by this process", registry=REGISTRY
)
USAGE_STORE_FALLBACKS: Final = Counter(
    "litemaas_usage_store_fallbacks",
    "Usage questions answered from Postgres because ClickHouse failed or was behind",
    ["cause"],
    registry=REGISTRY,
)


def scrape() -> bytes:
    """The text Prometheus reads."""
    return generate_latest(REGISTRY)
