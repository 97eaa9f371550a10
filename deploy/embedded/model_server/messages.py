"""`/v1/messages` and its `count_tokens`: Anthropic's API, whose input excludes what the cache held or was given.

Events and fields: https://docs.anthropic.com/en/api/messages-streaming
"""

from typing import Any

from deploy.embedded.model_server.at_once import AtOnce, Made
from deploy.embedded.model_server.calls import Call
from deploy.embedded.model_server.chat import TOKENS_PER_MESSAGE
from deploy.embedded.model_server.faults import ErrorShape, bad_request, error_body
from deploy.embedded.model_server.plan import Plan, Prompt, Refused
from deploy.embedded.model_server.shapes import Event, limit, texts_of
from deploy.embedded.model_server.words import count_words, sentence, word

STOP_REASONS = {"stop": "end_turn", "length": "max_tokens"}


def read_prompt(body: dict[str, Any]) -> tuple[str, int]:
    """(text, tokens): the system's text counts as a message."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refused(bad_request("messages: Field required", param="messages"))
    system = [{"content": body["system"]}] if body.get("system") else []
    spoken = [*system, *(m for m in messages if isinstance(m, dict))]
    text = "\n".join(text for m in spoken for text in texts_of(m.get("content")))
    return text, count_words(text) + TOKENS_PER_MESSAGE * len(spoken)


class Messages:
    """Messages, whole or as Anthropic's events. A prompt has the words of its messages, and three tokens for each."""

    name = "messages"
    farewell = b""  # the event message_stop says it
    errors: ErrorShape = "anthropic"

    def read(self, body: dict[str, Any]) -> Prompt:
        text, tokens = read_prompt(body)
        return Prompt(text, tokens, limit(body, "max_tokens"))

    def error_event(self) -> bytes:
        return b"event: error\ndata: " + error_body("The model broke.", "api_error", None, shape=self.errors) + b"\n\n"

    def whole(self, plan: Plan) -> dict[str, Any]:
        text = sentence(plan.seed, plan.length - plan.hidden)
        stopped = {"stop_reason": STOP_REASONS[plan.finish_reason], "stop_sequence": None}
        return _message(plan, [{"type": "text", "text": text}]) | stopped | _usage(plan, plan.completion_tokens)

    def opening(self, plan: Plan) -> list[Event]:
        begun = _message(plan, []) | {"stop_reason": None, "stop_sequence": None} | _usage(plan, 1)
        block = {"index": 0, "content_block": {"type": "text", "text": ""}}
        return [_event("message_start", {"message": begun}), _event("content_block_start", block), _event("ping", {})]

    def token(self, plan: Plan, choice: int, index: int) -> list[Event]:
        delta = {"type": "text_delta", "text": word(plan.seed, index)}
        return [_event("content_block_delta", {"index": 0, "delta": delta})]

    def closing(self, plan: Plan) -> list[Event]:
        stopped = {"stop_reason": STOP_REASONS[plan.finish_reason], "stop_sequence": None}
        # Only the output: the input was told by message_start.
        reported = {} if plan.fault == "no-usage" else {"usage": {"output_tokens": plan.completion_tokens}}
        return [
            _event("content_block_stop", {"index": 0}),
            _event("message_delta", {"delta": stopped} | reported),
            _event("message_stop", {}),
        ]


class CountTokens(AtOnce):
    """Bills nothing: asking how many tokens there are is free."""

    name = "count_tokens"
    errors: ErrorShape = "anthropic"

    def text(self, body: dict[str, Any]) -> str:
        return read_prompt(body)[0]

    def make(self, body: dict[str, Any], text: str, call: Call, *, tells_usage: bool) -> Made:
        return Made.of({"input_tokens": read_prompt(body)[1]})


def _event(name: str, data: dict[str, Any]) -> Event:
    return name, {"type": name} | data


def _message(plan: Plan, content: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": f"msg_{plan.id}", "type": "message", "role": "assistant", "model": plan.model, "content": content}


def _usage(plan: Plan, output_tokens: int) -> dict[str, Any]:
    if plan.fault == "no-usage":
        return {}
    reported = {
        "input_tokens": plan.prompt_tokens - plan.cached_tokens - plan.cache_write_tokens,
        "cache_creation_input_tokens": plan.cache_write_tokens,
        "cache_read_input_tokens": plan.cached_tokens,
        "output_tokens": output_tokens,
    }
    return {"usage": reported}
