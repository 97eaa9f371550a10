"""Runs LiteLLM's proxy with a dict in place of each parsed body that notes which of its keys are read, and by whom.

Run by the interpreter LiteLLM is in: `python record_reads.py FILE <arguments of LiteLLM>`. Each line of FILE is one
read that was not seen before, as JSON: [path of the call, model, field, module]. A body that was copied into a plain
dict, or handed on as keyword arguments, is not followed any further: that is what `list_reads` is for.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import litellm
from litellm.proxy.common_utils import http_parsing_utils

PACKAGE = Path(litellm.__file__).parent
_seen: set[tuple[str, ...]] = set()


class Recorded(dict[str, Any]):
    """`place` is what was called: path and model; `prefix` where in the body it stands."""

    __slots__ = ("place", "prefix")

    def __init__(self, fields: dict[str, Any], place: tuple[str, str], prefix: str = "") -> None:
        self.place, self.prefix = place, prefix
        super().__init__({name: wrap(value, place, f"{prefix}{name}") for name, value in fields.items()})

    def _note(self, name: object) -> None:
        module = _reader()
        if module is not None and isinstance(name, str):
            line = (*self.place, f"{self.prefix}{name}", module)
            if line not in _seen:
                _seen.add(line)
                with Path(sys.argv[1]).open("a") as file:
                    file.write(json.dumps(line) + "\n")

    def __getitem__(self, name: str) -> Any:
        self._note(name)
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        self._note(name)
        return super().__contains__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self._note(name)
        return super().get(name, default)

    def pop(self, name: str, *default: Any) -> Any:
        self._note(name)
        return super().pop(name, *default)

    def setdefault(self, name: str, default: Any = None) -> Any:
        self._note(name)
        return super().setdefault(name, default)

    def copy(self) -> "Recorded":
        return Recorded(dict(self), self.place, self.prefix)

    def __copy__(self) -> "Recorded":
        return self.copy()

    def __deepcopy__(self, _: object) -> "Recorded":
        return Recorded(json.loads(json.dumps(self)), self.place, self.prefix)


def wrap(value: Any, place: tuple[str, str], prefix: str) -> Any:
    """The same value, its objects recorded at any depth."""
    if isinstance(value, dict):
        return Recorded(value, place, f"{prefix}.")
    if isinstance(value, list):
        return [wrap(item, place, f"{prefix}[]") for item in value]
    return value


def _reader() -> str | None:
    """The module of LiteLLM that reads now; None: it is a library."""
    frame = sys._getframe(2)
    for one in _outwards(frame):
        if one.f_code.co_filename != __file__:
            try:
                return Path(one.f_code.co_filename).relative_to(PACKAGE).with_suffix("").as_posix()
            except ValueError:
                return None
    return None


def _outwards(frame: Any) -> Iterator[Any]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def install() -> None:
    """Before the proxy is imported, which takes the function by name."""
    parsed_body = http_parsing_utils._safe_get_request_parsed_body
    read_body = http_parsing_utils.read_request_body

    def record(request: Any, body: Any) -> Any:
        if isinstance(body, dict) and not isinstance(body, Recorded):
            return Recorded(body, (request.url.path, str(body.get("model"))))
        return body

    async def read_recorded(request: Any) -> Any:
        return record(request, await read_body(request))

    http_parsing_utils._safe_get_request_parsed_body = lambda request: record(request, parsed_body(request))
    http_parsing_utils.read_request_body = http_parsing_utils._read_request_body = read_recorded


def main() -> None:
    """Never returns before LiteLLM ends."""
    install()
    from litellm.proxy.proxy_cli import run_server

    run_server(sys.argv[2:])


if __name__ == "__main__":
    main()
