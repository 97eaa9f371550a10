"""The differences between chat, completions, responses and messages: parsing a prompt and formatting a response."""

from typing import Any, Protocol

from deploy.embedded.model_server.faults import ErrorShape, error_body
from deploy.embedded.model_server.plan import Plan, Prompt

# The name of the event, if it has one, and its data.
Event = tuple[str | None, dict[str, Any]]


class Shape(Protocol):
    """The response format of one endpoint, whole or as events. Stateless: everything is in the plan."""

    name: str
    errors: ErrorShape
    # Sent after the last event of a successful stream.
    terminator: bytes

    def read(self, body: dict[str, Any]) -> Prompt:
        """Raise Refused if the body has no prompt."""
        ...

    def error_event(self) -> bytes:
        """The last event of a stream when the model fails."""
        ...

    def whole(self, plan: Plan) -> dict[str, Any]: ...

    def opening(self, plan: Plan) -> list[Event]: ...

    def token(self, plan: Plan, choice: int, index: int) -> list[Event]: ...

    def closing(self, plan: Plan) -> list[Event]: ...


class OpenAI:
    """Errors of OpenAI's endpoints."""

    errors: ErrorShape = "openai"

    def error_event(self) -> bytes:
        return b"data: " + error_body("The model broke.", "server_error", None) + b"\n\n"


def usage(plan: Plan) -> dict[str, Any]:
    """Usage in the format of chat and completions."""
    return {
        "prompt_tokens": plan.prompt_tokens,
        "completion_tokens": plan.completion_tokens,
        "total_tokens": plan.prompt_tokens + plan.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": plan.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": plan.hidden * plan.choices,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def texts_of(content: Any) -> list[str]:
    """The texts of a message's content: a string, or a list of parts."""
    if isinstance(content, str):
        return [content]
    return [part["text"] for part in dicts(content) if _has_text(part)]


def dicts(value: Any) -> list[dict[str, Any]]:
    """The objects of a list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def limit(body: dict[str, Any], *names: str) -> int | None:
    """The first of the caller's limits that is a number."""
    for name in names:
        value = body.get(name)
        if isinstance(value, int):
            return value
    return None


def _has_text(part: dict[str, Any]) -> bool:
    return isinstance(part.get("text"), str)
