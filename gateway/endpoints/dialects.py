"""In whose dialect the gateway answers itself."""

from typing import Final

from gateway.endpoints.missing_paths import explain
from gateway.endpoints.routes import SESSION_PATHS, find_route
from gateway.endpoints.stored_responses import find_stored_route
from gateway.web.errors import ErrorShape
from gateway.web.responses import Scope

_OF_OPENAI: Final = ("/openai/",)
_OF_ANTHROPIC: Final = ("/v1/messages/", "/messages/", "/anthropic/")
_VERSION: Final = b"anthropic-version"


def shape_of(scope: Scope) -> ErrorShape:
    """That of the route; where both vendors have it, the caller's: Anthropic's clients send their version with each
    request (https://docs.anthropic.com/en/api/versioning)."""
    path: str = scope["path"]
    if (route := find_route(path)) is not None:
        return route.endpoint.error_shape
    if path.startswith(_OF_OPENAI) or path in SESSION_PATHS or find_stored_route(path) is not None:
        return "openai"
    if path.startswith(_OF_ANTHROPIC) or any(name == _VERSION for name, _ in scope["headers"]):
        return "anthropic"
    _, shape = explain(scope.get("method", "GET"), path)
    return shape or "openai"
