"""Answers to requests that FastAPI could not validate, in the shape of every other error."""

from typing import Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.requests import Request
from starlette.responses import Response

from admin_api.routes.validation_texts import fields_of
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
    fields = fields_of(problems[:MAX_FIELDS], exc.body)
    # A name that the caller made up may hold surrogates, which cannot be encoded.
    fields = [{**field, "field": field["field"].encode(errors="replace").decode()} for field in fields]
    reported = "; ".join(f"{field['field']} {field['message']}" for field in fields[:3])
    return await answer_error(
        request, GatewayError("validation_failed", f"The request is not valid. {reported}.", details={"fields": fields})
    )
