"""A port that one process was given is given to no other before a server listens on it."""

import subprocess
import sys
from pathlib import Path

import pytest

from deploy.embedded import processes
from deploy.embedded.processes import free_port, is_free

TAKE = "from deploy.embedded.processes import free_port; print(free_port(), flush=True); input()"
ROOT = Path(__file__).parents[2]


class Chance:
    """Meets the same port twice."""

    def __init__(self, *ports: int) -> None:
        self._ports = list(ports)

    def randrange(self, *_: int) -> int:
        return self._ports.pop(0)


def test_a_port_that_another_process_was_given_is_not_given_again(monkeypatch: pytest.MonkeyPatch) -> None:
    other_port = free_port()
    command = [sys.executable, "-c", TAKE]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        port = int(other.stdout.readline())
        assert is_free(port)
        monkeypatch.setattr(processes.secrets, "SystemRandom", lambda: Chance(port, other_port + 1, other_port + 2))
        assert free_port() in (other_port + 1, other_port + 2)
        other.communicate("\n")

    monkeypatch.setattr(processes.secrets, "SystemRandom", lambda: Chance(port))
    assert free_port() == port
