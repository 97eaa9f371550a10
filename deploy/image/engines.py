"""Container engines: docker, podman, or buildah, which needs no service and no registry but root."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from deploy.embedded.processes import NotStarted

NO_ENGINE: Final = (
    "No container engine was found: start docker or podman, or become root on Debian and run deploy/image/prepare.sh, "
    "which installs buildah and mmdebstrap."
)
RUN: Final = (sys.executable, "-I", "-S", str(Path(__file__).with_name("run.py")))
ENGINES_OWN: Final = re.compile(r"(HOME|XDG_RUNTIME_DIR|LD_LIBRARY_PATH)$|(DOCKER|CONTAINERS?)_")
# A registry that does not answer must not hold up a build for ever.
PATIENCE_S: Final = 300.0


class Engine(ABC):
    """One of them, by the name of its program."""

    name: str

    @abstractmethod
    def build_options(self) -> list[str]:
        """Options of its `build` that others do not need."""

    @abstractmethod
    def import_root(self, archive: Path, tag: str) -> None:
        """Make an image of one layer of a tar archive of its files."""

    @abstractmethod
    def config(self, tag: str) -> dict[str, Any]:
        """The image's configuration: `User`, `Env`, `Labels`, `Healthcheck` and more."""

    @abstractmethod
    def compressed_size(self, tag: str) -> int:
        """The bytes of its layers as a registry has them."""

    @abstractmethod
    @contextmanager
    def prepared(self, tag: str) -> Iterator[list[str]]:
        """What to put before a command to run it in the image, in the block: deploy/image/run.py says how."""

    def run(self, *arguments: str) -> str:
        """What the engine prints. Raise NotStarted with its last line if it fails."""
        done = subprocess.run([self.name, *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            said = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
            raise NotStarted(f"`{self.name} {arguments[0]}` failed: {said}")
        return done.stdout.strip()

    def has(self, tag: str) -> bool:
        return _succeeds(self.name, "inspect", "--type", "image", tag)

    def can_pull(self, image: str) -> bool:
        """Whether the image is here, or could be fetched now."""
        return self.has(image) or _succeeds(self.name, "pull", "--quiet", image)

    def build(self, arguments: Sequence[str]) -> None:
        """Raise NotStarted if it fails; its output is the user's."""
        argv = [self.name, "build", *self.build_options(), *arguments]
        if subprocess.run(argv, stdin=subprocess.DEVNULL).returncode != 0:
            raise NotStarted(f"The image was not built: `{self.name} build` says above why.")


class Docker(Engine):
    """Docker, and podman, which has the same commands."""

    def __init__(self, name: str) -> None:
        self.name = name

    def build_options(self) -> list[str]:
        # Podman's own format has no health check.
        return ["--format", "docker"] if self.name == "podman" else []

    def import_root(self, archive: Path, tag: str) -> None:
        self.run("import", str(archive), tag)

    def config(self, tag: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("image", "inspect", tag))[0]
        # Podman keeps the health check beside the rest.
        beside = {"Healthcheck": found["Healthcheck"]} if "Healthcheck" in found else {}
        config: dict[str, Any] = found["Config"] | beside
        return config

    def compressed_size(self, tag: str) -> int:
        saved = '"$1" save "$2" | gzip | wc -c'
        done = subprocess.run(["sh", "-c", saved, "sh", self.name, tag], capture_output=True, text=True, check=True)
        return int(done.stdout)

    @contextmanager
    def prepared(self, tag: str) -> Iterator[list[str]]:
        # Programs of the trial have an environment of their own, in which the engine would not be found.
        kept = [f"{name}={value}" for name, value in os.environ.items() if ENGINES_OWN.match(name)]
        yield ["env", *kept, *RUN, self.name, tag]


class Buildah(Engine):
    """Buildah with chroot isolation: in a container of CI, where no engine runs."""

    name = "buildah"

    def build_options(self) -> list[str]:
        # Its own format has no health check. Keeping each step takes twice as long as doing most of them again.
        return ["--format", "docker", "--isolation", "chroot", "--layers=false"]

    def import_root(self, archive: Path, tag: str) -> None:
        container = self.run("from", "scratch")
        self.run("add", "--quiet", container, str(archive), "/")
        self.run("commit", "--quiet", "--rm", "--format", "docker", container, tag)

    def config(self, tag: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("inspect", "--type", "image", tag))["Docker"]["config"]
        return found

    def compressed_size(self, tag: str) -> int:
        with tempfile.TemporaryDirectory(prefix="litemaas-image-") as folder:
            self.run("push", "--quiet", tag, f"dir:{folder}")
            layers = json.loads((Path(folder) / "manifest.json").read_text())["layers"]
        return sum(layer["size"] for layer in layers)

    @contextmanager
    def prepared(self, tag: str) -> Iterator[list[str]]:
        container = self.run("from", "--pull-never", tag)
        try:
            mounted = {"root": self.run("mount", container), "env": self.config(tag)["Env"]}
            yield ["unshare", "--mount", *RUN, self.name, json.dumps(mounted)]
        finally:
            self.run("umount", container)
            self.run("rm", container)


def find_engine() -> Engine:
    """The first that works here. Raise NotStarted with what to do if there is none."""
    if _succeeds("docker", "info"):
        return Docker("docker")
    if _succeeds("podman", "info"):
        return Docker("podman")
    if os.geteuid() == 0 and shutil.which("buildah") and _succeeds("unshare", "--mount", "true"):
        return Buildah()
    raise NotStarted(NO_ENGINE)


def _succeeds(*argv: str) -> bool:
    if shutil.which(argv[0]) is None:
        return False
    try:
        return subprocess.run(argv, capture_output=True, stdin=subprocess.DEVNULL, timeout=PATIENCE_S).returncode == 0
    except subprocess.TimeoutExpired:
        return False
