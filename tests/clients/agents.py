"""Coding agents as programs: Claude Code and Codex, which start without a login by an address and a key."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from clients import node

FOLDER: Final = node.HERE / "agents"
RUNNING_S: Final = 90.0
POLL_S: Final = 0.05
CLAUDE_CODE: Final = "@anthropic-ai/claude-code"
CODEX: Final = "@openai/codex"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One prompt, and where it is sent. `home` is a folder of the agent's own."""

    url: str
    key: str
    model: str
    prompt: str
    home: Path
    schema: str | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """How an agent is started."""

    argv: list[str]
    environment: dict[str, str]
    home: Path

    def start(self) -> subprocess.Popen[str]:
        """In its project."""
        project = project_of(self.home)
        project.mkdir(parents=True, exist_ok=True)
        # All that they leave behind goes with their home.
        temporary = self.home / "tmp"
        temporary.mkdir(exist_ok=True)
        bare = {"PATH": os.environ["PATH"], "HOME": str(self.home), "TMPDIR": str(temporary)}
        return subprocess.Popen(
            self.argv,
            cwd=project,
            env=bare | {"NO_PROXY": "127.0.0.1,localhost"} | self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def events(self) -> tuple[list[dict[str, Any]], int, str]:
        """(its events, its exit code, what it said besides), at its end."""
        with self.start() as process:
            output, errors = process.communicate(timeout=RUNNING_S)
        return list(read_events(output.splitlines())), process.returncode, errors

    def kill_once(self, has_begun: Callable[[], bool]) -> None:
        """Ends it as soon as the model has begun to answer."""
        with self.start() as process:
            while not has_begun():
                assert process.poll() is None, "it ended before it was killed"
                time.sleep(POLL_S)
            process.kill()


def project_of(home: Path) -> Path:
    """The folder in which an agent works."""
    return home / "project"


def read_events(lines: list[str]) -> Iterator[dict[str, Any]]:
    """Both print one as JSON a line."""
    return (json.loads(line) for line in lines if line.startswith("{"))


def claude_code(run: Run, *options: str) -> Command:
    """`claude -p`."""
    # The package's own start is a script of its installation that puts the program into place.
    (program,) = FOLDER.glob(f"node_modules/{CLAUDE_CODE}-*/claude")
    argv = [str(program), "-p", run.prompt, "--model", run.model, "--output-format", "stream-json", "--verbose"]
    argv += ["--include-partial-messages", *options]
    argv += ["--json-schema", run.schema] if run.schema else []
    environment = {
        "ANTHROPIC_BASE_URL": run.url,
        "ANTHROPIC_API_KEY": run.key,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_MAX_RETRIES": "0",
    }
    return Command(argv, environment, run.home)


def claude_code_with_login(run: Run, *options: str) -> Command:
    """Claude Code that has a token of another service too: it sends both."""
    command = claude_code(run, *options)
    return replace(command, environment=command.environment | {"ANTHROPIC_AUTH_TOKEN": "sk-ant-oat-of-another-service"})


def codex(run: Run, *options: str) -> Command:
    """`codex exec` with a provider of its configuration."""
    provider = {"name": "LiteMaaS", "base_url": f"{run.url}/v1", "env_key": "GATEWAY_API_KEY", "wire_api": "responses"}
    retries = {"request_max_retries": 0, "stream_max_retries": 0}
    fields = ",".join(f"{name}={json.dumps(value)}" for name, value in (provider | retries).items())
    return _codex(run, "-c", "model_provider=litemaas", "-c", f"model_providers.litemaas={{{fields}}}", *options)


def codex_as_openai(run: Run, *options: str) -> Command:
    """Codex's own provider with another address: it tries a WebSocket first."""
    return _codex(run, "-c", f"openai_base_url={run.url}/v1", *options)


def _codex(run: Run, *options: str) -> Command:
    argv = [str(node.NODE), str(FOLDER / "node_modules" / CODEX / "bin" / "codex.js"), "exec", "--json"]
    argv += ["--skip-git-repo-check", "-m", run.model, *options]
    if run.schema:
        run.home.mkdir(parents=True, exist_ok=True)
        file = run.home / "schema.json"
        file.write_text(run.schema)
        argv += ["--output-schema", str(file)]
    environment = {"GATEWAY_API_KEY": run.key, "CODEX_API_KEY": run.key}
    return Command([*argv, "--", run.prompt], environment, run.home)
