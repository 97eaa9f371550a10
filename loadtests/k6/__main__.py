"""`make loadtest` and `make soak`: load by k6 on a demo, and whether everything agrees afterwards. Exit code 1: it does
not.

Uses the demo that runs, or starts one. Sends to loopback only, at a bounded rate, for at most two hours.
"""

import argparse
import asyncio
import re
import sys
import tempfile
from pathlib import Path
from typing import Final

from deploy.embedded.processes import NotStarted
from loadtests.k6 import report
from loadtests.k6.demo import RPM, SOAK_RPM, RunningDemo, found_or_started, make_user, new_prefix
from loadtests.k6.run import LoadRun, Result

SCRIPTS: Final = ("steady", "burst", "hang_up", "soak")
USUAL_S: Final = 30
SOAK_S: Final = 1800
MAX_S: Final = 7200
UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600}
# How many calls a second there can be is seen from as many clients.
CLIENTS: Final = 24
CAPACITY_S: Final = 15
SHARE_OF_CAPACITY: Final = 3


def seconds_of(text: str) -> int:
    """Of `90`, `90s`, `3m` or `1h`. Raises ArgumentTypeError."""
    found = re.fullmatch(r"(\d+)([smh]?)", text)
    seconds = int(found[1]) * UNITS[found[2]] if found else 0
    if not 5 <= seconds <= MAX_S:
        raise argparse.ArgumentTypeError(f"{text} is not from 5s to {MAX_S // 3600}h")
    return seconds


def options() -> argparse.ArgumentParser:
    """Those of the command."""
    parser = argparse.ArgumentParser(prog="make loadtest", description=__doc__)
    parser.add_argument("script", nargs="?", choices=SCRIPTS, default="steady")
    parser.add_argument("--duration", type=seconds_of, help=f"such as 90s; {USUAL_S}s, and {SOAK_S // 60}m of the soak")
    parser.add_argument("--write", action="store_true", help="put a soak without problems into docs/performance.md")
    return parser


def say(text: str) -> None:
    """At once, also into a pipe."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


async def run_script(load: LoadRun, script: str, seconds: int) -> Result:
    """One script and the comparison."""
    result = await load.run(script, seconds)
    found = await load.compare()
    result.problems += found.problems
    say_result(result, report.result_lines(result, found))
    return result


async def run_soak(load: LoadRun, seconds: int) -> tuple[Result, list[str]]:
    """At a third of what there can be, which is seen first. The lines of the page too."""
    first = await load.run("soak", CAPACITY_S, CLIENTS=str(CLIENTS))
    capacity = report.calls_a_second(first)
    rate = max(1, round(capacity / SHARE_OF_CAPACITY))
    say(f"{report.summary_line(first)}\n{capacity:.0f} calls/s by {CLIENTS} clients; now {rate} calls/s")
    result = await load.run("soak", seconds, RATE=str(rate))
    found = await load.compare()
    result.problems += [*first.problems, *found.problems, *report.too_large(result.memory.figures())]
    say_result(result, report.result_lines(result, found))
    return result, report.soak_lines(result, found, rate, capacity)


async def run_on(demo: RunningDemo, script: str, seconds: int, folder: Path) -> tuple[Result, list[str]]:
    """With a user of its own."""
    prefix = new_prefix()
    user = make_user(demo, prefix, SOAK_RPM if script == "soak" else RPM)
    load = LoadRun(demo, user, prefix, folder)
    say(f"{script} for {seconds} s on {demo.state['gateway_url']}, {len(demo.workers)} workers, user {prefix}")
    if script == "soak":
        return await run_soak(load, seconds)
    return await run_script(load, script, seconds), []


def say_result(result: Result, lines: list[str]) -> None:
    """What was counted, and what is wrong."""
    say("\n".join(lines))
    say("\n".join([f"WRONG: {problem}" for problem in result.problems] or ["Everything agrees."]))


def main() -> int:
    """1 if anything is wrong, or there is no demo; 130 after Ctrl-C."""
    chosen = options().parse_args()
    seconds = chosen.duration or (SOAK_S if chosen.script == "soak" else USUAL_S)
    try:
        with found_or_started() as demo, tempfile.TemporaryDirectory(prefix="litemaas-k6-") as folder:
            result, page = asyncio.run(run_on(demo, chosen.script, seconds, Path(folder)))
    except NotStarted as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted.\n")
        return 130
    if result.problems:
        return 1
    if chosen.write and page:
        report.write_soak(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
