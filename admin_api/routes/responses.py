"""Responses as the OpenAPI document describes them: errors, and the ETag of what is shown."""

from typing import Any, Final

from admin_api.schemas.errors import ErrorView

# Of every route.
ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    400: {"model": ErrorView, "description": "The body is not valid JSON, or a login cannot go on"},
    401: {"model": ErrorView, "description": "No login, or one that is not valid"},
    403: {"model": ErrorView, "description": "The caller may not do this"},
    404: {"model": ErrorView, "description": "Not found"},
    409: {"model": ErrorView, "description": "The current state does not allow it; the message says what to do"},
    413: {"model": ErrorView, "description": "The body is too large"},
    422: {"model": ErrorView, "description": "Fields that are not valid, named in details.fields"},
    429: {"model": ErrorView, "description": "Too many calls a minute; Retry-After says when the next may come"},
    500: {"model": ErrorView, "description": "An error in LiteMaaS"},
    503: {"model": ErrorView, "description": "The database or LiteLLM does not answer"},
}
# Of routes that show one resource.
TAGGED: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "headers": {
            "ETag": {"description": "Its version, for If-Match", "schema": {"type": "string"}, "required": True}
        }
    }
}
# Of state changes, which are POSTs.
MOVED: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "headers": {
            "ETag": {
                "description": "Its version; absent from an answer that is repeated for its Idempotency-Key",
                "schema": {"type": "string"},
            }
        }
    }
}
# Of routes that take If-Match.
CHANGED: Final[dict[int | str, dict[str, Any]]] = {
    412: {"model": ErrorView, "description": "It has changed since the version that If-Match names"},
}
