"""The OpenID Connect provider of the demo on loopback: `oidc-provider-mock`. It asks for no password."""

import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.embedded.component import Component, answers
from deploy.embedded.processes import Child, bare_environment, free_port, without_coverage

PACKAGE = "oidc_provider_mock"


def is_installed() -> bool:
    """Whether the package is installed; it is a development dependency."""
    return importlib.util.find_spec(PACKAGE) is not None


class IdentityProvider(Component):
    """Accepts every name, so it is for this machine only. Each of `people` is an e-mail address offered as a button;
    another one may be typed, and is not marked as verified."""

    def __init__(self, folder: Path, people: Sequence[str] = ()) -> None:
        self.folder = folder.absolute()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._people = people

    def launch(self) -> None:
        argv = [sys.executable, "-m", PACKAGE, "--port", str(self.port)]
        for address in self._people:
            claims = {"sub": address, "email": address, "email_verified": True, "name": address.partition("@")[0]}
            argv += ["--user-claims", json.dumps(claims)]
        self.child = Child(
            "The identity provider",
            argv,
            log=self.folder / "identity_provider.log",
            env=without_coverage(bare_environment(self.folder)),
        )

    def is_ready(self) -> bool:
        return answers(f"{self.url}/.well-known/openid-configuration")
