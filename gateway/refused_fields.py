"""Tells the operator which fields callers send and are refused for: a metric, and a sample of them in the log."""

import re
from collections.abc import Callable
from time import monotonic
from typing import Final

import structlog

from gateway import metrics

log = structlog.get_logger(__name__)

# What a caller wrote is not logged; a word of lower-case letters, as fields are named, is no secret of theirs.
FIELD_NAME: Final = re.compile(r"[a-z][a-z_.]{0,39}")
OTHER: Final = "other"
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
        """One call was refused for this field; a name that is no plain word is logged as `other`."""
        metrics.PARAMETERS_REFUSED.labels(endpoint).inc()
        name = name if FIELD_NAME.fullmatch(name) else OTHER
        now = self._clock()
        if now - self._began_at >= PERIOD_S:
            self._began_at = now
            self._logged.clear()
        if len(self._logged) < MAX_LINES and (endpoint, name) not in self._logged:
            self._logged.add((endpoint, name))
            log.warning("parameter_refused", endpoint=endpoint, field=name)
