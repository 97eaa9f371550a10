"""The OpenAPI document: FastAPI's, with the headers that it does not know of."""

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

IDEMPOTENCY_KEY: Final[dict[str, Any]] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Your choice, such as a UUID. Within 24 hours, the same request gets the same answer",
    "schema": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[!-~]+$"},
}


def describe(app: FastAPI) -> dict[str, Any]:
    """The document. It is built once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, summary=app.summary, routes=app.routes, openapi_version="3.1.0"
        )
        for methods in document["paths"].values():
            if "security" in methods.get("post", {}):
                methods["post"].setdefault("parameters", []).append(IDEMPOTENCY_KEY)
        app.openapi_schema = document
    return app.openapi_schema
