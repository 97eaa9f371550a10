"""`python -m clients.agent_program NAME`: an agent behind the lines of a client's program (see python/serve.py)."""

import json
import sys
import tempfile
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clients.agents import Command, Run, claude_code, claude_code_with_login, codex, codex_as_openai
from clients.python.serve import CITY_SCHEMA, Seen, Task, serve

Events = list[dict[str, Any]]


class Refused(Exception):
    """The agent gave up."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def run_of(task: Task, schema: str | None = None, prompt: str | None = None) -> Run:
    home = Path(tempfile.mkdtemp(dir=Path.home()))
    return Run(
        url=task["url"],
        key=task["key"],
        model=task["model"],
        prompt=prompt or task["prompt"],
        home=home,
        schema=schema,
    )


def has_begun(task: Task) -> Callable[[], bool]:
    """Whether the model server has made tokens for it: some agents show nothing of an answer before its end."""

    def ask() -> bool:
        with urllib.request.urlopen(task["watched"], timeout=10) as answer:  # noqa: S310  the model server's
            return any(call["completion_tokens"] for call in json.load(answer))

    return ask


class ClaudeCode:
    """Its events are those of its SDK; the last one is the result."""

    def __init__(self, command: Callable[..., Command] = claude_code) -> None:
        self._command = command

    def result(self, command: Command) -> tuple[Events, Seen]:
        events, code, errors = command.events()
        if not events or events[-1].get("type") != "result":
            raise RuntimeError(f"exit code {code}: {errors[-500:]} {events[-1:]}")
        last = events[-1]
        if last["is_error"]:
            raise Refused(last["api_error_status"], last["result"])
        usage = last["usage"]
        tokens = {"prompt_tokens": usage["input_tokens"], "completion_tokens": usage["output_tokens"]}
        return events, {"text": last["result"]} | tokens

    def plain(self, task: Task) -> Seen:
        return self.result(self._command(run_of(task)))[1]

    def stream(self, task: Task) -> Seen:
        events, seen = self.result(self._command(run_of(task)))
        inner = [event["event"] for event in events if event["type"] == "stream_event"]
        return seen | {"pieces": sum(event["type"] == "content_block_delta" for event in inner)}

    def tools(self, task: Task) -> Seen:
        events, seen = self.result(self._command(run_of(task), "--allowedTools", "Bash"))
        blocks = [
            block
            for event in events
            if event["type"] in ("assistant", "user")
            for block in event["message"]["content"]
            if isinstance(block, dict)
        ]
        (call,) = (block for block in blocks if block["type"] == "tool_use")
        (result,) = (block for block in blocks if block["type"] == "tool_result")
        assert not result["is_error"], result
        return seen | {"tool": call["name"], "arguments": call["input"]}

    def structured(self, task: Task) -> Seen:
        run = run_of(task, json.dumps(CITY_SCHEMA), f"[tool=StructuredOutput] {task['prompt']}")
        events, seen = self.result(self._command(run))
        return seen | {"parsed": events[-1]["structured_output"]}

    def hang_up(self, task: Task) -> Seen:
        self._command(run_of(task)).kill_once(has_begun(task))
        return {"text": "killed"}


class Codex:
    """Its events are items and the ends of turns."""

    def __init__(self, command: Callable[..., Command] = codex) -> None:
        self._command = command

    def result(self, command: Command) -> tuple[Events, Seen]:
        events, code, errors = command.events()
        failed = [event["error"]["message"] for event in events if event["type"] == "turn.failed"]
        if failed:
            # It keeps the status to itself.
            raise Refused(0, failed[0])
        if not events or events[-1]["type"] != "turn.completed":
            raise RuntimeError(f"exit code {code}: {errors[-500:]} {events[-1:]}")
        usage = events[-1]["usage"]
        texts = [item["text"] for item in items_of(events, "agent_message")]
        tokens = {"prompt_tokens": usage["input_tokens"], "completion_tokens": usage["output_tokens"]}
        return events, {"text": texts[-1]} | tokens

    def plain(self, task: Task) -> Seen:
        return self.result(self._command(run_of(task)))[1]

    def tools(self, task: Task) -> Seen:
        events, seen = self.result(self._command(run_of(task)))
        (call,) = items_of(events, "command_execution")
        assert call["exit_code"] == 0, call
        return seen | {"tool": "exec_command", "arguments": {"cmd": call["command"].split()[-1].strip("'\"")}}

    def structured(self, task: Task) -> Seen:
        seen = self.result(self._command(run_of(task, json.dumps(CITY_SCHEMA))))[1]
        return seen | {"parsed": json.loads(seen["text"])}

    def hang_up(self, task: Task) -> Seen:
        self._command(run_of(task)).kill_once(has_begun(task))
        return {"text": "killed"}


def items_of(events: Events, kind: str) -> Events:
    items = [event["item"] for event in events if event["type"] == "item.completed"]
    return [item for item in items if item["type"] == kind]


def refused(error: Exception) -> Seen | None:
    if not isinstance(error, Refused):
        return None
    return {"error": "exit code 1", "status": error.status, "message": str(error)}


AGENTS: dict[str, Callable[[], Any]] = {
    "claude-code": ClaudeCode,
    "claude-code-with-login": lambda: ClaudeCode(claude_code_with_login),
    "codex": Codex,
    "codex-as-openai": lambda: Codex(codex_as_openai),
}

if __name__ == "__main__":
    agent = AGENTS[sys.argv[1]]()
    names = [name for name in dir(type(agent)) if name in ("plain", "stream", "tools", "structured", "hang_up")]
    serve({name: getattr(agent, name) for name in names}, refused)
