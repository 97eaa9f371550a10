"""`anthropic`: messages and models."""

from typing import Any

import anthropic
import pydantic
from serve import TIMEOUT_S, TOOL, TOOL_DESCRIPTION, TOOL_RESULT, TOOL_SCHEMA, Seen, Task, refused_by, serve

TOOL_PARAM: Any = {"name": TOOL, "description": TOOL_DESCRIPTION, "input_schema": TOOL_SCHEMA}


class City(pydantic.BaseModel):
    name: str
    population: int


def client(task: Task) -> anthropic.Anthropic:
    return anthropic.Anthropic(
        base_url=task["url"], api_key=task["key"], max_retries=task["retries"], timeout=TIMEOUT_S
    )


def asked(task: Task) -> Any:
    messages = [{"role": "user", "content": task["prompt"]}]
    return {"model": task["model"], "max_tokens": task["max_tokens"], "messages": messages}


def read(*messages: Any) -> Seen:
    """The last one's text, and the tokens of all. Its user is also shown the id of the call."""
    assert all(message._request_id for message in messages if hasattr(message, "_request_id"))
    return {
        "text": "".join(block.text for block in messages[-1].content if block.type == "text"),
        "prompt_tokens": sum(message.usage.input_tokens for message in messages),
        "completion_tokens": sum(message.usage.output_tokens for message in messages),
    }


def plain(task: Task) -> Seen:
    with client(task) as opened:
        return read(opened.messages.create(**asked(task)))


def stream(task: Task) -> Seen:
    with client(task) as opened, opened.messages.stream(**asked(task)) as events:
        assert events.request_id
        pieces = sum(1 for text in events.text_stream if text)
        return read(events.get_final_message()) | {"pieces": pieces}


def tools(task: Task) -> Seen:
    with client(task) as opened:
        fields = asked(task) | {"tools": [TOOL_PARAM]}
        first = opened.messages.create(**fields)
        (call,) = (block for block in first.content if block.type == "tool_use")
        result = {"type": "tool_result", "tool_use_id": call.id, "content": TOOL_RESULT}
        fields["messages"] += [
            {"role": "assistant", "content": first.content},
            {"role": "user", "content": [result]},
        ]
        second = opened.messages.create(**fields)
    return read(first, second) | {"tool": call.name, "arguments": call.input}


def structured(task: Task) -> Seen:
    with client(task) as opened:
        answer = opened.messages.parse(**asked(task), output_format=City)
    return read(answer) | {"parsed": answer.parsed_output.model_dump()}


def models(task: Task) -> Seen:
    with client(task) as opened:
        listed = list(opened.models.list(limit=1))
    assert all(model.display_name and model.created_at for model in listed)
    return {"models": [model.id for model in listed]}


def count(task: Task) -> Seen:
    with client(task) as opened:
        counted = opened.messages.count_tokens(model=task["model"], messages=asked(task)["messages"])
    return {"prompt_tokens": counted.input_tokens}


def hang_up(task: Task) -> Seen:
    with client(task) as opened, opened.messages.stream(**asked(task)) as events:
        return {"text": next(iter(events.text_stream), None)}


def refused(error: Exception) -> Seen | None:
    seen = refused_by(error)
    if seen and isinstance(error, anthropic.APIStatusError):
        body: Any = error.body
        assert (body["type"], body["request_id"]) == ("error", error.request_id)
        seen["message"] = body["error"]["message"]
    return seen


if __name__ == "__main__":
    serve(
        {
            "plain": plain,
            "stream": stream,
            "tools": tools,
            "structured": structured,
            "models": models,
            "count": count,
            "hang_up": hang_up,
        },
        refused,
    )
