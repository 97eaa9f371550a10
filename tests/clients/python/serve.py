"""What the programs of this folder share. Each runs in its client's own environment, without the project: it reads one
task per line as JSON and prints one line per task, what the client returned. tasks.py beside this folder describes
both.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

TIMEOUT_S = 60.0
# The tool that every client offers, and the form of every structured answer.
TOOL = "get_weather"
TOOL_DESCRIPTION = "The weather of a city."
TOOL_SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
CITY_SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "population": {"type": "integer"}},
    "required": ["name", "population"],
    "additionalProperties": False,
}
TOOL_RESULT = "12 degrees and rain"

Task = dict[str, Any]
Seen = dict[str, Any]


def serve(tasks: dict[str, Callable[[Task], Seen]], refused: Callable[[Exception], Seen | None]) -> None:
    """Until the input ends. `refused` describes the client's exceptions, and is None for any other."""
    answers, sys.stdout = sys.stdout, sys.stderr  # some clients print
    for line in sys.stdin:
        task = json.loads(line)
        try:
            seen = tasks[task["name"]](task)
        except Exception as error:
            seen = refused(error) or {"crash": f"{type(error).__module__}.{type(error).__name__}: {error}"[:2000]}
        answers.write(json.dumps(seen) + "\n")
        answers.flush()


def chain(error: BaseException | None) -> list[BaseException]:
    """An exception and those that it was raised from."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def refused_by(error: Exception) -> Seen | None:
    """By the outermost exception that has a status, which frameworks may wrap; its name is that of the outermost. The
    code is OpenAI's `code` or Anthropic's `error_code`, wherever it is in the chain."""
    found = chain(error)
    found_codes = (getattr(inner, name, None) for inner in found for name in ("code", "error_code"))
    # Some put the status there too.
    codes = [code for code in found_codes if isinstance(code, str) and not code.isdigit()]
    for inner in found:
        if isinstance(getattr(inner, "status_code", None), int):
            return {
                "error": type(error).__name__,
                "status": inner.status_code,
                "code": next(iter(codes), None),
                "message": str(error),
            }
    return None
