"""Prints what a run has found, and puts a soak into docs/performance.md."""

import os
import platform
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from loadtests.k6.memory import MAX_GROWTH, TENTHS, growth
from loadtests.k6.run import Outcome, Result
from loadtests.processes import load_average

PAGE: Final = Path(__file__).parents[2] / "docs" / "performance.md"
MARK: Final = "soak"


def summary_line(result: Result) -> str:
    """k6's summary, briefly."""
    metrics = result.summary.get("metrics", {})

    def number(metric: str, name: str) -> float:
        return float(metrics.get(metric, {}).get(name, 0))

    return (
        f"{result.script}: {number('http_reqs', 'count'):.0f} calls in {result.seconds} s, "
        f"{number('http_reqs', 'rate'):.1f} a second; checks: {number('checks', 'passes'):.0f} hold, "
        f"{number('checks', 'fails'):.0f} fail; {number('dropped_iterations', 'count'):.0f} dropped; "
        f"median {number('http_req_duration', 'med'):.0f} ms, p95 {number('http_req_duration', 'p(95)'):.0f} ms"
    )


def calls_a_second(result: Result) -> float:
    return float(result.summary.get("metrics", {}).get("iterations", {}).get("rate", 0))


def result_lines(result: Result, found: Outcome) -> list[str]:
    """For the terminal."""
    counted = [f"{what}: {number}" for what, number in counts(found)]
    return [summary_line(result), *counted, *memory_lines(result.memory.figures())]


def counts(found: Outcome) -> Iterator[tuple[str, str]]:
    """What was counted, and how many."""
    seen = found.seen
    by_kind = Counter(attempt.kind for attempt in seen.attempts)
    by_status = Counter(attempt.status for attempt in seen.attempts)
    yield "calls, by k6", f"{len(seen.attempts):,}: " + ", ".join(f"{n:,} {kind}" for kind, n in by_kind.items())
    yield "answers, by k6", ", ".join(f"{n:,} × {s or 'left'}" for s, n in sorted(by_status.items()))
    endings = Counter(str(row["ending"]) for row in seen.rows.values())
    yield "rows in the ledger", f"{len(seen.rows):,}: " + ", ".join(f"{n:,} {name}" for name, n in endings.items())
    yield "calls of the model server", f"{len(seen.upstream):,}"
    for name in ("prompt_tokens", "completion_tokens"):
        of_answers = sum(getattr(attempt, name) or 0 for attempt in seen.answered.values())
        known = (row[name] for i, row in seen.rows.items() if i in seen.answered and getattr(seen.answered[i], name))
        yield f"{name}, by answers and by their rows", f"{of_answers:,} and {sum(known):,}"
    for one in found.admitted:
        yield f"limit of {one.limit}", f"{one.admitted} admitted of {one.allowed} allowed"


def memory_lines(figures: Mapping[int, Sequence[float]]) -> list[str]:
    """A table of MiB, a line a worker."""
    tenths = " | ".join(f"{number}0 %" for number in range(1, TENTHS + 1))
    lines = [f"| MiB of a worker | begin | {tenths} | end | growth |", "|---" * (TENTHS + 4) + "|"]
    for number, found in enumerate(figures.values(), start=1):
        lines.append(f"| {number} | " + " | ".join(f"{mib:.1f}" for mib in found) + f" | {growth(found):+.1%} |")
    return lines


def too_large(figures: Mapping[int, Sequence[float]]) -> list[str]:
    """Workers whose memory is not flat."""
    return [
        f"worker {pid} has {growth(found):.1%} more memory in the last tenth than in the second"
        for pid, found in figures.items()
        if growth(found) > MAX_GROWTH
    ]


def write_soak(lines: Sequence[str]) -> None:
    """Replaces what an earlier soak has written."""
    from contract.tables import with_table

    PAGE.write_text(with_table(PAGE.read_text(), MARK, "\n".join(lines)))


def soak_lines(result: Result, found: Outcome, rate: int, capacity: float) -> list[str]:
    """The part of the page."""
    day, load = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"), load_average()[-1]
    return [
        f"{result.seconds // 60} minutes until {day}, {os.cpu_count()} cores with a load average of {load:.0f}, Python "
        f"{platform.python_version()}: {rate} turns a second, a third of the {capacity:.0f} that a closed loop made "
        "before. No error, no lease left, no difference.",
        "",
        "| counted | |",
        "|---|---|",
        *(f"| {what} | {number} |" for what, number in counts(found)),
        "",
        *memory_lines(result.memory.figures()),
    ]
