"""LangChain: `ChatOpenAI` and `OpenAIEmbeddings`, or `ChatAnthropic`."""

from typing import Any

import langchain_anthropic
import langchain_openai
import pydantic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from serve import TIMEOUT_S, TOOL_RESULT, Seen, Task, refused_by, serve


class City(pydantic.BaseModel):
    """A city."""

    name: str
    population: int


@tool
def get_weather(city: str) -> str:
    """The weather of a city."""
    return TOOL_RESULT


def chat_model(task: Task) -> Any:
    if task["api"] == "messages":
        return langchain_anthropic.ChatAnthropic(
            base_url=task["url"],
            api_key=task["key"],
            model_name=task["model"],
            max_tokens=task["max_tokens"],
            max_retries=task["retries"],
            timeout=TIMEOUT_S,
        )
    return langchain_openai.ChatOpenAI(
        base_url=f"{task['url']}/v1",
        api_key=task["key"],
        model=task["model"],
        max_completion_tokens=task["max_tokens"],
        max_retries=task["retries"],
        timeout=TIMEOUT_S,
        stream_usage=True,
    )


def read(*messages: Any) -> Seen:
    usages = [message.usage_metadata for message in messages]
    return {
        "text": messages[-1].text,
        "prompt_tokens": sum(usage["input_tokens"] for usage in usages),
        "completion_tokens": sum(usage["output_tokens"] for usage in usages),
    }


def plain(task: Task) -> Seen:
    return read(chat_model(task).invoke(task["prompt"]))


def stream(task: Task) -> Seen:
    first, *rest = chat_model(task).stream(task["prompt"])
    return read(sum(rest, first)) | {"pieces": sum(1 for piece in (first, *rest) if piece.text)}


def tools(task: Task) -> Seen:
    model = chat_model(task).bind_tools([get_weather])
    first = model.invoke(task["prompt"])
    (call,) = first.tool_calls
    result = ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"])
    second = model.invoke([HumanMessage(task["prompt"]), first, result])
    return read(first, second) | {"tool": call["name"], "arguments": call["args"]}


def structured(task: Task) -> Seen:
    answer = chat_model(task).with_structured_output(City, include_raw=True).invoke(task["prompt"])
    return read(answer["raw"]) | {"parsed": answer["parsed"].model_dump()}


def embeddings(task: Task) -> Seen:
    model = langchain_openai.OpenAIEmbeddings(
        base_url=f"{task['url']}/v1",
        api_key=task["key"],
        model=task["model"],
        max_retries=task["retries"],
        # Else it sends numbers of a tokenizer in place of texts.
        check_embedding_ctx_length=False,
    )
    return {"vectors": model.embed_documents(task["texts"])}


def hang_up(task: Task) -> Seen:
    pieces = chat_model(task).stream(task["prompt"])
    text = next(piece.text for piece in pieces if piece.text)
    pieces.close()
    return {"text": text}


def with_retry(task: Task) -> Seen:
    """LangChain's own retries, beyond those of the SDK in it."""
    return read(chat_model(task).with_retry(stop_after_attempt=2, wait_exponential_jitter=False).invoke(task["prompt"]))


if __name__ == "__main__":
    serve(
        {
            "plain": plain,
            "stream": stream,
            "tools": tools,
            "structured": structured,
            "embeddings": embeddings,
            "hang_up": hang_up,
            "with_retry": with_retry,
        },
        refused_by,
    )
