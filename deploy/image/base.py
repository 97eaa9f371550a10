"""The image that ours is built on: Docker's of Python, or where that cannot be fetched one of Debian's packages."""

import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final

from deploy.embedded.processes import NotStarted
from deploy.embedded.programs import ROOT
from deploy.image.engines import Engine

DOCKERFILE: Final = ROOT / "deploy" / "Dockerfile"
SUITE: Final = "trixie"
OWN: Final = f"localhost/litemaas-python:{SUITE}"
# What the Dockerfile needs of its base. Node, which builds the portal, is in C++.
PACKAGES: Final = ("python3.13", "python3.13-venv", "ca-certificates", "tzdata", "libstdc++6")
LEFT_OUT: Final = ("/usr/share/man/*", "/usr/share/locale/*", "/usr/share/doc/*")
LICENCES: Final = "/usr/share/doc/*/copyright"
# Then it is made again, with newer packages.
MAX_AGE_S: Final = 7 * 86400.0
NO_MMDEBSTRAP: Final = (
    "The base image {image} could not be fetched, and mmdebstrap, which makes one of Debian's packages, is missing: "
    "`apt-get install mmdebstrap`, or name another: make image BASE=image."
)


def choose_base(engine: Engine, wanted: str | None, cache: Path) -> str:
    """The image to build on. Raise NotStarted if there is none."""
    image = wanted or default_base()
    if engine.can_pull(image):
        return image
    if wanted:
        raise NotStarted(f"The base image {wanted} could not be fetched.")
    if shutil.which("mmdebstrap") is None:
        raise NotStarted(NO_MMDEBSTRAP.format(image=image))
    made = cache / "python-made"
    if not engine.has(OWN) or not made.exists() or time.time() - made.stat().st_mtime > MAX_AGE_S:
        print(f"{image} could not be fetched: making a base of Debian's packages ...", flush=True)
        with tempfile.TemporaryDirectory(prefix="litemaas-base-") as folder:
            _bootstrap(Path(folder) / "root.tar")
            engine.import_root(Path(folder) / "root.tar", OWN)
        made.touch()
    return OWN


def default_base() -> str:
    """That of the Dockerfile."""
    found = re.search(r"^ARG PYTHON=(\S+)$", DOCKERFILE.read_text(), re.MULTILINE)
    if found is None:
        raise NotStarted(f"{DOCKERFILE} names no base.")
    return found[1]


def _bootstrap(archive: Path) -> None:
    options = [f"--dpkgopt=path-exclude={path}" for path in LEFT_OUT]
    options += [f"--dpkgopt=path-include={LICENCES}", "--dpkgopt=force-unsafe-io"]
    options += [f"--include={','.join(PACKAGES)}", "--variant=essential"]
    argv = ["mmdebstrap", "--quiet", *options, SUITE, str(archive), *_sources()]
    done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.startswith("E: ")] or ["it said nothing"]
        raise NotStarted(f"`mmdebstrap` could not make a base image of Debian's packages: {said[0]}")


def _sources() -> list[str]:
    """Where this machine's apt has Debian from, with security updates; none if it has another system's."""
    asked = ["apt-get", "indextargets", "--format", "$(ORIGIN) $(LABEL) $(REPO_URI)", "Created-By: Packages"]
    known = subprocess.run(asked, capture_output=True, text=True).stdout.splitlines()
    places = {label: uri for origin, label, uri in (line.split() for line in known if line.count(" ") == 2)
              if origin == "Debian"}  # fmt: skip
    suites = {"Debian": (SUITE, f"{SUITE}-updates"), "Debian-Security": (f"{SUITE}-security",)}
    return [f"deb {places[label]} {suite} main" for label in places for suite in suites.get(label, ())]
