"""What differs between chat, completions, responses and messages: reading a prompt, forming an answer."""

from typing import Any, Protocol

from deploy.embedded.model_server.faults import ErrorShape, error_body
from deploy.embedded.model_server.plan import Plan, Prompt

# The name of the event, if it has one, and its data.
Event = tuple[str | None, dict[str, Any]]


class Shape(Protocol):
    """One endpoint's form of an answer, whole or as events. Holds nothing: the plan says it all."""

    name: str
    errors: ErrorShape
    # What follows the last event of a stream that ended well.
    farewell: bytes

    def read(self, body: dict[str, Any]) -> Prompt:
        """Raise Refused if the body has no prompt."""
        ...

    def error_event(self) -> bytes:
        """What a stream ends with when the model breaks."""
        ...

    def whole(self, plan: Plan) -> dict[str, Any]: ...

    def opening(self, plan: Plan) -> list[Event]: ...

    def token(self, plan: Plan, choice: int, index: int) -> list[Event]: ...

    def closing(self, plan: Plan) -> list[Event]: ...


class OpenAI:
    """How OpenAI's endpoints fail."""

    errors: ErrorShape = "openai"

    def error_event(self) -> bytes:
        return b"data: " + error_body("The model broke.", "server_error", None) + b"\n\n"


def usage(plan: Plan) -> dict[str, Any]:
    """As chat and completions say it."""
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
