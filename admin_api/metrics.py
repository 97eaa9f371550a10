"""What Prometheus scrapes of the admin API. docs/metrics.md is checked against this.

Labels take only words from our own tables: the pattern of a route, never its path.
"""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

REGISTRY: Final = CollectorRegistry()

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


def scrape() -> bytes:
    """The text Prometheus reads."""
    return generate_latest(REGISTRY)
