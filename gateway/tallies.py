"""Counts what happens at each call: added up here in plain Python, written to the metrics once a second and before a
scrape of this process.

A call changes about twenty values. prometheus-client takes 0.4 µs for each, and 1.5 µs where workers share a folder;
adding all of them up here takes about 1 µs a call.
"""

import threading
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Final
from weakref import WeakSet

from prometheus_client import Histogram

from gateway import metrics
from gateway.domain.usage_rows import UsageRow

# In place of the names of models that have no series of their own.
OTHER: Final = "other"
# Renamed models have a new series; the old one stays until the worker ends.
MAX_MODELS: Final = 2_000


class Spread:
    """Observations of a histogram that has these buckets: how many are in each, and their sum."""

    __slots__ = ("_buckets", "_counts", "_sum", "_written_counts", "_written_sum")

    def __init__(self, buckets: Sequence[float]) -> None:
        self._buckets = buckets
        # The last one is of those above all buckets.
        self._counts = [0] * (len(buckets) + 1)
        self._sum = 0.0
        self._written_counts, self._written_sum = list(self._counts), 0.0

    def add(self, value: float) -> None:
        """One observation."""
        self._counts[bisect_left(self._buckets, value)] += 1
        self._sum += value

    def write(self, histograms: Iterable[Histogram]) -> None:
        """Adds what is new to each of them."""
        counts, total = list(self._counts), self._sum
        new = [
            (n, count - self._written_counts[n]) for n, count in enumerate(counts) if self._written_counts[n] < count
        ]
        if not new:
            return
        for histogram in histograms:
            # Its public method takes one observation at a time.
            histogram._sum.inc(total - self._written_sum)
            for n, count in new:
                histogram._buckets[n].inc(count)
        self._written_counts, self._written_sum = counts, total


class _Sum:
    """A number that only grows."""

    __slots__ = ("_written", "value")

    def __init__(self) -> None:
        self.value = 0
        self._written = 0

    def take(self) -> int:
        """What was added since the last time."""
        value = self.value
        added, self._written = value - self._written, value
        return added


class _Calls:
    """Calls of one endpoint to one model that had one status and ending. The labels are prepared."""

    def __init__(self, endpoint: str, status: int, ending: str, model: tuple[str, str]) -> None:
        self.how_many, self.prompt, self.completion, self.cost = _Sum(), _Sum(), _Sum(), _Sum()
        self.first_byte, self.whole = Spread(metrics.CALL_BUCKETS), Spread(metrics.CALL_BUCKETS)
        self.own = Spread(metrics.SHORT_BUCKETS)
        self._counters = (
            (self.how_many, (metrics.CALLS.labels(endpoint, str(status), ending),
                             metrics.MODEL_CALLS.labels(*model, ending))),
            (self.prompt, (metrics.TOKENS.labels("input"), metrics.MODEL_TOKENS.labels(*model, "input"))),
            (self.completion, (metrics.TOKENS.labels("output"), metrics.MODEL_TOKENS.labels(*model, "output"))),
            (self.cost, (metrics.COST, metrics.MODEL_COST.labels(*model))),
        )  # fmt: skip
        self._first_bytes = (metrics.FIRST_BYTE.labels(endpoint), metrics.MODEL_FIRST_BYTE.labels(*model))
        self._wholes = (metrics.CALL_SECONDS.labels(endpoint), metrics.MODEL_SECONDS.labels(*model))
        self._owns = (metrics.OWN_SECONDS.labels(endpoint),)

    def write(self) -> None:
        """Adds what is new to the metrics."""
        self.first_byte.write(self._first_bytes)
        self.whole.write(self._wholes)
        self.own.write(self._owns)
        for total, counters in self._counters:
            if added := total.take():
                for counter in counters:
                    counter.inc(added)


class _Script:
    """Runs of one Redis script."""

    def __init__(self, name: str) -> None:
        self.answered = Spread(metrics.SHORT_BUCKETS)
        self.failed = _Sum()
        self._seconds, self._failures = metrics.REDIS_SECONDS.labels(name), metrics.REDIS_FAILURES.labels(name)

    def write(self) -> None:
        """Adds what is new to the metrics."""
        self.answered.write((self._seconds,))
        if added := self.failed.take():
            self._failures.inc(added)


class Tallies:
    """What one worker counts. Only its loop adds; `write` may run in any thread."""

    def __init__(self) -> None:
        self._calls: dict[tuple[str, int, str, str], _Calls] = {}
        self._scripts: dict[str, _Script] = {}
        self._models: set[tuple[str, str]] = set()
        # Calls that are under way.
        self.in_flight = 0
        self._written_in_flight = 0
        # In nano-USD.
        self._litellm_higher, self._own_higher = _Sum(), _Sum()
        self._lock = threading.Lock()
        _all.add(self)

    def call(self, endpoint: str, row: UsageRow, model: str, provider: str, own_s: float | None) -> None:
        """One forwarded call. `model` and `provider` are of the catalogue, or OTHER; `own_s` is the gateway's share of
        its seconds, None where it cannot be said."""
        place = (endpoint, row.status, row.ending, model)
        calls = self._calls.get(place)
        if calls is None:
            calls = self._calls[place] = _Calls(endpoint, row.status, row.ending, self._named(model, provider))
        calls.how_many.value += 1
        calls.prompt.value += row.prompt_tokens
        calls.completion.value += row.completion_tokens
        if row.cost_nano_usd:
            calls.cost.value += row.cost_nano_usd
        calls.whole.add(row.total_ms / 1000)
        if row.first_byte_ms is not None:
            calls.first_byte.add(row.first_byte_ms / 1000)
        if own_s is not None:
            calls.own.add(own_s)
        if row.litellm_cost_nano_usd is not None and row.own_cost_nano_usd is not None:
            difference = row.litellm_cost_nano_usd - row.own_cost_nano_usd
            if difference > 0:
                self._litellm_higher.value += difference
            else:
                self._own_higher.value -= difference

    def _named(self, model: str, provider: str) -> tuple[str, str]:
        named = (model, provider)
        if named not in self._models and len(self._models) >= MAX_MODELS:
            return (OTHER, OTHER)
        self._models.add(named)
        return named

    def script(self, name: str, seconds: float | None) -> None:
        """One run of a Redis script: how long its answer took; None: there was none."""
        script = self._scripts.get(name)
        if script is None:
            script = self._scripts[name] = _Script(name)
        if seconds is None:
            script.failed.value += 1
        else:
            script.answered.add(seconds)

    def write(self) -> None:
        """Adds what is new since the last time to the metrics."""
        with self._lock:
            for calls in list(self._calls.values()):
                calls.write()
            for script in list(self._scripts.values()):
                script.write()
            for total, counter in ((self._litellm_higher, _LITELLM_HIGHER), (self._own_higher, _OWN_HIGHER)):
                if added := total.take():
                    counter.inc(added)
            in_flight = self.in_flight
            metrics.IN_FLIGHT.inc(in_flight - self._written_in_flight)
            self._written_in_flight = in_flight


_all: WeakSet[Tallies] = WeakSet()
# What LiteLLM says that calls cost, beside what their prices say.
_LITELLM_HIGHER, _OWN_HIGHER = metrics.COST_DIFFERENCE.labels("litellm"), metrics.COST_DIFFERENCE.labels("own")


def write_tallies() -> None:
    """Of every worker in this process."""
    for tallies in list(_all):
        tallies.write()
