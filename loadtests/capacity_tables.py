"""The tables of docs/capacity.md, of what loadtests/capacity.py has measured."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from loadtests.bench.plan import StreamLoad
from loadtests.processes import processor

STREAMS: Final = StreamLoad(500, 20)
# Of a core, so that a peak or a restart of a neighbour is no queue.
USED_SHARE: Final = 0.6
SECONDS_A_CALL: Final = 2.0
RATES: Final = (1_000, 10_000, 100_000)
OPEN_STREAMS: Final = 50_000
MIB: Final = 2**20


@dataclass(frozen=True, slots=True)
class Arrangement:
    """So many gateways with so many workers each, on one Redis and one Postgres."""

    gateways: int
    workers: int

    @property
    def name(self) -> str:
        workers = f"{self.workers} worker{'s' if self.workers > 1 else ''}"
        return f"1 gateway, {workers}" if self.gateways == 1 else f"{self.gateways} gateways, {workers} each"


ARRANGEMENTS: Final = (Arrangement(1, 1), Arrangement(1, 2), Arrangement(2, 1))


@dataclass(frozen=True, slots=True)
class Taken:
    """Of one call: µs of CPU time. `rows` are those in the ledger, a call; memory in MiB, a worker."""

    calls_per_s: float
    gateway_us: float
    redis_us: float
    postgres_us: float
    rows: float
    memory_mib: float


@dataclass(frozen=True, slots=True)
class Streamed:
    """Of one event µs of CPU time, of one open stream KiB of memory."""

    event_us: float
    stream_kib: float


def median_of(rounds: Sequence[Taken], figure: Callable[[Taken], float]) -> float:
    """Of the rounds."""
    return statistics.median(map(figure, rounds))


def measured_table(found: dict[Arrangement, list[Taken]]) -> str:
    """What was measured, as Markdown."""
    lines = [
        "| | calls/s | gateway µs | Redis µs | Postgres µs | rows a call | MiB a worker |",
        "|---|---|---|---|---|---|---|",
    ]
    for arrangement, rounds in found.items():
        cells = [
            f"{median_of(rounds, lambda one: one.calls_per_s):,.0f}",
            f"{median_of(rounds, lambda one: one.gateway_us):.0f}",
            f"{median_of(rounds, lambda one: one.redis_us):.1f}",
            f"{median_of(rounds, lambda one: one.postgres_us):.0f}",
            f"{median_of(rounds, lambda one: one.rows):.3f}",
            f"{median_of(rounds, lambda one: one.memory_mib):.0f}",
        ]
        lines.append(f"| {arrangement.name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def derived_table(taken: Taken, row_bytes: float) -> str:
    """What so many calls a second need, as Markdown."""
    heads = (
        "calls/s",
        "gateway workers (cores)",
        "memory of workers",
        "Redis primaries",
        "Postgres cores",
        "rows a day",
    )
    heads += ("disk of rows a day", "calls open")
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for rate in RATES:
        workers = math.ceil(rate * taken.gateway_us / 1e6 / USED_SHARE)
        redis = math.ceil(rate * taken.redis_us / 1e6 / USED_SHARE)
        postgres = math.ceil(rate * taken.postgres_us / 1e6 / USED_SHARE)
        rows = rate * 86_400
        cells = [
            f"{rate:,}",
            f"{workers:,}",
            f"{workers * taken.memory_mib / 1024:.1f} GiB",
            f"{redis:,}",
            f"{postgres:,}",
            f"{rows / 1e6:,.0f} million",
            f"{rows * row_bytes / 1e9:,.0f} GB",
            f"{rate * SECONDS_A_CALL:,.0f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def streams_table(streamed: Streamed) -> str:
    """What many open streams need, as Markdown."""
    lines = ["| events a second and stream | events/s | gateway workers (cores) | memory |", "|---|---|---|---|"]
    for a_second in (1, 5, 20):
        events = OPEN_STREAMS * a_second
        workers = math.ceil(events * streamed.event_us / 1e6 / USED_SHARE)
        memory = OPEN_STREAMS * streamed.stream_kib / MIB
        lines.append(f"| {a_second} | {events:,} | {workers:,} | {memory:.1f} GiB beside the workers' own |")
    return "\n".join(lines)


def page(found: dict[Arrangement, list[Taken]], streamed: Streamed, row_bytes: float, before: Sequence[float]) -> str:
    """The measured and the derived tables."""
    first = found[ARRANGEMENTS[0]]
    figures = [Taken.__dataclass_fields__[name].name for name in Taken.__slots__]
    taken = Taken(*(median_of(first, lambda one, name=name: getattr(one, name)) for name in figures))  # type: ignore[misc]
    loads = ", ".join(f"{one:.1f}" for one in before)
    when = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    return "\n\n".join([
        f"Measured on {when}: {processor()}, load average {loads} before; the median of {len(first)} rounds. An event "
        f"of {STREAMS.streams} open streams took {streamed.event_us:.0f} µs, an open stream {streamed.stream_kib:.0f} "
        f"KiB of memory, a row {row_bytes:.0f} bytes of Postgres's disk with its indexes.",
        measured_table(found),
        f"From the first line, with {USED_SHARE:.0%} of each core used and calls of {SECONDS_A_CALL:g} s:",
        derived_table(taken, row_bytes),
        f"{OPEN_STREAMS:,} open streams:",
        streams_table(streamed),
    ])  # fmt: skip
