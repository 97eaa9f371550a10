"""Starts the model server as a child process."""

import os
import sys
from pathlib import Path

from deploy.embedded.component import Component, answers
from deploy.embedded.processes import Child, free_port, without_coverage

ROOT = Path(__file__).resolve().parents[3]


class ModelServer(Component):
    """One model server; `delay_s` and `tokens_per_s` are the defaults of the directives."""

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        delay_s: float = 0.02,
        tokens_per_s: float = 200.0,
    ) -> None:
        self.folder = folder.absolute()
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._pace = ["--delay", str(delay_s), "--rate", str(tokens_per_s)]

    def launch(self) -> None:
        module = [sys.executable, "-m", "deploy.embedded.model_server"]
        self.child = Child(
            "The model server",
            [*module, "--port", str(self.port), *self._pace],
            log=self.folder / "model_server.log",
            env=without_coverage(os.environ),
            cwd=ROOT,
        )

    def is_ready(self) -> bool:
        return answers(f"{self.url}/health/liveliness")
