"""`make demo` as a child process, on free ports and in a folder of the test."""

import json
import os
import ssl
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx2

from deploy.embedded.component import Component
from deploy.embedded.processes import Child, free_port
from deploy.embedded.programs import ROOT
from deploy.embedded.state import STATE, read_state


class DemoProcess(Component):
    """The demo; `state` is the state file it writes for other programs."""

    TIMEOUT_S = 180.0  # LiteLLM's imports, on a busy machine

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "demo"
        self._log = folder / "demo.log"

    def launch(self) -> None:
        env = {
            "LITEMAAS_DEMO_DIR": str(self.folder),
            "LITEMAAS_DEMO_GATEWAY_PORT": str(free_port()),
            "LITEMAAS_DEMO_ADMIN_PORT": str(free_port()),
        }
        # The command of `make demo`, once everything is installed.
        argv = [sys.executable, "-m", "deploy.embedded"]
        self.child = Child("The demo", argv, log=self._log, env=os.environ | env, cwd=ROOT)

    def is_ready(self) -> bool:
        return (self.folder / STATE).exists()

    @property
    def state(self) -> dict[str, Any]:
        return read_state(self.folder)

    def stop(self) -> None:
        # The demo stops seven programs, one after another.
        if self.child:
            self.child.stop(timeout_s=60.0)


# Without the CAs of the system, which take long to read and are not needed for http.
PLAIN: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass(frozen=True, slots=True)
class DemoLiteLLM:
    """LiteLLM of a running demo, which restarts it when its configuration is edited. `state` is the demo's."""

    state: dict[str, Any]

    def name_of(self, deployment: str) -> str:
        (found,) = (one["model_name"] for one in self._read()["model_list"] if one["model_info"]["id"] == deployment)
        return str(found)

    def rename(self, deployment: str, name: str) -> None:
        wanted = self._read()
        for one in wanted["model_list"]:
            if one["model_info"]["id"] == deployment:
                one["model_name"] = name
        Path(self.state["litellm_config"]).write_text(json.dumps(wanted))

    def models(self) -> list[str]:
        """Those that it serves; none while it starts."""
        headers = {"authorization": f"Bearer {self.state['env']['LITEMAAS_LITELLM_API_KEY']}"}
        try:
            answer = httpx2.get(
                f"{self.state['litellm_url']}/v1/models", headers=headers, trust_env=False, verify=PLAIN
            )
        except httpx2.TransportError:
            return []
        return [one["id"] for one in answer.json()["data"]] if answer.is_success else []

    def _read(self) -> dict[str, Any]:
        read: dict[str, Any] = json.loads(Path(self.state["litellm_config"]).read_text())
        return read
