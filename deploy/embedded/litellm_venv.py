"""Installs the real LiteLLM into `.venv-litellm` (venvs.py), once: `python -m deploy.embedded.litellm_venv`.

A separate venv, because it pins many libraries the gateway uses in other versions.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from deploy.embedded.processes import NotStarted
from deploy.embedded.venvs import ROOT, beside

FOLDER = beside("litellm")
# litellm[proxy] and prisma. Without prisma, which it imports when it refuses a key, LiteLLM answers
# 500 instead of 401; prisma's engine is not needed for that.
LOCK = Path(__file__).with_name("litellm-requirements.lock")
STAMP = "installed-from"
NO_NETWORK = ("dns error", "connection refused", "tcp connect error", "network is unreachable",
              "failed to lookup", "error sending request", "operation timed out")  # fmt: skip


def python() -> Path:
    return FOLDER / "bin" / "python"


def is_installed() -> bool:
    stamp = FOLDER / STAMP
    return stamp.is_file() and stamp.read_text() == _fingerprint()


def install(log: Path) -> Path:
    """Make sure the venv is whole and as the lock says; return its Python.

    An incomplete one has no stamp and is rebuilt. Of several processes one builds it.
    """
    with LOCK.open("rb") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        if not is_installed():
            shutil.rmtree(FOLDER, ignore_errors=True)
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_bytes(b"")
            uv = _uv()
            _run([uv, "venv", "--python", sys.executable, str(FOLDER)], log)
            # --no-deps: the lock names every package, so nothing is left to resolve. Compiled at
            # once: LiteLLM's first start would take half a minute otherwise.
            install = [uv, "pip", "install", "--require-hashes", "--no-deps", "--compile-bytecode"]
            _run([*install, "--python", str(python()), "-r", str(LOCK)], log)
            (FOLDER / STAMP).write_text(_fingerprint())
    return python()


def _fingerprint() -> str:
    version = f"{sys.implementation.name} {sys.version_info[0]}.{sys.version_info[1]}"
    pins = "".join(line for line in LOCK.read_text().splitlines(keepends=True) if not line.startswith("#"))
    return f"{hashlib.sha256(pins.encode()).hexdigest()} {version}\n"


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    if not found:
        raise NotStarted("LiteLLM can't be installed: uv is missing; `make` installs it in .venv.")
    return found


def _run(argv: list[str], log: Path) -> None:
    # Another Python than ours would be a download, and another version than the lock was made for.
    env = os.environ | {"UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1"}
    with log.open("ab") as output:
        done = subprocess.run(argv, stdout=output, stderr=subprocess.STDOUT, env=env)
    if done.returncode != 0:
        text = log.read_text(errors="replace").lower()
        why = "no package registry answers" if any(s in text for s in NO_NETWORK) else "uv failed"
        raise NotStarted(f"LiteLLM could not be installed in {FOLDER.name}: {why}; see {log}.")


def main() -> int:
    if not is_installed():
        sys.stderr.write(f"Installing LiteLLM in {FOLDER.name} (700 MB; about half a minute) ...\n")
    try:
        install(ROOT / ".demo" / "logs" / "litellm-install.log")
    except NotStarted as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
