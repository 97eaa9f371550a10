"""The lists of the command line, as `make admin-bench` times them: a page of each, with the start of Python.

A list is a command with `--cursor`. One whose argument has no value here stops the benchmark, and fails a test.
"""

import asyncio
import os
import re
import resource
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import typer

from admin_api.cli.app import build_app
from loadtests.admin_queries import NoEntry

PROGRAM: Final = Path(sys.executable).with_name("litemaas")
CLI_AIM_MS: Final = 1000
RUNS: Final = 10
# Of loadtests/admin_rows.py: the second user owns the large team.
ARGUMENTS: Final[Mapping[str, str]] = {
    "user": "user2@example.org",
    "team": "team 3",
    "model": "model-1",
    "key": "1",
}
# Options without which a command does not answer, though none of them alone is required.
ALWAYS: Final[Mapping[str, tuple[str, ...]]] = {"limits state": ("--team", "team 3")}


@dataclass(frozen=True, slots=True)
class Ran:
    """One line of the table; times in ms from the start of the process to its end. `cpu_ms` is its processor time."""

    command: str
    p50_ms: float
    p95_ms: float
    cpu_ms: float


class WrongExit(Exception):
    """A command failed, so that its time is meaningless."""


def commands_of() -> list[tuple[str, ...]]:
    """Every list, as it is typed. Raises NoEntry for an argument without a value."""
    return sorted(_lists(typer.main.get_command(build_app([])), ()))


def _lists(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    # Typer has a copy of click of its own, whose classes are others.
    if hasattr(command, "commands"):
        for name, child in command.commands.items():
            yield from _lists(child, (*path, name))
    elif any(parameter.name == "cursor" for parameter in command.params):
        name = " ".join(path)
        yield (*path, *_arguments(command, name), *ALWAYS.get(name, ()))


def _arguments(command: Any, name: str) -> Iterator[str]:
    for parameter in command.params:
        if not parameter.required:
            continue
        if parameter.name not in ARGUMENTS:
            raise NoEntry(f"loadtests/admin_commands.py has no value for '{parameter.name}' of {name}.")
        if parameter.param_type_name == "option":
            yield parameter.opts[0]
        yield ARGUMENTS[parameter.name]


async def run(command: Sequence[str], env: Mapping[str, str]) -> Ran:
    """One process after the other. Raises WrongExit."""
    took, cpu = [], _cpu_of_children_s()
    for _ in range(RUNS):
        begun = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            PROGRAM,
            *command,
            env={"PATH": os.environ["PATH"], **env},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        _, err = await process.communicate()
        took.append((time.perf_counter() - begun) * 1000)
        if process.returncode != 0:
            raise WrongExit(f"litemaas {' '.join(command)}: {err.decode()[:300]}")
    took.sort()
    cpu = _cpu_of_children_s() - cpu
    return Ran(" ".join(command), took[RUNS // 2], took[RUNS * 95 // 100], cpu * 1000 / RUNS)


async def run_all(env: Mapping[str, str], only: str) -> list[Ran]:
    """Every list whose line, as it is printed, has the pattern `only` in it."""
    ran = []
    for command in commands_of():
        if not re.search(only, f"litemaas {' '.join(command)}"):
            continue
        ran.append(one := await run(command, env))
        print(f"{one.p50_ms:8.1f} {one.p95_ms:8.1f} ms, cpu {one.cpu_ms:6.1f} ms  litemaas {one.command}", flush=True)
    return ran


def table(ran: Sequence[Ran]) -> str:
    """In Markdown, the slowest first; missed targets in bold."""
    lines = [f"Lists of the command line, {RUNS} runs of each with the start of the program:", ""]
    lines += ["| command | p50 ms | p95 ms | aim ms | CPU of the process ms |", "|---|---|---|---|---|"]
    for one in sorted(ran, key=lambda one: -one.p95_ms):
        p95 = f"**{one.p95_ms:.0f}**" if one.p95_ms > CLI_AIM_MS else f"{one.p95_ms:.0f}"
        lines.append(f"| `litemaas {one.command}` | {one.p50_ms:.0f} | {p95} | {CLI_AIM_MS} | {one.cpu_ms:.0f} |")
    return "\n".join(lines)


def _cpu_of_children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
