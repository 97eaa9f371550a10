"""That lines are counted which run in processes of any kind, and what is said about the figure."""

import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from coverage import Coverage
from coverage.exceptions import CoverageException, CoverageWarning

from admin_api.cli.completion import completion_script
from gateway.domain.ids import milliseconds_of
from gateway.domain.money import usd_text
from tests.contract.coverage_figure import CONFIG, README, ROOT, SENTENCE, least

PROGRAM: Final = """
import asyncio, multiprocessing, sys
from pathlib import Path
from command_line import CommandLine
from deploy.embedded.processes import Child, bare_environment
from gateway.domain.money import usd_text

CODE = '''
import time, uuid
from gateway.domain.ids import milliseconds_of
print(milliseconds_of(uuid.uuid4()), flush=True)
time.sleep(100)
'''
if __name__ == "__main__":
    folder = Path(sys.argv[1])
    started = multiprocessing.get_context("spawn").Process(target=usd_text, args=(1,))
    child = Child("A child", [sys.executable, "-c", CODE], log=folder / "log", env=bare_environment(folder))
    started.start()
    assert asyncio.run(CommandLine({}).run("completion", "bash")).code == 0
    child.wait_until(lambda: "\\n" in child.log.read_text(), 100)
    child.stop()
    started.join()
"""
TESTS: Final = """
import threading, time
from gateway.domain.money import usd_text

def test_it():
    threading.Thread(target=time.sleep, args=(90,)).start()
    assert usd_text(1)
"""
RUN_BY: Final[dict[Callable[..., Any], str]] = {
    usd_text: "a process of multiprocessing, as the workers of a gateway are",
    milliseconds_of: "a child with an environment of its own, which SIGTERM ended",
    completion_script: "a command, which was forked and ended by os._exit",
}


def body(function: Callable[..., Any]) -> set[int]:
    code = function.__code__
    return {line for _, _, line in code.co_lines() if line} - {code.co_firstlineno}


def test_processes_of_every_kind_are_measured(tmp_path: Path) -> None:
    program, data = tmp_path / "program.py", tmp_path / "data"
    program.write_text(PROGRAM)
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    measure = ["-m", "coverage", "run", f"--rcfile={CONFIG}", f"--data-file={data}"]

    # Until all that it started have ended, too, as that of multiprocessing which outlives it: they have its output.
    subprocess.run(
        [sys.executable, *measure, program, tmp_path], env=env, cwd=tmp_path, check=True, capture_output=True
    )

    lines = {one: lines_of(data, one) for one in RUN_BY}
    assert [by for one, by in RUN_BY.items() if not lines[one] & body(one)] == []


def lines_of(data: Path, function: Callable[..., Any]) -> set[int]:
    """Which lines of its module ran, by what all processes have written beside `data`."""
    measured = Coverage(data_file=str(data), config_file=str(CONFIG))
    measured.combine(keep=True)
    return set(measured.get_data().lines(function.__code__.co_filename) or ())


def test_a_test_process_that_waits_for_a_thread_is_measured_before_it_ends(tmp_path: Path) -> None:
    """pytest-xdist kills one that does not end within ten seconds."""
    tests, data = tmp_path / "test_it.py", tmp_path / "data"
    tests.write_text(TESTS)
    # As pytest-xdist's processes are measured: not by the command `coverage run`, which writes at its end.
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    env |= {"COVERAGE_PROCESS_START": str(CONFIG), "COVERAGE_FILE": str(data)}
    command = ["-m", "pytest", "-p", "conftest", "-c", str(CONFIG), str(tests)]

    with subprocess.Popen([sys.executable, *command], env=env, cwd=tmp_path, stdout=subprocess.DEVNULL) as child:
        deadline = time.monotonic() + 60
        while not (is_measured := is_written(data, usd_text)) and time.monotonic() < deadline:
            time.sleep(0.1)
        still_runs = child.poll() is None
        child.kill()

    assert still_runs
    assert is_measured


def is_written(data: Path, function: Callable[..., Any]) -> bool:
    """Also while a process writes its file, which is there before its lines are."""
    with suppress(CoverageException, CoverageWarning):
        return bool(lines_of(data, function) & body(function))
    return False


def test_ci_demands_what_the_readme_says() -> None:
    (said,) = SENTENCE.finditer(README.read_text())

    assert float(said["least"]) == least() >= 90
    assert said["measured"] is None or float(said["measured"]) >= least()
    assert "step make test COVERAGE=1\n" in (ROOT / ".ci" / "run").read_text()
