"""Builds the image, or the one of LiteLLM."""

import os
import ssl
import subprocess
from pathlib import Path
from typing import Final

from deploy.embedded.programs import ROOT
from deploy.image.base import DOCKERFILE, choose_base
from deploy.image.engines import Engine

CACHE: Final = ROOT / ".cache" / "image"
# By the target of the Dockerfile.
TAGS: Final = {"litemaas": "litemaas", "litellm": "litemaas-litellm"}


def build(engine: Engine, target: str, base: str | None = None) -> str:
    """Its name. Raise NotStarted if it could not be built."""
    CACHE.mkdir(parents=True, exist_ok=True)
    chosen = choose_base(engine, base, CACHE)
    print(f"Building {TAGS[target]} with {engine.name} on {chosen} ...", flush=True)
    labels = {"base.name": chosen, **_revision()}
    arguments = [
        "--file",
        str(DOCKERFILE),
        "--target",
        target,
        "--tag",
        TAGS[target],
        "--build-arg",
        f"PYTHON={chosen}",
    ]
    arguments += [f"--label=org.opencontainers.image.{name}={value}" for name, value in labels.items()]
    if trusted := trusted_certificates():
        arguments += ["--secret", f"id=ca,src={trusted}"]
    engine.build([*arguments, str(ROOT)])
    return TAGS[target]


def trusted_certificates() -> Path | None:
    """The certificates this machine trusts, for the build: a proxy's among them, where one is between it and the
    package registries."""
    usual = ssl.get_default_verify_paths()
    for path in (os.environ.get("SSL_CERT_FILE"), usual.cafile, "/etc/ssl/certs/ca-certificates.crt"):
        if path and Path(path).is_file():
            return Path(path)
    return None


def _revision() -> dict[str, str]:
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return {"revision": done.stdout.strip()} if done.returncode == 0 else {}
