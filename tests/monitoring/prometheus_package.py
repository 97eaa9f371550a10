"""`make monitoring-tools`: Prometheus and promtool of Debian's package, unpacked into `.venv-tools` and not installed.

apt compares the package with its signed lists. Where the machine has none, own ones are fetched, which needs no root.
"""

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from deploy.embedded.venvs import ROOT

FOLDER: Final = ROOT / ".venv-tools"
PROMTOOL: Final = FOLDER / "usr" / "bin" / "promtool"
PROMETHEUS: Final = FOLDER / "usr" / "bin" / "prometheus"
TIMEOUT_S: Final = 300.0


class NotInstalled(RuntimeError):
    """Its message is one sentence for a user."""


def install(folder: Path = FOLDER) -> None:
    """Unpacks it, once. Of several processes one does it."""
    programs = [folder / path.relative_to(FOLDER) for path in (PROMTOOL, PROMETHEUS)]
    with Path(__file__).open("rb") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        if all(program.is_file() for program in programs):
            return
        if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
            raise NotInstalled("The tests of the monitoring need Debian's apt-get and dpkg-deb, to unpack Prometheus.")
        shutil.rmtree(folder, ignore_errors=True)
        _download(folder)
        _unpack(folder)


def _download(folder: Path) -> None:
    lists, cache = folder / "apt" / "lists", folder / "apt" / "cache"
    for made in (lists / "partial", cache / "archives" / "partial"):
        made.mkdir(parents=True)
    own = ["-o", f"Dir::State::lists={lists}", "-o", f"Dir::Cache={cache}", "-o", "Acquire::Languages=none"]
    tried = _run(folder, "apt-get", "-qq", "download", "prometheus")
    if tried.returncode != 0 and _run(folder, "apt-get", "-qq", *own, "update").returncode == 0:
        tried = _run(folder, "apt-get", "-qq", *own, "download", "prometheus")
    if tried.returncode != 0:
        raise NotInstalled(f"Debian's package prometheus could not be downloaded: {_last_line(tried)}")


def _unpack(folder: Path) -> None:
    (package,) = folder.glob("prometheus_*.deb")
    # Not its web pages and services, which are more than the programs.
    done = _run(folder, "dpkg-deb", "--extract", package.name, "unpacked")
    if done.returncode != 0:
        raise NotInstalled(f"Debian's package prometheus could not be unpacked: {_last_line(done)}")
    (folder / "usr").mkdir()
    shutil.move(folder / "unpacked" / "usr" / "bin", folder / "usr" / "bin")
    shutil.rmtree(folder / "unpacked")
    shutil.rmtree(folder / "apt")
    package.unlink()


def _run(folder: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S)


def _last_line(done: "subprocess.CompletedProcess[str]") -> str:
    return (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]


if __name__ == "__main__":
    try:
        install()
    except NotInstalled as problem:
        sys.exit(str(problem))
