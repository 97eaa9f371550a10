"""The folder where the workers of a gateway keep their metrics, for their parent to add up."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from time import time
from typing import Final

PREFIX: Final = "litemaas-metrics-"
# A folder may be this old before it is locked.
NEW_S: Final = 60.0


@contextmanager
def new_metrics_folder() -> Iterator[str]:
    """An empty folder, removed at the end; a parent that is killed leaves it to the next start."""
    _remove_left_behind(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as folder:
        # Held by this process only: workers do not inherit it, and the kernel ends it with the process.
        lock = os.open(folder, os.O_RDONLY)
        try:
            with suppress(OSError):  # a file system without locks, where the next start gets none either
                flock(lock, LOCK_EX | LOCK_NB)
            yield folder
        finally:
            os.close(lock)


def _remove_left_behind(place: Path) -> None:
    """Removes the folders of parents that were killed, once their workers have ended too: they drain first."""
    for folder in place.glob(f"{PREFIX}*"):
        with suppress(OSError):  # another user's, or another start removes it
            if time() - folder.stat().st_mtime > NEW_S and _is_unused(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _is_unused(folder: Path) -> bool:
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(lock).st_uid != os.geteuid():
            return False
        flock(lock, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    pids = {file.stem.rpartition("_")[2] for file in folder.glob("*.db")}
    return not any(_is_running(int(pid)) for pid in pids if pid.isdigit())


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
