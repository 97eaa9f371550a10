"""`openai`: chat completions, responses, embeddings and models; with `azure`, as AzureOpenAI."""

from typing import Any

import openai
import pydantic
from serve import TIMEOUT_S, TOOL, TOOL_DESCRIPTION, TOOL_RESULT, TOOL_SCHEMA, Seen, Task, refused_by, serve

CHAT_TOOL: Any = {
    "type": "function",
    "function": {"name": TOOL, "description": TOOL_DESCRIPTION, "parameters": TOOL_SCHEMA, "strict": True},
}
RESPONSES_TOOL: Any = {
    "type": "function",
    "name": TOOL,
    "description": TOOL_DESCRIPTION,
    "parameters": TOOL_SCHEMA,
    "strict": True,
}


class City(pydantic.BaseModel):
    name: str
    population: int


def client(task: Task) -> openai.OpenAI:
    common: Any = {"api_key": task["key"], "max_retries": task["retries"], "timeout": TIMEOUT_S}
    if task["api"] == "azure":
        return openai.AzureOpenAI(azure_endpoint=task["url"], api_version="2024-10-21", **common)
    return openai.OpenAI(base_url=f"{task['url']}/v1", **common)


def said(text: str | None, usage: Any) -> Seen:
    return {"text": text, "prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens}


def plain(task: Task) -> Seen:
    with client(task) as opened:
        answer = opened.chat.completions.create(
            model=task["model"], messages=user(task), max_completion_tokens=task["max_tokens"]
        )
    return said(answer.choices[0].message.content, answer.usage)


def user(task: Task) -> Any:
    return [{"role": "user", "content": task["prompt"]}]


def stream(task: Task) -> Seen:
    text, usage, pieces = "", None, 0
    with client(task) as opened:
        for chunk in opened.chat.completions.create(
            model=task["model"],
            messages=user(task),
            max_completion_tokens=task["max_tokens"],
            stream=True,
            stream_options={"include_usage": True},
        ):
            if chunk.choices and chunk.choices[0].delta.content:
                text, pieces = text + chunk.choices[0].delta.content, pieces + 1
            usage = chunk.usage or usage
    return said(text, usage) | {"pieces": pieces}


def tools(task: Task) -> Seen:
    with client(task) as opened:
        first = opened.chat.completions.create(model=task["model"], messages=user(task), tools=[CHAT_TOOL])
        message = first.choices[0].message
        (call,) = message.tool_calls or ()
        result = {"role": "tool", "tool_call_id": call.id, "content": TOOL_RESULT}
        messages = [*user(task), message, result]
        second = opened.chat.completions.create(model=task["model"], messages=messages, tools=[CHAT_TOOL])
    return called(call.function.name, call.function.arguments, second.choices[0].message.content) | tokens(
        first.usage.prompt_tokens + second.usage.prompt_tokens,
        first.usage.completion_tokens + second.usage.completion_tokens,
    )


def called(tool: str, arguments: Any, text: str | None) -> Seen:
    return {"tool": tool, "arguments": arguments, "text": text}


def tokens(prompt: int, completion: int) -> Seen:
    return {"prompt_tokens": prompt, "completion_tokens": completion}


def structured(task: Task) -> Seen:
    with client(task) as opened:
        answer = opened.chat.completions.parse(model=task["model"], messages=user(task), response_format=City)
    city = answer.choices[0].message.parsed
    return {"parsed": city.model_dump()} | tokens(answer.usage.prompt_tokens, answer.usage.completion_tokens)


def embeddings(task: Task) -> Seen:
    with client(task) as opened:
        answer = opened.embeddings.create(model=task["model"], input=task["texts"])
    return {"vectors": [one.embedding for one in answer.data], "prompt_tokens": answer.usage.prompt_tokens}


def models(task: Task) -> Seen:
    with client(task) as opened:
        return {"models": [model.id for model in opened.models.list()]}


def hang_up(task: Task) -> Seen:
    with (
        client(task) as opened,
        opened.chat.completions.create(model=task["model"], messages=user(task), stream=True) as chunks,
    ):
        for chunk in chunks:
            if chunk.choices and chunk.choices[0].delta.content:
                return {"text": chunk.choices[0].delta.content}
    return {"text": None}


def plain_response(task: Task) -> Seen:
    with client(task) as opened:
        answer = opened.responses.create(
            model=task["model"], input=task["prompt"], max_output_tokens=task["max_tokens"]
        )
    return {"text": answer.output_text} | tokens(answer.usage.input_tokens, answer.usage.output_tokens)


def stream_response(task: Task) -> Seen:
    text, pieces = "", 0
    with (
        client(task) as opened,
        opened.responses.stream(
            model=task["model"], input=task["prompt"], max_output_tokens=task["max_tokens"]
        ) as events,
    ):
        for event in events:
            if event.type == "response.output_text.delta":
                text, pieces = text + event.delta, pieces + 1
        usage = events.get_final_response().usage
    return {"text": text, "pieces": pieces} | tokens(usage.input_tokens, usage.output_tokens)


def tools_response(task: Task) -> Seen:
    with client(task) as opened:
        first = opened.responses.create(model=task["model"], input=user(task), tools=[RESPONSES_TOOL])
        (call,) = (item for item in first.output if item.type == "function_call")
        result = {"type": "function_call_output", "call_id": call.call_id, "output": TOOL_RESULT}
        items = [*user(task), *first.output, result]
        second = opened.responses.create(model=task["model"], input=items, tools=[RESPONSES_TOOL])
    return called(call.name, call.arguments, second.output_text) | tokens(
        first.usage.input_tokens + second.usage.input_tokens,
        first.usage.output_tokens + second.usage.output_tokens,
    )


def structured_response(task: Task) -> Seen:
    with client(task) as opened:
        answer = opened.responses.parse(model=task["model"], input=task["prompt"], text_format=City)
    parsed = answer.output_parsed.model_dump()
    return {"parsed": parsed} | tokens(answer.usage.input_tokens, answer.usage.output_tokens)


def count_response(task: Task) -> Seen:
    with client(task) as opened:
        counted = opened.responses.input_tokens.count(model=task["model"], input=task["prompt"])
    return {"prompt_tokens": counted.input_tokens}


def hang_up_response(task: Task) -> Seen:
    with (
        client(task) as opened,
        opened.responses.create(model=task["model"], input=task["prompt"], stream=True) as events,
    ):
        for event in events:
            if event.type == "response.output_text.delta":
                return {"text": event.delta}
    return {"text": None}


RESPONSES = {
    "plain": plain_response,
    "stream": stream_response,
    "tools": tools_response,
    "structured": structured_response,
    "count": count_response,
    "hang_up": hang_up_response,
}
CHAT = {
    "plain": plain,
    "stream": stream,
    "tools": tools,
    "structured": structured,
    "embeddings": embeddings,
    "models": models,
    "hang_up": hang_up,
}


def by_api(name: str) -> Any:
    def run(task: Task) -> Seen:
        return (CHAT | RESPONSES if task["api"] == "responses" else CHAT)[name](task)

    return run


if __name__ == "__main__":
    serve({name: by_api(name) for name in CHAT | RESPONSES}, refused_by)
