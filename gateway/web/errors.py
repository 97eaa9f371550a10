"""Exception -> answer: the one place that makes an error's body."""

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from gateway.domain.errors import CODES, GatewayError
from gateway.web.responses import RawHeaders, Send, send_json

ErrorShape = Literal["openai", "anthropic", "plain"]
# Anthropic's clients distinguish errors by this word; https://docs.anthropic.com/en/api/errors
ANTHROPIC_TYPES: Final[Mapping[int, str]] = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
# None of ours: an error with one of these was reported by a model of Anthropic's API, and keeps it whatever its status.
_REPORTED_TYPES: Final = frozenset(ANTHROPIC_TYPES.values()) - {openai_type for _, openai_type in CODES.values()}


def error_body(error: GatewayError, request_id: str, shape: ErrorShape) -> dict[str, Any]:
    """The body in the shape of the route: OpenAI's, Anthropic's, or the admin API's."""
    if shape == "anthropic":
        kind = _anthropic_type(error)
        # Its SDKs read `error.details.error_code`, and hand the rest of `details` on.
        details = {"error_code": error.code, **error.details}
        detail = {"type": kind, "message": error.message, "code": error.code, **error.details, "details": details}
        return {"type": "error", "error": detail, "request_id": request_id}
    if shape == "openai":
        return {
            "error": {
                "message": error.message,
                "type": error.type,
                "param": error.param,
                "code": error.code,
                "request_id": request_id,
                **error.details,
            }
        }
    return {"error": {"code": error.code, "message": error.message, "request_id": request_id, "details": error.details}}


def _anthropic_type(error: GatewayError) -> str:
    for reported in (error.provider_type, error.type):
        if reported in _REPORTED_TYPES:
            return reported
    return ANTHROPIC_TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "api_error")


async def send_error(
    send: Send, error: GatewayError, request_id: str, headers: RawHeaders | None = None, *, shape: ErrorShape
) -> None:
    """Answers with the error; `headers` go out beside the error's own."""
    own = [(name.encode(), value.encode()) for name, value in error.headers.items()]
    all_headers = [*identity(request_id, shape), *own, *(headers or [])]
    await send_json(send, error.status, error_body(error, request_id, shape), all_headers)


def error_event(error: GatewayError, request_id: str, shape: ErrorShape, *, is_typed: bool) -> bytes:
    """One event of a stream that has begun. Where events have types, their field and their line say `error`. OpenAI's
    clients look for `error` in it, and its Responses API has the same beside `type`."""
    body = error_body(error, request_id, shape)
    if not is_typed:
        return b"data: " + msgspec.json.encode(body) + b"\n\n"
    if shape == "openai":
        body = {"type": "error", "code": error.code, "message": error.message, "param": error.param, **body}
    return b"event: error\ndata: " + msgspec.json.encode(body) + b"\n\n"


def identity(request_id: str, shape: ErrorShape) -> RawHeaders:
    """By what name the call goes: OpenAI's SDKs read `x-request-id`, Anthropic's `request-id`."""
    value = request_id.encode()
    return [(b"x-request-id", value), (b"request-id", value)] if shape == "anthropic" else [(b"x-request-id", value)]
