"""What a 404 says of a path that is not served: which part of it is too much, or why the gateway has no such API."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from gateway.endpoints.routes import LIMITS, MODEL_LISTS, PREFIXES, ROUTES, SESSION_PATHS
from gateway.web.errors import ErrorShape

# A longer path is nobody's typing error.
MAX_PATH: Final = 200
_FILE: Final = tomllib.loads((files("gateway.endpoints") / "refused_paths.toml").read_text())
REASONS: Final[Mapping[str, str]] = _FILE["reasons"]
VENDORS: Final[tuple[ErrorShape, ...]] = ("openai", "anthropic")
_SERVED: Final = frozenset({*ROUTES, *MODEL_LISTS, *SESSION_PATHS, LIMITS, LIMITS.removeprefix("/v1")})
# What a client puts before a path, and may have put there twice.
_BASES: Final = frozenset(prefix for prefixes in PREFIXES.values() for prefix in prefixes) | {"/anthropic", ""}


@dataclass(frozen=True, slots=True)
class Refused:
    """Paths of one vendor's API that begin alike, and why they are not served."""

    vendor: ErrorShape
    # As it is written: without the vendor's `/v1`, perhaps with a method before it.
    beginning: str
    reason: str
    pattern: re.Pattern[str]

    def matches(self, method: str, path: str) -> bool:
        """Whether it is such a path, by any of the vendor's prefixes."""
        return self.pattern.fullmatch(f"{method} {path}") is not None


def _read() -> Iterator[Refused]:
    for vendor in VENDORS:
        prefix = "|".join(PREFIXES[vendor])
        for beginning, reason in _FILE[vendor].items():
            method, _, path = beginning.rpartition(" ")
            spelled = re.escape(path).replace(r"\{\}", "[^/]+")
            pattern = re.compile(rf"{method or '[A-Z]+'} ({prefix}){spelled}{'' if method else '(/.*)?'}")
            yield Refused(vendor, beginning, REASONS[reason], pattern)


REFUSED: Final = tuple(_read())


def explain(method: str, path: str) -> tuple[str, ErrorShape | None]:
    """A sentence for the 404 or 405, and the dialect of the path, if only one vendor has it."""
    if len(path) > MAX_PATH:
        return "", None
    served, extra = _served_within(path) if path not in _SERVED else ("", "")
    if served and (extra in _BASES or extra in _SERVED):
        return _correction(served, extra), _shape_of(served)
    found = [refused for refused in REFUSED if refused.matches(method, path)]
    if found:
        vendors = {refused.vendor for refused in found}
        return f"It is not served, for {found[0].reason}.", vendors.pop() if len(vendors) == 1 else None
    return (_correction(served, extra), _shape_of(served)) if served else ("", None)


def _served_within(path: str) -> tuple[str, str]:
    """The longest path that is served and that this one ends with, and what stands before it; both empty: none."""
    segments = [segment for segment in path.split("/") if segment]
    for start in range(len(segments)):
        served = "/" + "/".join(segments[start:])
        if served in _SERVED:
            return served, "".join(f"/{segment}" for segment in segments[:start])
    return "", ""


def _correction(served: str, extra: str) -> str:
    if not extra:
        return f"Did you mean {served}? A slash is too much."
    return f"Did you mean {served}? '{extra}' before it is too much: take it out of the client's base URL."


def _shape_of(served: str) -> ErrorShape | None:
    return ROUTES[served].endpoint.error_shape if served in ROUTES else None
