"""Which path is served by which endpoint: an allow-list of exact paths, and Azure's, which name the model.

Azure's paths: https://learn.microsoft.com/en-us/azure/ai-foundry/openai/reference
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from gateway.domain.errors import GatewayError
from gateway.endpoints.realtime import PATH as SESSION_PATH
from gateway.endpoints.registry import ENDPOINTS, Endpoint
from gateway.web.errors import ErrorShape

MODELS: Final = "/v1/models"
LIMITS: Final = "/v1/limits"
# What clients of each dialect put before the rest of a path.
PREFIXES: Final[Mapping[ErrorShape, tuple[str, ...]]] = {
    "openai": ("/v1", "", "/openai/v1", "/openai"),
    "anthropic": ("/v1", "", "/anthropic/v1"),
}
DEPLOYMENTS: Final = "/openai/deployments/"
# `chat/completions` behind the model's name, which may hold slashes itself.
_MAX_SEGMENTS: Final = 2
# Nobody escapes a name this often; without a bound a long one would keep the worker busy for minutes.
MAX_UNQUOTES: Final = 5


@dataclass(frozen=True, slots=True)
class Route:
    """An endpoint, and the model that the path names: it overrides the body's."""

    endpoint: Endpoint
    model: str | None = None


def spellings(path: str, *shapes: ErrorShape) -> tuple[str, ...]:
    """All paths by which `/v1/…` is served to clients of these dialects."""
    prefixes = dict.fromkeys(prefix for shape in shapes for prefix in PREFIXES[shape])
    return tuple(prefix + path.removeprefix("/v1") for prefix in prefixes)


ROUTES: Final[Mapping[str, Route]] = {
    spelled: Route(endpoint)
    for endpoint in ENDPOINTS
    for path in (endpoint.path, *endpoint.aliases)
    for spelled in (spellings(path, endpoint.error_shape) if path == endpoint.path else (path,))
}
# Azure's API has one path for each endpoint and deployment, which is a model here.
_OF_DEPLOYMENTS: Final[Mapping[str, Endpoint]] = {
    endpoint.path.removeprefix("/v1/"): endpoint for endpoint in ENDPOINTS if endpoint.error_shape == "openai"
}
MODEL_LISTS: Final = spellings(MODELS, "openai", "anthropic")
SESSION_PATHS: Final = spellings(SESSION_PATH, "openai")


def find_route(path: str) -> Route | None:
    """The endpoint that a POST to this path calls; None if there is none."""
    route = ROUTES.get(path)
    if route is None and path.startswith(DEPLOYMENTS):
        return _find_deployment(path.removeprefix(DEPLOYMENTS))
    return route


def _find_deployment(path: str) -> Route | None:
    segments = path.split("/")
    if not segments[0]:
        return None
    # The longest first: `chat/completions` before `completions`.
    for count in range(_MAX_SEGMENTS, 0, -1):
        model, endpoint = "/".join(segments[:-count]), _OF_DEPLOYMENTS.get("/".join(segments[-count:]))
        if model and endpoint is not None:
            return Route(endpoint, model)
    return None


def model_in_path(path: str) -> str:
    """The name in `/v1/models/{name}`, which may hold slashes; '' if the path is another."""
    for prefix in MODEL_LISTS:
        if path.startswith(f"{prefix}/"):
            return path[len(prefix) + 1 :]
    return ""


def refuse_model_in_query(query: bytes) -> None:
    """LiteLLM runs the model of the query whatever the body says. Every other query is dropped."""
    if not query:
        return
    for part in query.replace(b";", b"&").split(b"&"):
        name = _unquote(part.partition(b"=")[0])
        if name is None or name.strip().lower() == b"model":
            message = "The query names a model; name it in the body only."
            raise GatewayError("model_in_query", message, param="model")


def _unquote(name: bytes) -> bytes | None:
    """Until nothing changes, for a proxy on the way may unquote once more; None: it is escaped too often."""
    for _ in range(MAX_UNQUOTES):
        plain = unquote_to_bytes(name.replace(b"+", b" "))
        if plain == name:
            return name
        name = plain
    return None
