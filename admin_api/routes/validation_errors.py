"""Answers to requests that FastAPI could not validate, in the shape of every other error."""

from collections.abc import Sequence
from typing import Any, Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.requests import Request
from starlette.responses import Response

from admin_api.web.envelope import answer_error
from gateway.domain.errors import GatewayError

# An answer names this many fields.
MAX_FIELDS: Final = 50


def install(app: FastAPI) -> None:
    """Adds the handler."""
    app.add_exception_handler(RequestValidationError, _answer_validation_error)


async def _answer_validation_error(request: Request, exc: Exception) -> Response:
    """Names the fields and what is wrong; never what was sent, which may be a secret."""
    if not isinstance(exc, RequestValidationError):
        raise exc
    problems = exc.errors()
    if problems and problems[0]["type"] == "json_invalid":
        return await answer_error(request, GatewayError("invalid_json", "The request body is not valid JSON."))
    fields = [
        {"field": _field_name(problem["loc"]), "message": str(problem["msg"]).removeprefix("Value error, ")}
        for problem in problems[:MAX_FIELDS]
    ]
    reported = "; ".join(f"{field['field']}: {field['message']}" for field in fields[:3])
    return await answer_error(
        request, GatewayError("validation_failed", f"The request is not valid. {reported}.", details={"fields": fields})
    )


def _field_name(location: Sequence[Any]) -> str:
    """`name` instead of `body.name`; the location itself where nothing is below it."""
    name = ".".join(str(part) for part in location[1:]) or str(location[0])
    # A name that the caller made up may hold surrogates, which cannot be encoded.
    return name.encode(errors="replace").decode()
