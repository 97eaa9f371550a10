"""The services of deploy/compose.yaml as plain processes: its order, commands, environments, files and health checks.

LiteMaaS is the image, Postgres, Valkey and LiteLLM are those of the demo. Only hosts and ports are others, since all
are on one host, and LiteLLM's provider is the model server. Prometheus and Grafana are left out.
"""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from deploy.embedded import litellm_venv
from deploy.embedded.component import Component, answers
from deploy.embedded.litellm import OFFLINE
from deploy.embedded.model_server.launch import ModelServer
from deploy.embedded.postgres import SUPERUSER, UNSAFE_BUT_FAST, Postgres
from deploy.embedded.postgres_binaries import find_programs, reachable_programs
from deploy.embedded.processes import Child, NotStarted, bare_environment, free_port
from deploy.embedded.programs import LITEMAAS, CommandLine, Program
from deploy.embedded.valkey import Valkey, find_server
from deploy.image.base import DOCKERFILE
from deploy.image.compose_file import DEPLOY, environment, mounted_file, needs, services

# Those of the images, where the compose file names none.
USUAL_PORTS: Final = {"gateway": 4000, "admin-api": 8081, "postgres": 5432, "valkey": 6379}
ANY_ADDRESS: Final = "0.0.0.0"
HEALTH_PATIENCE_S: Final = 60.0
NOT_RUN: Final = ("prometheus", "grafana")


class ComposedPostgres(Postgres):
    """A cluster whose roles and database are made by the script that the compose file mounts."""

    def __init__(self, folder: Path, port: int, script: Path, env: Mapping[str, str]) -> None:
        self._sockets = folder / "sockets"
        super().__init__(folder, port=port, settings=UNSAFE_BUT_FAST | {"unix_socket_directories": str(self._sockets)})
        self._script = script
        self._has_roles = False
        self._env = dict(env)
        self.programs = reachable_programs(find_programs(), self._account)

    def wait(self) -> None:
        super().wait()
        if self._has_roles:
            return
        env = bare_environment(self.folder) | self._env | {"PGHOST": str(self._sockets), "PGPORT": str(self.port)}
        env["PATH"] = f"{self.programs}:{env['PATH']}"
        _run(["bash", str(self._script)], env)
        self._has_roles = True

    def _make_cluster(self, programs: Path) -> None:
        self._sockets.mkdir(parents=True)
        self._sockets.chmod(0o777)
        initdb = [str(programs / "initdb"), "-D", str(self._data), "-U", SUPERUSER, "-E", "UTF8"]
        self._run([*initdb, "--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync", "--no-instructions"])


class ComposedValkey(Valkey):
    """Started by the script that the compose file mounts."""

    def __init__(self, folder: Path, port: int, script: Path, env: Mapping[str, str]) -> None:
        super().__init__(folder, port=port, password=env.get("VALKEY_PASSWORD", "none"))
        self._script = script
        self._env = dict(env)

    def launch(self) -> None:
        named = self.folder / "bin" / "valkey-server"
        named.parent.mkdir(parents=True)
        named.symlink_to(find_server())
        env = bare_environment(self.folder) | self._env
        env["PATH"] = f"{named.parent}:{env['PATH']}"
        argv = [
            "/bin/sh",
            str(self._script),
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--dir",
            str(self.folder),
        ]
        self.child = Child("Valkey", argv, log=self.folder / "valkey.log", env=env)


class ComposedLiteLLM(Component):
    """What the image of LiteLLM starts, with LiteLLM from its own virtual environment."""

    TIMEOUT_S = 120.0

    def __init__(self, folder: Path, port: int, command: Sequence[str], env: Mapping[str, str]) -> None:
        self.folder = folder
        self.url = f"http://127.0.0.1:{port}"
        self._argv = [*entry_point("litellm"), *command, "--host", "127.0.0.1", "--port", str(port)]
        self._env = dict(env)

    def launch(self) -> None:
        litellm_venv.install(self.folder / "litellm-install.log")
        env = bare_environment(self.folder) | OFFLINE | self._env
        self.child = Child("LiteLLM", self._argv, log=self.folder / "litellm.log", env=env)

    def is_ready(self) -> bool:
        return answers(f"{self.url}/health/liveliness")


def entry_point(target: str) -> list[str]:
    """That of the Dockerfile, with the programs of this machine."""
    stage = re.search(rf"^FROM \S+ AS {target}\n(.*?)(?=^FROM |\Z)", DOCKERFILE.read_text(), re.MULTILINE | re.DOTALL)
    found = re.search(r"^ENTRYPOINT \[(.*)\]$", stage[1], re.MULTILINE) if stage else None
    if found is None:
        raise NotStarted(f"The target {target} of the Dockerfile has no entry point.")
    ours = {"litemaas": str(LITEMAAS), "/opt/litellm/bin/litellm": str(litellm_venv.python().with_name("litellm"))}
    return [ours.get(word, word) for word in re.findall(r'"([^"]*)"', found[1])]


class Composition:
    """`up()` starts them as compose would, `discard()` stops them. `command` is the image's `litemaas`, `prefix` runs
    other commands in the image, `health` is its health check."""

    def __init__(self, folder: Path, command: Path, prefix: Sequence[str], health: Sequence[str]) -> None:
        self.folder = folder
        self.model_server = ModelServer(folder, delay_s=0.3, tokens_per_s=40)
        self.components: dict[str, Component] = {}
        self.variables: dict[str, str] = {}
        self._command = command
        self._prefix = prefix
        self._health = health
        self._services = services()
        self._ports = {name: free_port() for name in self._services}

    def make_env(self) -> None:
        """`deploy/make_env.sh`, but beside a copy of it."""
        script = self.folder / "make_env.sh"
        shutil.copy(DEPLOY / "make_env.sh", script)
        _run(["sh", str(script)], bare_environment(self.folder))
        lines = (self.folder / ".env").read_text().splitlines()
        self.variables = dict(line.split("=", 1) for line in lines)

    def up(self) -> None:
        self.model_server.start()
        for name in self._services:
            self._start(name)
        for component in self.components.values():
            component.wait()

    def discard(self) -> None:
        for component in reversed(list(self.components.values())):
            component.discard()
        self.model_server.discard()

    def restart(self, name: str) -> None:
        """As compose does: it does not wait until the service answers."""
        self.components[name].stop()
        self.components[name].launch()

    def exec(self, name: str, *arguments: str, typed: str = "") -> str:
        """What `litemaas` prints in a service's container."""
        return _run([str(self._command), *arguments], bare_environment(self.folder) | self.env(name), typed)

    def command_line(self, name: str) -> CommandLine:
        return CommandLine(self.folder, self.env(name), command=self._command)

    def program(self, name: str) -> Program:
        found = self.components[name]
        assert isinstance(found, Program)  # noqa: S101  for the types
        return found

    def env(self, name: str) -> dict[str, str]:
        """The service's environment, with the places of this machine."""
        filled = environment(self._services[name], self.variables)
        if "LITEMAAS_METRICS_LISTEN" in filled:
            filled["LITEMAAS_METRICS_LISTEN"] = filled["LITEMAAS_METRICS_LISTEN"].replace(ANY_ADDRESS, "127.0.0.1")
        return {setting: self._placed(value) for setting, value in filled.items()}

    def is_healthy(self, name: str) -> bool:
        """What its health check says, the service's or the image's."""
        service = self._services[name]
        check = service["healthcheck"]["test"] if "healthcheck" in service else self._health
        if isinstance(self.components[name], Valkey):
            # Its check needs the program valkey-cli.
            return self.components[name].is_ready()
        if check[0] != "CMD":
            raise NotStarted(f"The health check of {name} is no command: {check}.")
        argv = list(check[1:])
        if "--port" not in argv:
            argv += ["-p" if name == "postgres" else "--port", str(self._ports[name])]
        elif argv[-1] == self._port_inside(name):
            argv[-1] = str(self._ports[name])
        env = bare_environment(self.folder)
        if isinstance(postgres := self.components[name], ComposedPostgres):
            env["PATH"] = f"{postgres.programs}:{env['PATH']}"
        else:
            argv = [*self._prefix, *argv]
        return subprocess.run(argv, env=env, capture_output=True, stdin=subprocess.DEVNULL).returncode == 0

    def wait_for_health(self, name: str) -> None:
        """Raise NotStarted if it ends, or takes longer than HEALTH_PATIENCE_S, or than it may take to start."""
        patience_s = max(HEALTH_PATIENCE_S, self.components[name].TIMEOUT_S)
        deadline = time.monotonic() + patience_s
        while not self.is_healthy(name):
            self.components[name].check()
            if time.monotonic() > deadline:
                raise NotStarted(f"{name} was not healthy within {patience_s:.0f} s.")
            time.sleep(0.2)

    def _start(self, name: str) -> None:
        """It and, before it, what it needs. What nobody waits for is ready later."""
        if name in self.components or name in NOT_RUN:
            return
        for needed, condition in needs(self._services[name]).items():
            self._start(needed)
            if condition == "service_healthy":
                self.wait_for_health(needed)
        service = self._services[name]
        if name == "migrate":
            self.exec(name, *service["command"])
            self.components[name] = _Ended()
            return
        component = self._component(name, service)
        self.components[name] = component
        component.launch()
        if name in ("postgres", "gateway-1"):
            # A need that is missing shows in the first that has only what it needs.
            component.wait()

    def _component(self, name: str, service: dict[str, Any]) -> Component:
        folder, port, env = self.folder / name, self._ports[name], self.env(name)
        folder.mkdir()
        if name == "postgres":
            script = "/docker-entrypoint-initdb.d/create_roles.sh"
            return ComposedPostgres(folder, port, mounted_file(service, script), env)
        if name == "valkey":
            return ComposedValkey(folder, port, mounted_file(service, service["entrypoint"][-1]), env)
        command = [str(word) for word in service["command"]]
        if name == "litellm":
            command = [str(mounted_file(service, word)) if word.startswith("/") else word for word in command]
            return ComposedLiteLLM(folder, port, command, env | {"OPENAI_API_BASE": f"{self.model_server.url}/v1"})
        program = Program(folder, command[0], port, *command[1:], command=self._command)
        program.env = env | {"LITEMAAS_METRICS_LISTEN": program.metrics_url.split("/")[2]}
        return program

    def _placed(self, value: str) -> str:
        """A value with this machine's ports where it has those of a service."""
        for name, port in self._ports.items():
            value = re.sub(rf"(?<![\w.-]){re.escape(name)}:{self._port_inside(name)}\b", f"127.0.0.1:{port}", value)
        return value

    def _port_inside(self, name: str) -> str:
        """The port it has in its container."""
        command = [str(word) for word in self._services[name].get("command", ())]
        if "--port" in command:
            return command[command.index("--port") + 1]
        return str(USUAL_PORTS.get(command[0] if command else name))


class _Ended(Component):
    """The migration, which has ended well."""

    def launch(self) -> None:
        pass

    def wait(self) -> None:
        pass

    def is_ready(self) -> bool:
        return True


def _run(argv: Sequence[str], env: Mapping[str, str], typed: str = "") -> str:
    done = subprocess.run(argv, env=dict(env), input=typed, capture_output=True, text=True, cwd="/")
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
        raise NotStarted(f"`{os.path.basename(argv[0])} {' '.join(argv[1:3])}` failed: {said}")
    return done.stdout
