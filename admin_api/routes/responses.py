"""Responses as the OpenAPI document describes them: errors, and the ETag of what is shown."""

from typing import Any, Final

from admin_api.schemas.errors import ErrorView

# Of every route; `openapi/errors.py` adds those that follow from what a route takes and does.
ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    422: {
        "model": ErrorView,
        "description": "A parameter or field is not valid or not known: `details.fields` names it",
    },
    500: {"model": ErrorView, "description": "An error in LiteMaaS, which is logged with the request's id"},
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
