"""`make memory`: resident memory of a worker after 10,000 calls and after 1,000,000, with limits on four levels,
journal, ledger, metrics and access log. Exit code 1: it is more than 10 % larger, or a call has no row.

wrk calls a gateway of one worker in front of the bench's nginx, as fast as it can: seven minutes or more. With
`--write` the figures go into docs/performance.md.
"""

import argparse
import asyncio
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import asyncpg

from deploy.embedded.postgres import OWNER
from deploy.embedded.processes import NotStarted
from loadtests.bench.client import WrongAnswer
from loadtests.bench.gateway import LIMITS, Gateway, Site
from loadtests.bench.model_servers import FixedAnswers
from loadtests.bench.requests import json_body
from loadtests.bench.targets import Target
from loadtests.bench.wrk import Wrk
from loadtests.processes import memory_bytes, worker_pids

PAGE: Final = Path(__file__).parents[1] / "docs" / "performance.md"
CALLS: Final = 1_000_000
# What memory is compared with, as a share of the calls.
FIRST_SHARE: Final = 100
LOOKS: Final = 10
MAX_GROWTH: Final = 0.10
LIMITS_OF_KEY: Final = max(LIMITS)
CONNECTIONS: Final = 32
BODY_BYTES: Final = 1024
ROUND_S: Final = 10
FIRST_ROUND_S: Final = 1
MIB: Final = 2**20
ROWS_S: Final = 120


@dataclass(slots=True)
class Looks:
    """`found`: calls so far, MiB of the worker. `rounds`: runs of wrk, each of which cuts off the calls in flight at
    its end."""

    found: list[tuple[int, float]] = field(default_factory=list)
    rounds: int = 0

    @property
    def calls(self) -> int:
        """That were answered."""
        return self.found[-1][0]

    def problems(self, rows: int) -> list[str]:
        """Of the memory, and of the ledger's rows."""
        growth = self.found[-1][1] / self.found[0][1] - 1
        problems = [f"a worker has {growth:.1%} more memory"] if growth > MAX_GROWTH else []
        cut_off = self.rounds * CONNECTIONS
        if not self.calls <= rows <= self.calls + cut_off:
            problems.append(f"{self.calls} calls were answered, up to {cut_off} cut off, and there are {rows} rows")
        return problems


def measure(wrk: Wrk, target: Target, calls: int) -> Looks:
    """After a hundredth of the calls, and each tenth of them."""
    if target.pid is None:
        raise RuntimeError("a target with a process")
    (worker,) = worker_pids(target.pid) or {target.pid}
    body, done, looks = json_body(BODY_BYTES), 0, Looks()
    due = [calls // FIRST_SHARE, *(calls * number // LOOKS for number in range(1, LOOKS + 1))]
    while due:
        seconds = ROUND_S if looks.found else FIRST_ROUND_S
        done += wrk.run(target, body, connections=CONNECTIONS, seconds=seconds).calls
        looks.rounds += 1
        if done >= due[0]:
            looks.found.append((done, memory_bytes(worker) / MIB))
            print(f"{done:>9,} calls: {looks.found[-1][1]:.1f} MiB", flush=True)
            due = [number for number in due if number > done]
    return looks


async def count_rows(url: str, least: int) -> int:
    """The ledger's rows, once there are so many."""
    owner = await asyncpg.connect(url)
    try:
        deadline = time.monotonic() + ROWS_S
        while True:
            rows = int(await owner.fetchval("SELECT count(*) FROM usage_logs"))
            if rows >= least or time.monotonic() > deadline:
                return rows
            await asyncio.sleep(1)
    finally:
        await owner.close()


def table(found: Sequence[tuple[int, float]]) -> str:
    """A line for each look."""
    first = found[0][1]
    lines = ["| calls | MiB of the worker | growth |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {calls:,} | {mib:.1f} | {mib / first - 1:+.1%} |" for calls, mib in found)])


def run(calls: int) -> tuple[Looks, int]:
    """What was found, and the rows in the ledger. Stops all it started."""
    with tempfile.TemporaryDirectory(prefix="litemaas-memory-") as name, ExitStack() as running:
        folder = Path(name)
        folder.chmod(0o755)  # Postgres's own account enters it
        wrk = Wrk(folder)
        model_server = running.enter_context(FixedAnswers(folder / "fixed"))
        site = Site(folder / "site")
        running.callback(site.stop)
        site.start(model_server.url, [LIMITS_OF_KEY])
        gateway = Gateway(site, [LIMITS_OF_KEY])
        running.callback(gateway.stop)
        gateway.launch(model_server.url)
        gateway.wait()
        (target,) = gateway.targets()
        looks = measure(wrk, target, calls)
        rows = asyncio.run(count_rows(site.postgres.url(OWNER), looks.calls))
    return looks, rows


def main() -> int:
    parser = argparse.ArgumentParser(prog="make memory", description=__doc__)
    parser.add_argument("--calls", type=int, default=CALLS)
    parser.add_argument("--write", action="store_true", help="put the figures into docs/performance.md")
    chosen = parser.parse_args()
    try:
        looks, rows = run(chosen.calls)
    except (NotStarted, WrongAnswer) as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    problems = looks.problems(rows)
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    about = (
        f"On {day}, Python {platform.python_version()}: {looks.calls:,} calls answered, {rows:,} rows in the ledger, "
        f"which are also of calls that wrk cut off at the end of each of its {looks.rounds} runs."
    )
    text = f"{about}\n\n{table(looks.found)}"
    print("\n".join([text, *(f"WRONG: {problem}" for problem in problems)]), flush=True)
    if chosen.write and not problems:
        from tests.contract.tables import with_table

        PAGE.write_text(with_table(PAGE.read_text(), "memory", text))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
