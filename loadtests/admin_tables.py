"""What `make admin-bench` has measured, and the tables that it makes of that."""

import os
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from loadtests.admin_commands import CLI_AIM_MS, Ran
from loadtests.admin_queries import Query
from loadtests.admin_site import counts_text

EXPORT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Asked:
    """One line of the table; times in ms. `cpu_ms` is the CPU time of the admin API per call, `postgres_ms` that of
    Postgres."""

    question: Query
    calls: int
    p50_ms: float
    p95_ms: float
    cpu_ms: float
    postgres_ms: float

    @property
    def is_late(self) -> bool:
        """Whether it missed its aim."""
        return self.p95_ms > self.question.entry.aim_ms


@dataclass(frozen=True, slots=True)
class Exported:
    """One line of the other one: until the first byte, and rows and megabytes a second from there on."""

    question: Query
    first_byte_ms: float
    rows: int
    seconds: float
    megabytes: float


def tables(asked: Sequence[Asked], exported: Sequence[Exported], counts: Mapping[str, int]) -> str:
    """The tables in Markdown, the slowest first; missed targets in bold."""
    load = ", ".join(f"{number:.1f}" for number in os.getloadavg())
    late = sum(one.is_late for one in asked)
    beside = (
        f"{counts_text(counts)}. Pages of 100; calls one after another, on {os.cpu_count()} cores; load over the last "
        f"1, 5 and 15 minutes: {load}. {late} of {len(asked)} questions miss their aim (**bold**)."
    )
    lines = [
        *textwrap.wrap(beside, 118, break_on_hyphens=False),
        "",
        "| who | GET | filter | calls | p50 ms | p95 ms | aim ms | CPU of the admin API ms | of Postgres ms |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in sorted(asked, key=lambda one: -one.p95_ms / one.question.entry.aim_ms):
        what, aim = one.question, one.question.entry.aim_ms
        p95 = f"**{one.p95_ms:.1f}**" if one.is_late else f"{one.p95_ms:.1f}"
        whom = (what.who, f"`{what.path}`", what.reported or "–", str(one.calls))
        times = (f"{one.p50_ms:.1f}", p95, str(aim), f"{one.cpu_ms:.1f}", f"{one.postgres_ms:.1f}")
        lines.append(f"| {' | '.join((*whom, *times))} |")
    if not exported:
        return "\n".join(lines)
    lines += [
        "",
        f"Exports, read for {EXPORT_S:.0f} seconds or to their end:",
        "",
        "| who | GET | filter | first byte ms | rows | rows a second | MB a second |",
        "|---|---|---|---|---|---|---|",
    ]
    for file in exported:
        q, seconds = file.question, max(file.seconds, 0.001)
        lines.append(
            f"| {q.who} | `{q.path}` | {q.reported or '–'} | {file.first_byte_ms:.0f} | {file.rows:,} |"
            f" {file.rows / seconds:,.0f} | {file.megabytes / seconds:.1f} |"
        )
    return "\n".join(lines)


def late_of(asked: Sequence[Asked], ran: Sequence[Ran]) -> str | None:
    """A sentence about the lists that missed their aim; None if none did."""
    names = [f"{one.question.who} GET {one.question.path} {one.question.reported}" for one in asked if one.is_late]
    names += [f"litemaas {one.command}" for one in ran if one.p95_ms > CLI_AIM_MS]
    return f"{len(names)} lists of {len(asked) + len(ran)} miss their aim: {'; '.join(names)}" if names else None
