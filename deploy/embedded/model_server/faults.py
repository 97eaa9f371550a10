"""Faults a call can ask for, by the model `fault-NAME` or by `[fault=NAME]` in its prompt.

400 401 402 429 500 503 504 529 are refusals. hang: no response. slow: the first byte is late.
slow-body: it begins at once and is slow. cut: the connection ends in the middle. error-event: a
stream ends with an error. no-usage: no usage is reported.
"""

from typing import Literal

import msgspec

ErrorShape = Literal["openai", "anthropic"]
DURING = ("hang", "slow", "slow-body", "cut", "error-event", "no-usage")
SLOW_FIRST_BYTE_S = 3.0
SLOW_TOKENS_PER_S = 4.0
ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class Refusal(msgspec.Struct, frozen=True):
    """An error response."""

    status: int
    body: bytes
    content_type: str = "application/json"
    retry_after_s: int | None = None

    def headers(self) -> list[tuple[bytes, bytes]]:
        headers = [(b"content-type", self.content_type.encode())]
        if self.retry_after_s is not None:
            headers.append((b"retry-after", str(self.retry_after_s).encode()))
        return headers


def error_body(
    message: str, kind: str, code: str | None, param: str | None = None, *, shape: ErrorShape = "openai"
) -> bytes:
    if shape == "anthropic":
        return msgspec.json.encode({"type": "error", "error": {"type": kind, "message": message}})
    error = {"message": message, "type": kind, "param": param, "code": code}
    return msgspec.json.encode({"error": error})


def as_anthropic(refusal: Refusal) -> Refusal:
    """The same refusal in Anthropic's format: https://docs.anthropic.com/en/api/errors"""
    kind = ANTHROPIC_TYPES.get(refusal.status)
    if kind is None or refusal.content_type != "application/json":
        return refusal
    message = msgspec.json.decode(refusal.body)["error"]["message"]
    return msgspec.structs.replace(refusal, body=error_body(message, kind, None, shape="anthropic"))


def bad_request(message: str, code: str | None = None, param: str | None = None) -> Refusal:
    return Refusal(400, error_body(message, "invalid_request_error", code, param))


def too_long(limit: int, wanted: int) -> Refusal:
    return bad_request(
        f"This model's maximum context length is {limit} tokens. However, your messages resulted "
        f"in {wanted} tokens. Please reduce the length of the messages.",
        "context_length_exceeded",
        "messages",
    )


REFUSALS = {
    "429": Refusal(
        429,
        error_body("Rate limit reached for this model.", "requests", "rate_limit_exceeded"),
        retry_after_s=7,
    ),
    "500": Refusal(500, error_body("The server had an error.", "server_error", None)),
    "503": Refusal(503, b"<html><body><h1>503 Service Unavailable</h1></body></html>", "text/html"),
    "400": too_long(8192, 9000),
    "402": Refusal(402, error_body("Your credit balance is too low.", "insufficient_quota", None)),
    "504": Refusal(504, error_body("The request timed out.", "server_error", None)),
    "529": Refusal(529, error_body("The model is overloaded.", "server_error", None)),
    "401": Refusal(401, error_body("Incorrect API key provided.", "invalid_request_error", "invalid_api_key")),
}


def fault_of(model: str, directive: str | None) -> str | None:
    """The fault of this call. A directive can also switch off a model's fault: `[fault=none]`."""
    name = directive or (model.removeprefix("fault-") if model.startswith("fault-") else None)
    return name if name in REFUSALS or name in DURING else None
