"""LiteLLM's SDK, which takes the gateway for OpenAI or for Anthropic."""

from typing import Any

import litellm
import pydantic
from serve import TIMEOUT_S, TOOL, TOOL_DESCRIPTION, TOOL_RESULT, TOOL_SCHEMA, Seen, Task, refused_by, serve

litellm.telemetry = False
TOOL_PARAM: Any = {
    "type": "function",
    "function": {"name": TOOL, "description": TOOL_DESCRIPTION, "parameters": TOOL_SCHEMA},
}


class City(pydantic.BaseModel):
    name: str
    population: int


def complete(task: Task, messages: Any = None, **fields: Any) -> Any:
    of_anthropic = task["api"] == "messages"
    return litellm.completion(
        model=f"{'anthropic' if of_anthropic else 'openai'}/{task['model']}",
        api_base=task["url"] if of_anthropic else f"{task['url']}/v1",
        api_key=task["key"],
        messages=messages or [{"role": "user", "content": task["prompt"]}],
        max_tokens=task["max_tokens"],
        max_retries=task["retries"],
        timeout=TIMEOUT_S,
        **fields,
    )


def read(*answers: Any) -> Seen:
    return {
        "text": answers[-1].choices[0].message.content,
        "prompt_tokens": sum(answer.usage.prompt_tokens for answer in answers),
        "completion_tokens": sum(answer.usage.completion_tokens for answer in answers),
    }


def plain(task: Task) -> Seen:
    return read(complete(task))


def stream(task: Task) -> Seen:
    chunks = list(complete(task, stream=True, stream_options={"include_usage": True}))
    pieces = sum(1 for chunk in chunks if chunk.choices and chunk.choices[0].delta.content)
    return read(litellm.stream_chunk_builder(chunks)) | {"pieces": pieces}


def tools(task: Task) -> Seen:
    first = complete(task, tools=[TOOL_PARAM])
    message = first.choices[0].message
    (call,) = message.tool_calls
    messages = [
        {"role": "user", "content": task["prompt"]},
        message,
        {"role": "tool", "tool_call_id": call.id, "content": TOOL_RESULT},
    ]
    second = complete(task, messages, tools=[TOOL_PARAM])
    return read(first, second) | {"tool": call.function.name, "arguments": call.function.arguments}


def structured(task: Task) -> Seen:
    answer = complete(task, response_format=City)
    parsed = City.model_validate_json(answer.choices[0].message.content)
    return read(answer) | {"parsed": parsed.model_dump()}


def embeddings(task: Task) -> Seen:
    answer = litellm.embedding(
        model=f"openai/{task['model']}", api_base=f"{task['url']}/v1", api_key=task["key"], input=task["texts"]
    )
    return {"vectors": [one["embedding"] for one in answer.data], "prompt_tokens": answer.usage.prompt_tokens}


def hang_up(task: Task) -> Seen:
    chunks = complete(task, stream=True)
    text = next(chunk.choices[0].delta.content for chunk in chunks if chunk.choices[0].delta.content)
    # Its stream has no `close` of its own: it goes with the response that is in it.
    getattr(chunks.completion_stream, "close", lambda: None)()
    return {"text": text}


if __name__ == "__main__":
    serve(
        {
            "plain": plain,
            "stream": stream,
            "tools": tools,
            "structured": structured,
            "embeddings": embeddings,
            "hang_up": hang_up,
        },
        refused_by,
    )
