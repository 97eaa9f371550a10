"""Child processes that end with their parent, each with its own log."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TETHER = Path(__file__).with_name("tether.py")
MAX_LINES = 8
MAX_OF_A_LINE = 300
# By this variable coverage.py measures the child processes of tests too (`make test COVERAGE=1`).
MEASURED = "COVERAGE_PROCESS_CONFIG"


class NotStarted(RuntimeError):
    """A component could not be started. Its message is one sentence for a user."""


class Ended(RuntimeError):
    """A component ended by itself. Its message is one sentence for a user."""


@dataclass(frozen=True, slots=True)
class Account:
    """The system account a child runs as, when that is not our own."""

    name: str
    uid: int
    gid: int


class Child:
    """One child process. On Linux it gets `stop_signal` when we die, even by SIGKILL.

    The kernel means the *thread* that started it, so that must be one that lives on: the main one.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        account: Account | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name = name
        self.log = log
        self.stop_signal = stop_signal
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                _tethered(argv, stop_signal, account),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=None if env is None else dict(env),
                cwd=cwd,
                # Its own group: Ctrl-C in the terminal reaches us alone, and we choose the order.
                process_group=0,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        return self._process.poll()

    def stop(self, timeout_s: float = 15.0) -> None:
        """Ask it to end, and end its whole group if it will not. May be called twice."""
        if self.exit_code is None:
            self._process.send_signal(self.stop_signal)
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                os.killpg(self.pid, signal.SIGKILL)
                self._process.wait()

    def wait_until(self, is_ready: Callable[[], bool], timeout_s: float) -> None:
        """Return once `is_ready`; raise NotStarted if the child ends first or after the timeout."""
        deadline = time.monotonic() + timeout_s
        while True:
            code = self.exit_code
            if code is not None:
                raise NotStarted(f"{self.name} ended at once (exit code {code}); {self.last_words()}")
            if is_ready():
                return
            if time.monotonic() > deadline:
                raise NotStarted(f"{self.name} was not ready within {timeout_s:.0f} s; {self.last_words()}")
            time.sleep(0.02)

    def last_words(self) -> str:
        return f"its last words are in {self.log}: {self._last_lines() or 'none'}"

    def _last_lines(self) -> str:
        lines = self.log.read_text(errors="replace").split("\n")[-MAX_LINES - 1 :]
        return " | ".join(line.strip()[:MAX_OF_A_LINE] for line in lines if line.strip())

    def check(self) -> None:
        """Raise Ended if it has ended, with its exit code (negative for a signal) and its last lines of output."""
        code = self.exit_code
        if code is not None:
            raise Ended(f"{self.name} ended with code {code}; last lines: {self._last_lines() or 'none'}")


def _tethered(argv: Sequence[str], stop_signal: signal.Signals, account: Account | None) -> list[str]:
    uid, gid = (account.uid, account.gid) if account else (-1, -1)
    tether = [sys.executable, "-I", "-S", str(TETHER)]
    return [*tether, *map(str, (os.getpid(), int(stop_signal), uid, gid)), *argv]


# Until their users listen.
MAX_CLAIMS: Final = 64
_claims: Final[deque[socket.socket]] = deque()


def free_port() -> int:
    """A loopback port nobody listens on now, and that no other process gets from here for a while. A program that does
    not ask here may take it before its user does.

    From below the ports that systems give to outgoing connections: one of those might take it.
    """
    chance = secrets.SystemRandom()
    while True:
        port = chance.randrange(20_000, 32_000)
        if is_free(port) and _claim(port):
            return port


def _claim(port: int) -> bool:
    """Whether no other process of this machine has claimed the port lately: by a name of Linux that ends with its
    process, or with the claims after it."""
    if sys.platform != "linux":
        return True
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0litemaas-port-{port}")
    except OSError:
        claim.close()
        return False
    _claims.append(claim)
    if len(_claims) > MAX_CLAIMS:
        _claims.popleft().close()
    return True


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        # As servers do: a port whose last connections are still in TIME_WAIT counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def bare_environment(home: Path) -> dict[str, str]:
    """The environment of a component: only what it needs of ours, so no settings leak in from a shell."""
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR", "LANG", MEASURED) if name in os.environ}
    return kept | {"HOME": str(home), "TZ": "UTC", "NO_PROXY": "127.0.0.1,localhost"}


def without_coverage(environment: Mapping[str, str]) -> dict[str, str]:
    """Of a program in Python that runs nothing of `gateway` and `admin_api`: to measure it would only slow it down."""
    return {name: value for name, value in environment.items() if name != MEASURED}
