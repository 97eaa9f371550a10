"""Which version runs, as a metric."""

import platform
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Gauge


def new_build_info(registry: CollectorRegistry) -> Gauge:
    """Always 1: the labels are what it says."""
    gauge = Gauge(
        "litemaas_build_info",
        "1; its labels are the versions of LiteMaaS and of Python",
        ["version", "python"],
        multiprocess_mode="livemax",
        registry=registry,
    )
    gauge.labels(version("litemaas"), platform.python_version()).set(1)
    return gauge
