"""The demo's folder: one demo at a time, and `state.json` while it is ready."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deploy.embedded.processes import NotStarted

LOCK = "lock"
STATE = "state.json"


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Lock the folder and remove what an earlier demo left. Raise NotStarted if a demo runs in it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+") as lock:
        try:
            # The system releases the lock when the process ends in any way.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise NotStarted(
                f"A demo is already running (process {lock.read().strip()}): what it serves is in "
                f"{folder / STATE}. Stop it first."
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        _empty(folder)
        try:
            yield
        finally:
            (folder / STATE).unlink(missing_ok=True)
            lock.truncate(0)


def write_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Atomically, and readable only by us: it contains keys and passwords."""
    half = folder / f"{STATE}.new"
    with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(json.dumps(state, indent=2) + "\n")
    half.replace(folder / STATE)


def read_state(folder: Path) -> dict[str, Any]:
    """What the last demo of the folder wrote: one that was killed leaves it."""
    state: dict[str, Any] = json.loads((folder / STATE).read_text())
    return state


def _empty(folder: Path) -> None:
    for place in folder.iterdir():
        if place.name == LOCK:
            continue
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink()
