"""Python clients, each in a virtual environment of its own: some cannot be installed beside each other."""

import fcntl
import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from deploy.embedded.venvs import beside

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = Path(__file__).with_name("python")
VENVS: Final = beside("clients")
UV: Final = Path(sys.executable).with_name("uv")
INSTALLING_S: Final = 300.0


def python_of(name: str) -> Path:
    return VENVS / name / "bin" / "python"


def install(name: str) -> None:
    """Makes the environment what its lock file says. Of several processes one does it."""
    lock = FOLDER / f"{name}.lock"
    stamp = VENVS / name / "installed-from"
    with lock.open("rb") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        wanted = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()
        if stamp.is_file() and stamp.read_text() == wanted:
            return
        shutil.rmtree(VENVS / name, ignore_errors=True)
        _uv("venv", "--python", sys.executable, str(VENVS / name))
        # --no-deps: the lock names every package, so nothing is left to resolve.
        _uv("pip", "install", "--python", str(python_of(name)), "--require-hashes", "--no-deps", "-r", str(lock))
        stamp.write_text(wanted)


def locked(name: str, package: str) -> str:
    """The version that is locked."""
    found = re.search(rf"^{re.escape(package)}==([^ ;\\]+)", (FOLDER / f"{name}.lock").read_text(), re.MULTILINE)
    assert found, f"{package} is not in {name}.lock"
    return found[1]


def _uv(*arguments: str) -> None:
    command = [str(UV), arguments[0], "--quiet", *arguments[1:]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALLING_S, cwd=ROOT)
    assert done.returncode == 0, f"uv {arguments[0]} failed: {done.stderr[-2000:]}"
