"""`make record-clients`: runs Claude Code, Codex and the JDK's client and keeps what they send in `recorded/`."""

import asyncio
import base64
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from clients import agents, node
from clients.agents import CLAUDE_CODE, CODEX, Command, Run, project_of
from clients.record_jdk import record_jdk
from clients.recording import FOLDER, RecordingRelay
from deploy.embedded.model_server.launch import ModelServer
from deploy.embedded.model_server.media import PIXEL

SCHEMA: Final = json.dumps(
    {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    }
)


@dataclass(frozen=True, slots=True)
class Way:
    """One way to run an agent. A model that it knows by name gets more than one that it does not."""

    name: str
    model: str
    run: Callable[..., Command]
    prompt: str = "Say hello"
    options: tuple[str, ...] = ()
    schema: str | None = None


_TOOL: Final = '[tool={tool}] [arguments={{"{argument}":"pwd"}}] Go on'
WAYS: Final = {
    CLAUDE_CODE: (
        Way("a model it does not know", "demo-claude", agents.claude_code),
        Way(
            "thinking with a budget, and a tool",
            "claude-sonnet-4-5",
            agents.claude_code,
            _TOOL.format(tool="Bash", argument="command"),
            ("--allowedTools", "Bash"),
        ),
        Way(
            "its web search",
            "claude-sonnet-4-5",
            agents.claude_code,
            '[tool=WebSearch] [arguments={"query":"rain"}] Go on',
            ("--tools", "WebSearch", "--allowedTools", "WebSearch"),
        ),
        Way(
            "an image",
            "claude-sonnet-4-5",
            agents.claude_code,
            '[tool=Read] [arguments={"file_path":"PROJECT/pixel.png"}] Go on',
            ("--allowedTools", "Read"),
        ),
        Way(
            "structured output",
            "claude-opus-4-6",
            agents.claude_code,
            "[tool=StructuredOutput] Go on",
            schema=SCHEMA,
        ),
    ),
    CODEX: (
        Way(
            "a tool",
            "demo-chat",
            agents.codex,
            _TOOL.format(tool="exec_command", argument="cmd"),
        ),
        Way(
            "a model it knows, with reasoning and structured output",
            "gpt-5.5",
            agents.codex,
            options=("-c", "model_reasoning_effort=high", "-c", "model_verbosity=low", "-c", "service_tier=flex"),
            schema=SCHEMA,
        ),
        Way(
            "an image and web search",
            "gpt-5.5",
            agents.codex,
            options=("-c", "web_search=live", "-i", "pixel.png"),
        ),
        Way("OpenAI's own provider at another address", "demo-chat", agents.codex_as_openai),
    ),
}


async def record(way: Way, run: Run, upstream: str) -> list[dict[str, Any]]:
    """What it sent. Raises if it got no answer."""
    async with RecordingRelay(upstream) as relay:
        project = project_of(run.home)
        project.mkdir(parents=True)
        (project / "pixel.png").write_bytes(base64.b64decode(PIXEL))
        prompt = way.prompt.replace("PROJECT", str(project))
        run = replace(run, url=relay.url, model=way.model, prompt=prompt, schema=way.schema)
        events, code, errors = await asyncio.to_thread(way.run(run, *way.options).events)
        if code != 0:
            raise RuntimeError(f"{way.name}: {errors[-500:]} {events[-1:]}")
        # One of those that are tried again and again is enough.
        seen: list[dict[str, Any]] = []
        for request in relay.requests:
            if request["body"] is not None or not any(one["path"] == request["path"] for one in seen):
                seen.append(request)
        return [{"way": way.name} | request for request in seen]


async def main() -> int:
    node.install(agents.FOLDER)
    with tempfile.TemporaryDirectory() as name, ModelServer(Path(name) / "models", delay_s=0, tokens_per_s=0) as server:
        for package, ways in WAYS.items():
            requests: list[dict[str, Any]] = []
            for number, way in enumerate(ways):
                home = Path(name) / f"{package.replace('/', '-')}-{number}"
                run = Run(url="", key="sk-recorded", model="", prompt="", home=home)
                requests += await record(way, run, server.url)
            kept = {"client": package, "version": node.pinned(agents.FOLDER, package), "requests": requests}
            file = FOLDER / f"{package.rpartition('/')[2]}.json"
            file.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
            print(f"{package}: {len(requests)} requests")  # noqa: T201  a program at a terminal
        print(f"JDK: {await record_jdk(Path(name) / 'jdk')} requests")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
