"""`/v1/chat/completions` and `/v1/completions`: the same chunks, with a delta or a text."""

import time
from typing import Any

from deploy.embedded.model_server.faults import bad_request
from deploy.embedded.model_server.output_kinds import chat_delta
from deploy.embedded.model_server.outputs import ANY_OBJECT, read_offer
from deploy.embedded.model_server.plan import Plan, Prompt, Refused
from deploy.embedded.model_server.shapes import Event, OpenAI, dicts, limit, texts_of, usage
from deploy.embedded.model_server.words import count_words

TOKENS_PER_MESSAGE = 3


class Chat(OpenAI):
    """Chat completions. A prompt has the words of its messages, and three tokens for each."""

    name = "chat"
    terminator = b"data: [DONE]\n\n"

    def read(self, body: dict[str, Any]) -> Prompt:
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages:
            raise Refused(bad_request("You must provide 'messages'.", param="messages"))
        texts = [text for m in messages if isinstance(m, dict) for text in texts_of(m.get("content"))]
        text = "\n".join(texts)
        tokens = count_words(text) + TOKENS_PER_MESSAGE * len(messages)
        maximum = limit(body, "max_completion_tokens", "max_tokens")
        has_results = _has_results(messages)
        tools = [tool["function"] for tool in dicts(body.get("tools")) if isinstance(tool.get("function"), dict)]
        offer = read_offer(
            [(str(tool.get("name")), tool.get("parameters")) for tool in tools],
            body.get("tool_choice"),
            _schema(body.get("response_format")),
            has_results=has_results,
        )
        return Prompt(text, tokens, maximum, limit(body, "n") or 1, offer, has_results)

    def whole(self, plan: Plan) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": plan.text, "refusal": None}
        if plan.tool:
            message |= {"content": None, "tool_calls": [_tool_call(plan, plan.text)]}
        choices = [
            {"index": i, "message": message, "logprobs": None, "finish_reason": _finish_reason(plan)}
            for i in range(plan.choices)
        ]
        return _answer(plan, "chat.completion", choices)

    def opening(self, plan: Plan) -> list[Event]:
        delta: dict[str, Any] = {"role": "assistant", "content": ""}
        if plan.tool:
            delta |= {"content": None, "tool_calls": [{"index": 0} | _tool_call(plan, "")]}
        return [self._chunk(plan, i, delta) for i in range(plan.choices)]

    def token(self, plan: Plan, choice: int, index: int) -> list[Event]:
        text = plan.token(index)
        delta = {"tool_calls": [{"index": 0, "function": {"arguments": text}}]} if plan.tool else {"content": text}
        if plan.output == "beside":
            return [_beside(self._chunk(plan, choice, {}), text)]
        return [self._chunk(plan, choice, (plan.output and chat_delta(plan.output, text)) or delta)]

    def closing(self, plan: Plan) -> list[Event]:
        ends = [self._chunk(plan, i, {}, _finish_reason(plan)) for i in range(plan.choices)]
        return ends + _usage_chunk(plan, "chat.completion.chunk", {"index": 0, "delta": {}})

    def _chunk(self, plan: Plan, choice: int, delta: dict[str, Any], finish_reason: str | None = None) -> Event:
        said = {"index": choice, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return _ordinary(plan, "chat.completion.chunk", said)


class Completions(OpenAI):
    """The older text completions. A prompt has its words and nothing more."""

    name = "completions"
    terminator = b"data: [DONE]\n\n"

    def read(self, body: dict[str, Any]) -> Prompt:
        prompt = body.get("prompt")
        texts = [prompt] if isinstance(prompt, str) else prompt
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise Refused(bad_request("'prompt' must be a text or texts.", param="prompt"))
        text = "\n".join(texts)
        choices = len(texts) * (limit(body, "n") or 1)
        return Prompt(text, count_words(text), limit(body, "max_tokens"), choices)

    def whole(self, plan: Plan) -> dict[str, Any]:
        choices = [
            {"index": i, "text": plan.text, "logprobs": None, "finish_reason": plan.finish_reason}
            for i in range(plan.choices)
        ]
        return _answer(plan, "text_completion", choices)

    def opening(self, plan: Plan) -> list[Event]:
        return []

    def token(self, plan: Plan, choice: int, index: int) -> list[Event]:
        if plan.output == "beside":
            return [_beside(self._chunk(plan, choice, ""), plan.token(index))]
        return [self._chunk(plan, choice, plan.token(index))]

    def closing(self, plan: Plan) -> list[Event]:
        ends = [self._chunk(plan, i, "", plan.finish_reason) for i in range(plan.choices)]
        return ends + _usage_chunk(plan, "text_completion", {"index": 0, "text": ""})

    def _chunk(self, plan: Plan, choice: int, text: str, finish_reason: str | None = None) -> Event:
        said = {"index": choice, "text": text, "logprobs": None, "finish_reason": finish_reason}
        return _ordinary(plan, "text_completion", said)


def _has_results(messages: list[Any]) -> bool:
    """Whether the prompt ends with results of tools."""
    roles = [message.get("role") for message in dicts(messages)]
    since = roles[::-1].index("assistant") if "assistant" in roles else len(roles)
    return "tool" in roles[len(roles) - since :]


def _schema(form: Any) -> Any:
    if not isinstance(form, dict) or form.get("type") not in ("json_schema", "json_object"):
        return None
    described = form.get("json_schema")
    return described.get("schema", ANY_OBJECT) if isinstance(described, dict) else ANY_OBJECT


def _tool_call(plan: Plan, arguments: str) -> dict[str, Any]:
    return {"id": f"call_{plan.id}", "type": "function", "function": {"name": plan.tool, "arguments": arguments}}


def _finish_reason(plan: Plan) -> str:
    return "tool_calls" if plan.tool and plan.finish_reason == "stop" else plan.finish_reason


def _envelope(plan: Plan, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": plan.id,
        "object": kind,
        "created": int(time.time()),
        "model": plan.model,
        "choices": choices,
    }


def _answer(plan: Plan, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
    envelope = _envelope(plan, kind, choices)
    return envelope if plan.fault == "no-usage" else envelope | {"usage": usage(plan)}


def _ordinary(plan: Plan, kind: str, choice: dict[str, Any]) -> Event:
    chunk = _envelope(plan, kind, [choice])
    return None, chunk | {"usage": None} if plan.reports_usage else chunk


def _beside(chunk: Event, text: str) -> Event:
    """With output in a field of the choice that nobody documents."""
    chunk[1]["choices"][0]["newer_output"] = text
    return chunk


def _usage_chunk(plan: Plan, kind: str, empty_choice: dict[str, Any]) -> list[Event]:
    if not plan.reports_usage:
        return []
    choices = [empty_choice] if plan.usage_has_choice else []
    return [(None, _envelope(plan, kind, choices) | {"usage": usage(plan)})]
