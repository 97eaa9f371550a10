"""A child process that exits during the tests is reported with its exit code and last lines."""

import os
import signal
import time
from pathlib import Path

import pytest

from deploy.embedded.processes import Child, Ended


def ended(child: Child) -> Child:
    deadline = time.monotonic() + 20
    while child.exit_code is None and time.monotonic() < deadline:
        time.sleep(0.01)
    return child


def run(folder: Path, script: str) -> Child:
    return Child("LiteLLM", ["/bin/sh", "-c", script], log=folder / "child.log")


def test_the_error_for_an_exited_child_has_its_code_and_last_lines(tmp_path: Path) -> None:
    child = ended(run(tmp_path, "seq 1 30; echo; echo out of memory >&2; exit 7"))

    with pytest.raises(Ended) as caught:
        child.check()

    assert str(caught.value) == "LiteLLM ended with code 7; last lines: 25 | 26 | 27 | 28 | 29 | 30 | out of memory"


def test_the_error_for_a_killed_child_has_the_signal(tmp_path: Path) -> None:
    child = run(tmp_path, "exec sleep 60")
    child.check()
    os.kill(child.pid, signal.SIGKILL)

    with pytest.raises(Ended, match=r"LiteLLM ended with code -9; last lines: none"):
        ended(child).check()
