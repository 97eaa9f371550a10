"""`/v1/messages` and its `count_tokens`: Anthropic's API, whose input tokens exclude cache reads and writes.

Events and fields: https://docs.anthropic.com/en/api/messages-streaming
"""

from typing import Any

import msgspec

from deploy.embedded.model_server.at_once import AtOnce, Made
from deploy.embedded.model_server.calls import Call
from deploy.embedded.model_server.chat import TOKENS_PER_MESSAGE
from deploy.embedded.model_server.faults import ErrorShape, bad_request, error_body
from deploy.embedded.model_server.output_kinds import messages_event
from deploy.embedded.model_server.outputs import read_offer
from deploy.embedded.model_server.plan import Plan, Prompt, Refused
from deploy.embedded.model_server.shapes import Event, dicts, limit, texts_of
from deploy.embedded.model_server.words import count_words

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
    terminator = b""  # the event message_stop says it
    errors: ErrorShape = "anthropic"

    def read(self, body: dict[str, Any]) -> Prompt:
        text, tokens = read_prompt(body)
        has_results = _has_results(body["messages"])
        tools = [(str(tool.get("name")), tool.get("input_schema")) for tool in dicts(body.get("tools"))]
        offer = read_offer(tools, body.get("tool_choice"), _schema(body), has_results=has_results)
        return Prompt(text, tokens, limit(body, "max_tokens"), offer=offer, has_results=has_results)

    def error_event(self) -> bytes:
        return b"event: error\ndata: " + error_body("The model broke.", "api_error", None, shape=self.errors) + b"\n\n"

    def whole(self, plan: Plan) -> dict[str, Any]:
        block = {"type": "text", "text": plan.text}
        if plan.tool:
            block = _tool_use(plan, _arguments(plan.text))
        stopped = {"stop_reason": _stop_reason(plan), "stop_sequence": None}
        return _message(plan, [block]) | stopped | _usage(plan, plan.completion_tokens)

    def opening(self, plan: Plan) -> list[Event]:
        begun = _message(plan, []) | {"stop_reason": None, "stop_sequence": None} | _usage(plan, 1)
        block = _tool_use(plan, {}) if plan.tool else {"type": "text", "text": ""}
        begins = _event("content_block_start", {"index": 0, "content_block": block})
        return [_event("message_start", {"message": begun}), begins, _event("ping", {})]

    def token(self, plan: Plan, choice: int, index: int) -> list[Event]:
        text = plan.token(index)
        if plan.output and (other := messages_event(plan.output, text)):
            return [_event(*other)]
        delta = {"type": "text_delta", "text": text}
        if plan.tool:
            delta = {"type": "input_json_delta", "partial_json": text}
        return [_event("content_block_delta", {"index": 0, "delta": delta})]

    def closing(self, plan: Plan) -> list[Event]:
        stopped = {"stop_reason": _stop_reason(plan), "stop_sequence": None}
        reported = _usage(plan, plan.completion_tokens)
        if reported and not plan.usage_is_cumulative:
            # Only the output: message_start reported the input.
            reported = {"usage": {"output_tokens": plan.completion_tokens}}
        return [
            _event("content_block_stop", {"index": 0}),
            _event("message_delta", {"delta": stopped} | reported),
            _event("message_stop", {}),
        ]


class CountTokens(AtOnce):
    """Bills nothing: counting tokens is free."""

    name = "count_tokens"
    errors: ErrorShape = "anthropic"

    def text(self, body: dict[str, Any]) -> str:
        return read_prompt(body)[0]

    def make(self, body: dict[str, Any], text: str, call: Call, *, tells_usage: bool) -> Made:
        return Made.of({"input_tokens": read_prompt(body)[1]})


def _has_results(messages: list[Any]) -> bool:
    """Whether the prompt ends with results of tools."""
    spoken = [message for message in dicts(messages) if message.get("role") == "user"]
    return bool(spoken) and any(part.get("type") == "tool_result" for part in dicts(spoken[-1].get("content")))


def _schema(body: dict[str, Any]) -> Any:
    """Of structured output: `output_config.format`, before it was out of beta `output_format`."""
    config = body.get("output_config")
    form = (config.get("format") if isinstance(config, dict) else None) or body.get("output_format")
    return form.get("schema") if isinstance(form, dict) else None


def _tool_use(plan: Plan, given: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"toolu_{plan.id}", "name": plan.tool, "input": given}


def _arguments(text: str) -> Any:
    """Empty where the caller's limit cut them off."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return {}


def _stop_reason(plan: Plan) -> str:
    return "tool_use" if plan.tool and plan.finish_reason == "stop" else STOP_REASONS[plan.finish_reason]


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
