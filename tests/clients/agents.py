"""Coding agents as programs: Claude Code and Codex, which start without a login by an address and a key."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clients import node
from deploy.embedded.processes import bare_environment

FOLDER: Final = node.HERE / "agents"
RUNNING_S: Final = 90.0
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
class Ended:
    """How a program ended, and what it said."""

    code: int
    output: str
    errors: str


def run_claude_code(run: Run, *options: str) -> Ended:
    """`claude -p`, which prints the answer as JSON."""
    # The package's own start is a script of its installation that puts the program into place.
    (program,) = FOLDER.glob(f"node_modules/{CLAUDE_CODE}-*/claude")
    argv = [str(program), "-p", run.prompt, "--model", run.model, "--output-format", "json", *options]
    argv += ["--json-schema", run.schema] if run.schema else []
    settings = {
        "ANTHROPIC_BASE_URL": run.url,
        "ANTHROPIC_API_KEY": run.key,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_MAX_RETRIES": "0",
    }
    return _run(argv, run.home, settings)


def run_codex(run: Run, *options: str) -> Ended:
    """`codex exec`, which prints its events as JSON."""
    provider = {"name": "LiteMaaS", "base_url": f"{run.url}/v1", "env_key": "LITEMAAS_API_KEY", "wire_api": "responses"}
    retries = {"request_max_retries": 0, "stream_max_retries": 0}
    fields = ",".join(f"{name}={json.dumps(value)}" for name, value in (provider | retries).items())
    return _run_codex(run, "-c", "model_provider=litemaas", "-c", f"model_providers.litemaas={{{fields}}}", *options)


def run_codex_as_openai(run: Run, *options: str) -> Ended:
    """Codex's own provider with another address: it tries a WebSocket first."""
    return _run_codex(run, "-c", f"openai_base_url={run.url}/v1", *options)


def _run_codex(run: Run, *options: str) -> Ended:
    argv = [str(node.NODE), str(FOLDER / "node_modules" / CODEX / "bin" / "codex.js"), "exec", "--json"]
    argv += ["--skip-git-repo-check", "-m", run.model, *options]
    if run.schema:
        file = run.home / "schema.json"
        run.home.mkdir(parents=True, exist_ok=True)
        file.write_text(run.schema)
        argv += ["--output-schema", str(file)]
    return _run([*argv, run.prompt], run.home, {"LITEMAAS_API_KEY": run.key, "CODEX_API_KEY": run.key})


def _run(argv: list[str], home: Path, settings: dict[str, str]) -> Ended:
    project = home / "project"
    project.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        argv,
        cwd=project,
        env=bare_environment(home) | settings,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=RUNNING_S,
    )
    return Ended(done.returncode, done.stdout, done.stderr)
