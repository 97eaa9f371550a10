"""Tools that the provider runs for a fee: which a request allows, and which an answer says were run."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from gateway.domain.calls import Usage
from gateway.domain.paid_tools import COUNTS, FREE, PaidTool

# No price knows its fee.
UNKNOWN: Final = "unknown"
# By the beginning of a tool's type: the unit of the price that is its fee. Tools that are not here are run by the
# caller, or only choose among what the caller sent.
_UNITS: Final[Mapping[str, str]] = {
    "web_search": "web_search",
    "google_search": "web_search",
    "googleSearch": "web_search",
    "file_search": "file_search",
    "code_interpreter": "code_session",
    "code_execution": "code_session",
    "programmatic_tool_calling": "code_session",
    # By the tokens of another model.
    "image_generation": UNKNOWN,
    "web_fetch": FREE,
    "urlContext": FREE,
    "codeExecution": FREE,
    "mcp": FREE,
}
_STARTS: Final = tuple(_UNITS)
# Chat's own field for a search.
SEARCH_OPTIONS: Final = "web_search_options"
# More than any provider runs in one call.
MAX_USES: Final = 10_000
_ITEMS: Final = {
    "web_search_call": "web_search",
    "file_search_call": "file_search",
    "code_interpreter_call": "code_session",
}

Fields = dict[str, msgspec.Raw]


_decode: Any = msgspec.json.decode


def find_paid_tools(fields: Fields, tools: Iterable[Fields]) -> tuple[PaidTool, ...]:
    """`tools` are those of the checked body `fields`; chat has a field for a search beside them."""
    found = [PaidTool(SEARCH_OPTIONS, "web_search", None)] if _is_set(fields.get(SEARCH_OPTIONS)) else []
    found += _paid_tools(tools)
    everything = _uses(fields.get("max_tool_calls")) if found else None
    if everything is None:
        return tuple(found)
    return tuple(tool._replace(uses=min(everything if tool.uses is None else tool.uses, everything)) for tool in found)


def _is_set(raw: msgspec.Raw | None) -> bool:
    return raw is not None and bytes(memoryview(raw)[:4]) != b"null"


def _paid_tools(tools: Iterable[Fields]) -> Iterable[PaidTool]:
    for tool in tools:
        raw = tool.get("type")
        # Gemini's have no type, and a key that says what they are.
        kind = "".join(tool) if raw is None else _decode(raw)
        if not isinstance(kind, str):
            continue
        if kind.startswith(_STARTS):
            unit = _UNITS[next(start for start in _STARTS if kind.startswith(start))]
            yield PaidTool(kind, unit, _uses(tool.get("max_uses")))
        elif kind == "shell" and _is_hosted(tool.get("environment")):
            yield PaidTool(kind, "code_session", None)
        elif kind == "namespace" and _is_set(tool.get("tools")):
            yield from _paid_tools(_decode(tool["tools"], type=list[Fields]))


def _is_hosted(environment: msgspec.Raw | None) -> bool:
    value = None if environment is None else _decode(environment)
    return isinstance(value, dict) and value.get("type") not in (None, "local")


def _uses(raw: msgspec.Raw | None) -> int | None:
    value = None if raw is None else _decode(raw)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        return None
    return min(value, MAX_USES)


class RunTools:
    """The tools that one answer says were run, each once, whatever events name it."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, str]] = set()

    def add(self, kind: Any, item_id: Any) -> None:
        """An item of the output; those that are no paid tool count nothing."""
        if (unit := _ITEMS.get(kind) if isinstance(kind, str) else None) is not None:
            self._seen.add((unit, str(item_id)))

    def add_search(self, item_id: Any) -> None:
        """A search, of a provider that has another word for it."""
        self._seen.add(("web_search", str(item_id)))

    @property
    def usage(self) -> Usage | None:
        """How many of each; None: none so far."""
        if not self._seen:
            return None
        counts: dict[str, Any] = {name: sum(unit == one for unit, _ in self._seen) for one, name in COUNTS.items()}
        return Usage(**counts)
