"""`/v1/responses`: one message of text or one call of a tool, whole or as the events OpenAI sends for it."""

import time
from typing import Any

from deploy.embedded.model_server.chat import TOKENS_PER_MESSAGE
from deploy.embedded.model_server.faults import bad_request
from deploy.embedded.model_server.output_kinds import responses_event
from deploy.embedded.model_server.outputs import ANY_OBJECT, read_offer
from deploy.embedded.model_server.plan import Plan, Prompt, Refused
from deploy.embedded.model_server.shapes import Event, OpenAI, dicts, limit, texts_of
from deploy.embedded.model_server.stored_responses import Kept, StoredResponses
from deploy.embedded.model_server.words import count_words


class Responses(OpenAI):
    """Instructions count as a message; of a conversation that goes on, all that was before."""

    name = "responses"
    terminator = b""  # the event response.completed says it

    def __init__(self, stored: StoredResponses) -> None:
        self._stored = stored

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
        if (previous := body.get("previous_response_id")) is not None:
            tokens += self._stored.find(previous).tokens
        has_results = _has_results(items)
        tools = [
            (str(tool.get("name")), tool.get("parameters"))
            for tool in dicts(body.get("tools"))
            if tool.get("type") == "function"
        ]
        offer = read_offer(tools, body.get("tool_choice"), _schema(body), has_results=has_results)
        kept = None if body.get("store") is False else _input_items(items)
        maximum = limit(body, "max_output_tokens")
        return Prompt(text, tokens, maximum, offer=offer, has_results=has_results, kept_input=kept)

    def whole(self, plan: Plan) -> dict[str, Any]:
        response = _response(plan, "completed", [_item(plan, "completed", plan.text)])
        if plan.kept_input is not None:
            self._stored.keep(Kept(response, plan.kept_input, plan.prompt_tokens + plan.completion_tokens))
        return response

    def opening(self, plan: Plan) -> list[Event]:
        begun = _response(plan, "in_progress", [])
        if plan.kept_input is not None:
            self._stored.keep(Kept(begun, plan.kept_input, plan.prompt_tokens))
        item = {"output_index": 0, "item": _item(plan, "in_progress", "")}
        events = [
            _event("response.created", {"response": begun}),
            _event("response.in_progress", {"response": begun}),
            _event("response.output_item.added", item),
        ]
        return (
            events
            if plan.tool
            else [*events, _event("response.content_part.added", _place(plan) | {"part": _part("")})]
        )

    def token(self, plan: Plan, choice: int, index: int) -> list[Event]:
        if plan.output == "item":
            if index + 1 < plan.length - plan.hidden:
                return []
            return [_event("response.output_item.done", {"output_index": 0, "item": self.whole(plan)["output"][0]})]
        if plan.output and (other := responses_event(plan.output, plan.token(index))):
            return [_event(*other)]
        name = "response.function_call_arguments.delta" if plan.tool else "response.output_text.delta"
        return [_event(name, _place(plan) | {"delta": plan.token(index)})]

    def closing(self, plan: Plan) -> list[Event]:
        whole = self.whole(plan)
        text, place = plan.text, _place(plan)
        ends = [
            _event("response.output_text.done", place | {"text": text}),
            _event("response.content_part.done", place | {"part": _part(text)}),
        ]
        if plan.tool:
            ends = [_event("response.function_call_arguments.done", place | {"name": plan.tool, "arguments": text})]
        item = {"output_index": 0, "item": whole["output"][0]}
        return [
            *ends,
            _event("response.output_item.done", item),
            _event("response.completed", {"response": whole}),
        ]


def _input_items(items: list[Any]) -> list[Any]:
    """As the provider lists them: each with an id."""
    return [{"type": "message", **item, "id": f"item_{n}"} for n, item in enumerate(dicts(items))]


def _texts(item: dict[str, Any]) -> list[str]:
    return texts_of(item.get("content"))


def _has_results(items: list[Any]) -> bool:
    """Whether the prompt ends with results of tools."""
    kinds = [str(item.get("type")) for item in dicts(items)]
    since = kinds[::-1].index("function_call") if "function_call" in kinds else len(kinds)
    return "function_call_output" in kinds[len(kinds) - since :]


def _schema(body: dict[str, Any]) -> Any:
    text = body.get("text")
    form = text.get("format") if isinstance(text, dict) else None
    if not isinstance(form, dict) or form.get("type") not in ("json_schema", "json_object"):
        return None
    return form.get("schema", ANY_OBJECT)


def _event(name: str, data: dict[str, Any]) -> Event:
    return name, {"type": name} | data


def _place(plan: Plan) -> dict[str, Any]:
    return {"item_id": _item_id(plan), "output_index": 0} | ({} if plan.tool else {"content_index": 0})


def _item_id(plan: Plan) -> str:
    return f"fc_{plan.id}" if plan.tool else f"msg_{plan.id}"


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": []}


def _item(plan: Plan, status: str, text: str) -> dict[str, Any]:
    """The message, or the call of a tool; with its text once it is there."""
    if plan.tool:
        call = {"call_id": f"call_{plan.id}", "name": plan.tool, "arguments": text}
        return {"id": _item_id(plan), "type": "function_call", "status": status} | call
    content = [] if status == "in_progress" else [_part(text)]
    return {"id": _item_id(plan), "type": "message", "role": "assistant", "status": status, "content": content}


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
