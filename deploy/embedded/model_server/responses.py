"""`/v1/responses`: one message of text, whole or as the events OpenAI sends for it."""

import time
from typing import Any

from deploy.embedded.model_server.chat import TOKENS_PER_MESSAGE
from deploy.embedded.model_server.faults import bad_request
from deploy.embedded.model_server.plan import Plan, Prompt, Refused
from deploy.embedded.model_server.shapes import Event, OpenAI, limit, texts_of
from deploy.embedded.model_server.words import count_words, sentence, word


class Responses(OpenAI):
    """Instructions count as a message."""

    name = "responses"
    farewell = b""  # the event response.completed says it

    def read(self, body: dict[str, Any]) -> Prompt:
        given = body.get("input")
        if not isinstance(given, str | list) or not given:
            raise Refused(bad_request("You must provide 'input'.", param="input"))
        items = [{"content": given}] if isinstance(given, str) else given
        if body.get("instructions"):
            items = [{"content": body["instructions"]}, *items]
        texts = [text for item in items if isinstance(item, dict) for text in _texts(item)]
        text = "\n".join(texts)
        tokens = count_words(text) + TOKENS_PER_MESSAGE * len(items)
        return Prompt(text, tokens, limit(body, "max_output_tokens"))

    def whole(self, plan: Plan) -> dict[str, Any]:
        return _response(plan, "completed", [_message(plan, "completed", [_part(_text(plan))])])

    def opening(self, plan: Plan) -> list[Event]:
        begun = _response(plan, "in_progress", [])
        item = {"output_index": 0, "item": _message(plan, "in_progress", [])}
        return [
            _event("response.created", {"response": begun}),
            _event("response.in_progress", {"response": begun}),
            _event("response.output_item.added", item),
            _event("response.content_part.added", _place(plan) | {"part": _part("")}),
        ]

    def token(self, plan: Plan, choice: int, index: int) -> list[Event]:
        delta = {"delta": word(plan.seed, index)}
        return [_event("response.output_text.delta", _place(plan) | delta)]

    def closing(self, plan: Plan) -> list[Event]:
        whole = self.whole(plan)
        text, place = _text(plan), _place(plan)
        item = {"output_index": 0, "item": whole["output"][0]}
        return [
            _event("response.output_text.done", place | {"text": text}),
            _event("response.content_part.done", place | {"part": _part(text)}),
            _event("response.output_item.done", item),
            _event("response.completed", {"response": whole}),
        ]


def _texts(item: dict[str, Any]) -> list[str]:
    return texts_of(item.get("content"))


def _text(plan: Plan) -> str:
    return sentence(plan.seed, plan.length - plan.hidden)


def _event(name: str, data: dict[str, Any]) -> Event:
    return name, {"type": name} | data


def _place(plan: Plan) -> dict[str, Any]:
    return {"item_id": f"msg_{plan.id}", "output_index": 0, "content_index": 0}


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": []}


def _message(plan: Plan, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": f"msg_{plan.id}",
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": content,
    }


def _response(plan: Plan, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
    response = {
        "id": f"resp_{plan.id}",
        "object": "response",
        "created_at": int(time.time()),
        "status": status,
        "model": plan.model,
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "error": None,
        "incomplete_details": None,
        "usage": None,
    }
    if status == "completed" and plan.fault != "no-usage":
        response["usage"] = {
            "input_tokens": plan.prompt_tokens,
            "input_tokens_details": {"cached_tokens": plan.cached_tokens},
            "output_tokens": plan.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": plan.hidden},
            "total_tokens": plan.prompt_tokens + plan.completion_tokens,
        }
    return response
