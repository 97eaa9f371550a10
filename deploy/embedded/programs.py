"""LiteMaaS as the demo runs it: gateway and admin API as child processes, and the command line."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploy.embedded.component import Component, answers
from deploy.embedded.processes import Child, NotStarted, bare_environment, free_port

ROOT = Path(__file__).resolve().parents[2]
LITEMAAS = Path(sys.executable).with_name("litemaas")
TIMEOUT_S = 60.0


class Program(Component):
    """`litemaas gateway` or `litemaas admin-api`, ready when `/health/ready` succeeds; `command` is that of another
    commit."""

    TIMEOUT_S = TIMEOUT_S

    def __init__(self, folder: Path, name: str, port: int, *arguments: str, command: Path = LITEMAAS) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        metrics_port = free_port()
        self.metrics_url = f"http://127.0.0.1:{metrics_port}/metrics"
        self.env: Mapping[str, str] = {}
        self._metrics_listen = f"127.0.0.1:{metrics_port}"
        self._folder = folder
        self._name = name
        self._arguments = arguments
        self._command = command

    def launch(self) -> None:
        self.child = Child(
            f"`litemaas {self._name}`",
            [str(self._command), self._name, "--host", "127.0.0.1", "--port", str(self.port), *self._arguments],
            log=self._folder / f"{self._name}.log",
            env=bare_environment(self._folder) | {"LITEMAAS_METRICS_LISTEN": self._metrics_listen} | dict(self.env),
            cwd=ROOT,
        )

    def is_ready(self) -> bool:
        return answers(f"{self.url}/health/ready")


class CommandLine:
    """Runs `litemaas …` on the demo's Postgres, Valkey and LiteLLM."""

    def __init__(self, folder: Path, env: Mapping[str, str], *, command: Path = LITEMAAS) -> None:
        self._env = bare_environment(folder) | dict(env)
        self._command = command

    def run(self, *arguments: str) -> str:
        """The output of the command. Raise NotStarted with its last line if it fails."""
        try:
            done = subprocess.run(
                [str(self._command), *arguments],
                env=self._env,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
            )
        except subprocess.TimeoutExpired:
            raise NotStarted(f"`litemaas {arguments[0]}` took longer than {TIMEOUT_S:.0f} s.") from None
        if done.returncode != 0:
            said = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
            raise NotStarted(f"`litemaas {' '.join(arguments[:2])}` failed: {said}")
        return done.stdout

    def read(self, *arguments: str) -> Any:
        """The same with `--json`, decoded."""
        printed = self.run(*arguments, "--json")
        try:
            return json.loads(printed)
        except ValueError:
            raise NotStarted(f"`litemaas {' '.join(arguments[:2])} --json` printed no JSON.") from None
