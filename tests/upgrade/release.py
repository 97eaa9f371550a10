"""The release that an upgrade starts from, installed from its own lock files into an environment of its own."""

import io
import re
import shutil
import subprocess
import tarfile
import tomllib
from pathlib import Path
from typing import Final

from deploy.embedded import venvs
from deploy.embedded.programs import LITEMAAS

ROOT: Final = Path(__file__).parents[2]
VERSION: Final = "0.2.0"
COMMIT: Final = "8f737f60eca91aa490215c0410b0d2d3e2cdfc32"
SOURCES: Final = ROOT / ".cache" / f"release-{VERSION}"
TABLE_NAME: Final = re.compile(r"^\| `(\w+)`", re.MULTILINE)
LOCKS: Final = ("deploy/requirements.lock", "deploy/embedded/build-requirements.lock")


class NoRelease(RuntimeError):
    """The release cannot be installed. Its message is one sentence for a user."""


def install() -> Path:
    """The `litemaas` command of the release. Raises NoRelease."""
    environment = venvs.beside(f"upgrade-{VERSION}")
    command = environment / "bin" / "litemaas"
    stamp = environment / "installed-commit"
    if not SOURCES.exists() or not stamp.exists() or stamp.read_text() != COMMIT:
        sources = unpack(SOURCES)
        shutil.rmtree(environment, ignore_errors=True)
        _run("venv", "--python", LITEMAAS.with_name("python"), environment)
        into = ("pip", "install", "--python", environment / "bin" / "python", "--no-deps")
        _run(*into, "--require-hashes", *(part for lock in LOCKS for part in ("-r", sources / lock)))
        _run(*into, "--no-build-isolation", sources)
        stamp.write_text(COMMIT)
    return command


def names_that_are_gone() -> list[str]:
    """Settings, metrics and codes of errors that the release documents, this version does not, and the changelog does
    not name either."""
    changelog = (ROOT / "CHANGELOG.md").read_text()
    changes = changelog[: changelog.index(f"## {VERSION} ")]
    gone: list[str] = []
    for page in ("settings", "metrics", "errors"):
        was, now = (set(TABLE_NAME.findall((root / "docs" / f"{page}.md").read_text())) for root in (SOURCES, ROOT))
        gone += sorted(name for name in was - now if name not in changes)
    return gone


def unpack(folder: Path) -> Path:
    """The files of the commit, in `folder`."""
    if shutil.which("git") is None:
        raise NoRelease(f"git is needed, which has the files of {VERSION}.")
    done = subprocess.run(["git", "archive", COMMIT], cwd=ROOT, capture_output=True, check=False)
    if done.returncode != 0:
        raise NoRelease(f"Commit {COMMIT[:7]}, which is {VERSION}, is not in this clone: run `git fetch --unshallow`.")
    shutil.rmtree(folder, ignore_errors=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    found = tomllib.loads((folder / "pyproject.toml").read_text())["project"]["version"]
    if found != VERSION:
        raise NoRelease(f"Commit {COMMIT[:7]} is version {found}, not {VERSION}: correct tests/upgrade/release.py.")
    return folder


def _run(*arguments: object) -> None:
    argv = [str(LITEMAAS.with_name("uv")), *map(str, arguments), "--quiet"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr.strip() or "uv said nothing").splitlines()[-1]
        raise NoRelease(f"{VERSION} could not be installed: {said}")
