"""The machine or container that a gateway runs in: the folder of its journal, and how many files it may open."""

import os
import shutil
from dataclasses import dataclass
from errno import EACCES, EISDIR, ENOENT, EOPNOTSUPP
from pathlib import Path
from typing import Final

from admin_api.open_files import open_files_allowed
from admin_api.operations.doctor.findings import Findings

# Below it a gateway soon answers 503, since no call may go unrecorded.
MIN_FREE_BYTES: Final = 64 * 1024**2
# Besides connections of callers and to LiteLLM: Postgres, Redis, the journal.
OTHER_FILES: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayMachine:
    """What of the gateway's settings is about it."""

    state_dir: Path
    journal_max_bytes: int
    upstream_connections: int


async def check_journal(found: Findings, machine: GatewayMachine) -> None:
    """A file can be made in the folder, and there is room for a journal."""
    folder = machine.state_dir.absolute()
    try:
        existing = _existing(folder)
        _try_to_write(existing)
    except OSError as exc:
        found.problem(
            f"The gateway cannot write its journal to {folder} ({exc.strerror}).",
            "Mount a volume there that the program's user may write to (in Kubernetes fsGroup, on a machine chown), or "
            "set LITEMAAS_STATE_DIR to such a folder.",
        )
        return
    free = shutil.disk_usage(existing).free
    if free < MIN_FREE_BYTES:
        found.problem(
            f"The disk of {folder} has {free // 1024**2} MiB left: soon no call can be recorded, and all are refused.",
            "Free space, or enlarge the volume.",
        )
    elif free < machine.journal_max_bytes:
        found.warn(
            f"The disk of {folder} has {free // 1024**2} MiB left, less than LITEMAAS_JOURNAL_MAX_BYTES "
            f"({machine.journal_max_bytes // 1024**2} MiB): it is full before the bound while Postgres is away.",
            "Enlarge the volume, or lower LITEMAAS_JOURNAL_MAX_BYTES.",
        )
    else:
        found.ok(f"The journal can be written to {folder}, which has {free // 1024**2} MiB left.")


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it: what is missing is made at the start. Raises OSError for one that this user
    cannot enter."""
    for one in (folder, *folder.parents):
        try:
            one.stat()
        except FileNotFoundError:
            continue
        return one
    raise FileNotFoundError(ENOENT, os.strerror(ENOENT))


def _try_to_write(folder: Path) -> None:
    """A file without a name, which is gone when it is closed. Raises OSError."""
    flags = getattr(os, "O_TMPFILE", None)
    if flags is not None:
        try:
            os.close(os.open(folder, flags | os.O_WRONLY, 0o600))
            return
        except OSError as exc:
            # Not every file system can do it.
            if exc.errno not in (EOPNOTSUPP, EISDIR, ENOENT):
                raise
    if not os.access(folder, os.W_OK | os.X_OK) or not folder.is_dir():
        raise PermissionError(EACCES, os.strerror(EACCES))


async def check_files(found: Findings, machine: GatewayMachine) -> None:
    """Each open call needs two."""
    allowed = open_files_allowed()
    needed = 2 * machine.upstream_connections + OTHER_FILES
    if allowed < needed:
        found.warn(
            f"A gateway may open {allowed} files here; {machine.upstream_connections} calls at once need {needed}.",
            "Raise the hard limit of open files: LimitNOFILE in systemd, ulimits of the container engine.",
        )
    else:
        found.ok(f"A gateway may open {allowed} files here.")
