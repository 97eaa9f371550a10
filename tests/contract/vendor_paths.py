"""The paths of OpenAI's and Anthropic's public APIs, as their locked Python packages call them, and what the gateway
does with each."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from gateway.endpoints.missing_paths import REFUSED, Refused
from gateway.endpoints.routes import MODEL_LISTS, find_route, model_in_path
from gateway.endpoints.stored_responses import find_stored_route
from gateway.web.errors import ErrorShape

PACKAGES: Final[tuple[ErrorShape, ...]] = ("openai", "anthropic")
TITLES: Final[dict[ErrorShape, str]] = {"openai": "OpenAI", "anthropic": "Anthropic"}
CALL: Final = re.compile(r"self\._(get|post|put|patch|delete|get_api_list)\(\s*(?:path_template\(\s*)?f?\"(/[^\"?]*)")
# Except for one whose path stands in an answer.
ANY_CALL: Final = re.compile(
    r"self\._(?:get|post|put|patch|delete|get_api_list)\((?!\s*path_template\(batch\.results_url)"
)


@dataclass(frozen=True, slots=True, order=True)
class VendorPath:
    """One operation; `path` begins with `/v1/`, its parameters in braces."""

    vendor: ErrorShape
    path: str
    method: str

    @property
    def example(self) -> str:
        """With a value for each parameter."""
        return re.sub(r"\{\w+\}", "x", self.path)

    @property
    def is_served(self) -> bool:
        """By an endpoint or by the gateway itself."""
        if self.method == "POST" and find_route(self.example) is not None:
            return True
        is_model = self.example in MODEL_LISTS or bool(model_in_path(self.example))
        return (self.method == "GET" and is_model) or find_stored_route(self.example, self.method) is not None

    @property
    def refusal(self) -> Refused | None:
        """Why it is not served."""
        mine = (one for one in REFUSED if one.vendor == self.vendor)
        return next((one for one in mine if one.matches(self.method, self.example)), None)


def sources(vendor: ErrorShape) -> Iterator[str]:
    """The modules of a package that call its API."""
    # Without an import, which takes seconds.
    package = find_spec(vendor)
    assert package is not None, f"{vendor} is not installed"
    for file in sorted((Path(package.origin or "").parent / "resources").rglob("*.py")):
        yield file.read_text()


def vendor_paths() -> list[VendorPath]:
    """Of both vendors, sorted."""
    found = set()
    for vendor in PACKAGES:
        for source in sources(vendor):
            for verb, path in CALL.findall(source):
                method = "GET" if verb == "get_api_list" else verb.upper()
                found.add(VendorPath(vendor, "/v1" + path.removeprefix("/v1"), method))
    return sorted(found)


def vendor_paths_table() -> str:
    """What is served first, path by path; then what is refused, by its beginning, with all that is below it."""
    lines = ["| API | paths | |", "|---|---|---|"]
    for vendor in PACKAGES:
        mine = [one for one in vendor_paths() if one.vendor == vendor]
        served: dict[str, list[str]] = {}
        refused: dict[str, Counter[str]] = {}
        for one in mine:
            if one.is_served:
                served.setdefault(one.path, []).append(one.method)
            elif one.refusal is not None:
                refused.setdefault(one.refusal.reason, Counter())[one.refusal.beginning] += 1
        shown = ", ".join(f"`{'/'.join(verbs)} {path}`" for path, verbs in served.items())
        lines.append(f"| {TITLES[vendor]} | {shown} | served |")
        for reason, beginnings in refused.items():
            shown = ", ".join(f"`{_shown(beginning)}` ({count})" for beginning, count in sorted(beginnings.items()))
            lines.append(f"| {TITLES[vendor]} | {shown} | refused: {reason} |")
    return "\n".join(lines)


def _shown(beginning: str) -> str:
    """`/files` as `/v1/files`, `GET /models` as `GET /v1/models`."""
    method, _, path = beginning.rpartition(" ")
    return f"{method} /v1{path}".strip()
