"""The measurement of the gateway's own Python names every part of a call, and still runs."""

import json
import os
import subprocess
import sys
from importlib import import_module

import pytest

from deploy.embedded.processes import MEASURED
from loadtests import own_cost, own_cost_call

# Of the commits before: where it is looked for in vain, nothing is lost.
OLD = {"gateway.metrics:count_call", "gateway.proxy:authenticate", "gateway.estimate:Estimator.estimate"}
NAMES = [name for names in own_cost_call.PARTS.values() for name in names if name not in OLD]


@pytest.mark.parametrize("name", NAMES)
def test_what_a_part_is_made_of_exists(name: str) -> None:
    """A function that was renamed would silently go to another part."""
    module, _, path = name.partition(":")
    *owners, last = path.split(".")
    owner = import_module(module)
    for one in owners:
        owner = getattr(owner, one)

    assert last in vars(owner)


def run(*arguments: str, asks: str) -> list[dict[str, float]]:
    command = [sys.executable, own_cost_call.__file__, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(own_cost.ROOT)}
    # coverage.py takes time for each of our lines.
    environment.pop(MEASURED, None)
    done = subprocess.run(command, input=asks, capture_output=True, text=True, env=environment, timeout=100)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_part_takes_time_in_a_call_and_in_a_stream() -> None:
    for parts in run("parts", asks="20 0\n20 5\n"):
        assert set(parts) == {*own_cost_call.PARTS, own_cost_call.REST, own_cost_call.STUBS}
        assert [part for part, us in parts.items() if us <= 0] == []


def test_a_stream_of_more_events_takes_more() -> None:
    short, long = run(asks="40 0\n40 400\n")
    assert long["whole"] > 2 * short["whole"] > 0


def test_the_table_has_every_part_and_their_sum() -> None:
    lines = own_cost.table({kind: {"a": 10.0, "b": 20.5, "stubs": 5.0} for kind in own_cost.KINDS}).splitlines()

    assert [line.split(" | ")[0] for line in lines[2:]] == ["| b", "| a", "| **together**"]
    assert "**30**" in lines[-1]


# What a call takes by what the yardstick takes, measured when it was changed last: lower them when a call takes less.
RATIOS = {0: 4.5, own_cost.EVENTS: 21.0}
TOLERANCE = 1.15


@pytest.mark.parametrize("events", RATIOS)
def test_a_call_takes_no_more_than_it_did(events: int) -> None:
    found = run(asks=f"300 {events}\n" * 5)
    ratio = min(one["whole"] / one["yardstick"] for one in found)

    assert ratio <= RATIOS[events] * TOLERANCE
