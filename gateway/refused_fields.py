"""Tells the operator which fields callers send and are refused for: a metric, and a sample of them in the log."""

from collections.abc import Callable
from time import monotonic
from typing import Final

import structlog

from gateway import metrics

log = structlog.get_logger(__name__)

PERIOD_S: Final = 60.0
# Names are the callers' own words: without a bound they could fill the log.
MAX_LINES: Final = 20


class RefusedFields:
    """Each field of an endpoint is logged at most once a minute, and at most MAX_LINES of them."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._began_at = clock()
        self._logged: set[tuple[str, str]] = set()

    def report(self, endpoint: str, name: str) -> None:
        """One call was refused for this field."""
        metrics.PARAMETERS_REFUSED.labels(endpoint).inc()
        now = self._clock()
        if now - self._began_at >= PERIOD_S:
            self._began_at = now
            self._logged.clear()
        if len(self._logged) < MAX_LINES and (endpoint, name) not in self._logged:
            self._logged.add((endpoint, name))
            log.warning("parameter_refused", endpoint=endpoint, field=name)
