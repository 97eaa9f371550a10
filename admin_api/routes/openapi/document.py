"""The OpenAPI document: FastAPI's, completed with what programs and people need to use it.

The routes say what they take and answer. From here come the texts of fields, parameters and tags, examples, the errors
that an operation can answer with, and headers that FastAPI does not know of. Ids of operations are the names of the
routes' functions; they become names of functions in generated clients.
"""

import inspect
from collections.abc import Iterator
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from admin_api.routes.openapi.errors import errors_of
from admin_api.routes.openapi.examples import example_objects
from admin_api.routes.openapi.field_texts import text_of
from admin_api.routes.openapi.parameter_texts import parameter_text, path_example
from admin_api.routes.openapi.summaries import summary_of
from admin_api.routes.openapi.tags import tag_objects
from admin_api.schemas.shapes import PageView

IDEMPOTENCY_KEY: Final[dict[str, Any]] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Your choice, such as a UUID. Within 24 hours, the same request gets the same answer",
    "schema": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[!-~]+$"},
}
DESCRIPTION: Final = """\
The admin API of LiteMaaS: who may use which model, how much, and what it costs. Applications call models at the
gateway, which is another program.

- **Login**: `Authorization: Bearer` with a personal access token (`lmp-…`), a JWT of your identity provider, or
  `LITEMAAS_ADMIN_TOKEN`; browsers have the session of a login at `/api/auth/login`. [Logins](/docs/logins.md)
- **Names**: a user is named by e-mail address or id, a team by name or id, a model by name.
- **Money** is a decimal number of USD as text (`…_usd`), beside whole nano-USD (`…_nano_usd`).
  [Prices](/docs/prices.md), [limits](/docs/limits.md)
- **Times** are UTC in ISO 8601. **Lists** come in pages: pass `next_cursor` as `cursor`.
- **Errors** have one shape; `error.code` stays the same. [Errors](/docs/errors.md)
- **Changes**: `If-Match` with an `ETag` changes only what you have read; `Idempotency-Key` makes a POST safe to repeat.
  All are in the [audit log](/docs/audit.md).

Operation: [settings](/docs/settings.md), [metrics](/docs/metrics.md), [logs](/docs/logs.md),
[ledger](/docs/ledger.md), [roles and states](/docs/admin.md)."""


def describe(app: FastAPI) -> dict[str, Any]:
    """The document. It is built once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            summary=app.summary,
            description=DESCRIPTION,
            routes=app.routes,
            tags=tag_objects(),
            openapi_version="3.1.0",
        )
        routes = {(method, route.path_format): route for route in api_routes(app) for method in route.methods or ()}
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                _complete(operation, routes[method.upper(), path], method.upper())
        for name, shape in document["components"]["schemas"].items():
            _explain(name, shape)
        app.openapi_schema = document
    return app.openapi_schema


def api_routes(app: FastAPI) -> Iterator[APIRoute]:
    """The routes of the document."""
    for route in app.state.routes:
        if isinstance(route, APIRoute) and route.include_in_schema:
            yield route


def _complete(operation: dict[str, Any], route: APIRoute, method: str) -> None:
    """Summary, texts of parameters, examples and errors of one operation."""
    operation["summary"] = route.summary or summary_of(route.name)
    parameters = operation.setdefault("parameters", [])
    if method == "POST" and "security" in operation:
        parameters.append(IDEMPOTENCY_KEY)
    for parameter in parameters:
        if "description" not in parameter and (text := parameter_text(route.name, parameter["name"])):
            parameter["description"] = text
        if parameter["in"] == "path":
            parameter["example"] = path_example(parameter["name"])
    if not parameters:
        del operation["parameters"]
    for content in operation.get("requestBody", {}).get("content", {}).values():
        content["examples"] = example_objects(route.name)
    for status, response in errors_of(route, method).items():
        operation["responses"].setdefault(status, response)
    operation["responses"] = dict(sorted(operation["responses"].items()))


def _explain(name: str, shape: dict[str, Any]) -> None:
    """Texts of the fields of one shape. "null: …" is for fields that may be null."""
    if name.startswith(PageView.__name__):
        shape["description"] = inspect.getdoc(PageView)
    for field, described in shape.get("properties", {}).items():
        for one in (described, *described.get("anyOf", ())):
            # The same, and generators take it beside other types.
            if "const" in one:
                one["enum"] = [one.pop("const")]
        if "description" in described or (text := text_of(name, field)) is None:
            continue
        kinds = described.get("anyOf", ())
        described["description"] = text if {"type": "null"} in kinds else text.partition("; null")[0]
