"""`make demo` as a child process, on free ports and in a folder of the test."""

import json
import os
import sys
from pathlib import Path
from typing import Any

from deploy.embedded.component import Component
from deploy.embedded.processes import Child, free_port
from deploy.embedded.programs import ROOT
from deploy.embedded.state import STATE


class DemoProcess(Component):
    """The demo; `state` is the state file it writes for other programs."""

    TIMEOUT_S = 180.0  # LiteLLM's imports, on a busy machine

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "demo"
        self._log = folder / "demo.log"

    def launch(self) -> None:
        env = {
            "LITEMAAS_DEMO_DIR": str(self._folder),
            "LITEMAAS_DEMO_GATEWAY_PORT": str(free_port()),
            "LITEMAAS_DEMO_ADMIN_PORT": str(free_port()),
        }
        # The command of `make demo`, once everything is installed.
        argv = [sys.executable, "-m", "deploy.embedded"]
        self.child = Child("The demo", argv, log=self._log, env=os.environ | env, cwd=ROOT)

    def is_ready(self) -> bool:
        return (self._folder / STATE).exists()

    @property
    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads((self._folder / STATE).read_text())
        return state

    def stop(self) -> None:
        # The demo stops seven programs, one after another.
        if self.child:
            self.child.stop(timeout_s=60.0)
