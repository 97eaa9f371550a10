"""What the gateway's own Python takes of a call, step by step (`make own-cost`), and how that compares with another
commit's (`make own-cost BASE=main`), or with the same code by another Python (`make own-cost ALSO=/path/to/python3`).

own_cost_call.py makes calls in a process of its own, with a Redis and a LiteLLM that answer at once. What is compared
takes turns, batch by batch, so that other load of the machine affects both: only ratios of one run mean anything.
"""

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Final, Self

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs" / "performance.md"
CALLS: Final = 300
# Of the stream; one with none has the same bytes but for them.
EVENTS: Final = 100
KINDS: Final = {"a whole answer": 0, f"a stream of {EVENTS} events": EVENTS}
STUBS: Final = "stubs"
# µs of a call with a whole answer, and of one event of a stream.
Took = tuple[float, float]


class Calls:
    """A process with the code of one commit; `python` is the command of an interpreter that has our packages."""

    def __init__(self, tree: Path, *arguments: str, python: Sequence[str] = (sys.executable,)) -> None:
        command = [*python, str(ROOT / "loadtests" / "own_cost_call.py"), *arguments]
        environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONHASHSEED": "0"}
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tree
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()

    def batch(self, calls: int, events: int) -> dict[str, float]:
        """µs of a call."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("opened with pipes")
        self._process.stdin.write(f"{calls} {events}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the calls ended early; see the messages above")
        found: dict[str, float] = json.loads(line)
        return found


def by_part(rounds: int) -> dict[str, dict[str, float]]:
    """µs of each part, for each kind of answer: the median of the rounds."""
    with Calls(ROOT, "parts") as calls:
        found: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
        for _ in range(rounds):
            for kind, events in KINDS.items():
                found[kind].append(calls.batch(CALLS if not events else CALLS // 4, events))
    return {
        kind: {part: statistics.median(one.get(part, 0.0) for one in batches) for part in batches[0]}
        for kind, batches in found.items()
    }


def whole(calls: Calls) -> Took:
    """Of one batch each."""
    plain, streamed = calls.batch(CALLS, 1)["whole"], calls.batch(CALLS // 4, EVENTS + 1)["whole"]
    return calls.batch(CALLS, 0)["whole"], (streamed - plain) / EVENTS


def table(parts: dict[str, dict[str, float]]) -> str:
    """Markdown: the parts, the dearest first."""
    kinds = list(KINDS)
    lines = [f"| µs | {' | '.join(kinds)} |", "|---" * (len(kinds) + 1) + "|"]
    names = sorted(set().union(*parts.values()) - {STUBS}, key=lambda name: -parts[kinds[0]].get(name, 0.0))
    for name in names:
        lines.append(f"| {name} | " + " | ".join(f"{parts[kind].get(name, 0.0):.1f}" for kind in kinds) + " |")
    sums = (sum(parts[kind].get(name, 0.0) for name in names) for kind in kinds)
    return "\n".join([*lines, "| **together** | " + " | ".join(f"**{total:.0f}**" for total in sums) + " |"])


def compare_with_commit(base: str, rounds: int) -> None:
    """Prints this code's cost by that of the commit `base`."""
    archive = subprocess.run(
        ["git", "archive", "--format=tar", base, "gateway", "migrations"], cwd=ROOT, capture_output=True, check=True
    ).stdout
    with tempfile.TemporaryDirectory(prefix="litemaas-base-") as folder:
        with tarfile.open(fileobj=BytesIO(archive)) as files:
            files.extractall(folder, filter="data")
        with Calls(ROOT) as ours, Calls(Path(folder)) as theirs:
            print_ratios(measure_in_turns(ours, {base: theirs}, rounds))


def compare_with_pythons(commands: Sequence[str], rounds: int) -> None:
    """Prints this Python's cost by that of others, e.g. `env PYTHONMALLOC=malloc .venv-3.13/bin/python -O`."""
    with ExitStack() as running:
        ours = running.enter_context(Calls(ROOT))
        others = {one: running.enter_context(Calls(ROOT, python=shlex.split(one))) for one in commands}
        print_ratios(measure_in_turns(ours, others, rounds))


def measure_in_turns(ours: Calls, others: Mapping[str, Calls], rounds: int) -> dict[str, list[tuple[Took, Took]]]:
    """What ours and each of the others took, by round; each round another one comes first."""
    names: list[str | None] = [None, *others]
    pairs: dict[str, list[tuple[Took, Took]]] = {name: [] for name in others}
    for number in range(rounds + 1):
        first = number % len(names)
        took = {name: whole(ours if name is None else others[name]) for name in (*names[first:], *names[:first])}
        # The first round warms up.
        for name in others if number else ():
            pairs[name].append((took[None], took[name]))
    return pairs


def print_ratios(pairs: Mapping[str, Sequence[tuple[Took, Took]]]) -> None:
    """The median of the pairs, and their quartiles."""
    for name, measured in pairs.items():
        for number, what in enumerate(("a call", "an event of a stream")):
            mine, other = (statistics.median(pair[side][number] for pair in measured) for side in (0, 1))
            low, middle, high = statistics.quantiles([own[number] / its[number] for own, its in measured], n=4)
            took = f"{what}: {mine:.1f} µs, {name} {other:.1f} µs"
            sys.stdout.write(f"{took}; ratio of the pairs {middle:.3f} ({low:.3f} to {high:.3f})\n")


def main() -> None:
    """Prints the table, or with `--base` or `--also` ratios."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--base", help="a commit to compare with")
    options.add_argument("--also", action="append", metavar="COMMAND", help="another Python that has our packages")
    options.add_argument("--rounds", type=int, default=12)
    options.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    chosen = options.parse_args()
    if chosen.base:
        compare_with_commit(chosen.base, chosen.rounds)
    if chosen.also:
        compare_with_pythons(chosen.also, chosen.rounds)
    if chosen.base or chosen.also:
        return
    lines = table(by_part(chosen.rounds))
    sys.stdout.write(lines + "\n")
    if chosen.write:
        from tests.contract.tables import with_table

        PAGE.write_text(with_table(PAGE.read_text(), "own-cost", lines))


if __name__ == "__main__":
    main()
