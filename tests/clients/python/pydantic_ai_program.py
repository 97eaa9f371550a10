"""Pydantic AI: an agent on `OpenAIChatModel` or `AnthropicModel`, and an `Embedder`."""

import asyncio
from typing import Any

import pydantic
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from pydantic_ai import Agent, Embedder
from pydantic_ai.embeddings.openai import OpenAIEmbeddingModel
from pydantic_ai.messages import ToolCallPart
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider
from serve import TIMEOUT_S, TOOL_RESULT, Seen, Task, refused_by, serve


class City(pydantic.BaseModel):
    name: str
    population: int


def openai_provider(task: Task) -> OpenAIProvider:
    client = AsyncOpenAI(
        base_url=f"{task['url']}/v1", api_key=task["key"], max_retries=task["retries"], timeout=TIMEOUT_S
    )
    return OpenAIProvider(openai_client=client)


def agent(task: Task, **fields: Any) -> Any:
    if task["api"] == "messages":
        client = AsyncAnthropic(
            base_url=task["url"], api_key=task["key"], max_retries=task["retries"], timeout=TIMEOUT_S
        )
        model: Any = AnthropicModel(task["model"], provider=AnthropicProvider(anthropic_client=client))
    else:
        model = OpenAIChatModel(task["model"], provider=openai_provider(task))
    return Agent(model, model_settings={"max_tokens": task["max_tokens"]}, retries=0, **fields)


def tokens(result: Any) -> Seen:
    usage = result.usage() if callable(result.usage) else result.usage
    return {"prompt_tokens": usage.input_tokens, "completion_tokens": usage.output_tokens}


def plain(task: Task) -> Seen:
    result = agent(task).run_sync(task["prompt"])
    return {"text": result.output} | tokens(result)


def stream(task: Task) -> Seen:
    async def run() -> Seen:
        async with agent(task).run_stream(task["prompt"]) as result:
            pieces = [piece async for piece in result.stream_text(delta=True, debounce_by=None)]
        return {"text": "".join(pieces), "pieces": len(pieces)} | tokens(result)

    return asyncio.run(run())


def tools(task: Task) -> Seen:
    def get_weather(city: str) -> str:
        """The weather of a city."""
        return TOOL_RESULT

    result = agent(task, tools=[get_weather]).run_sync(task["prompt"])
    parts = [part for message in result.all_messages() for part in message.parts]
    (call,) = (part for part in parts if isinstance(part, ToolCallPart))
    said = {"tool": call.tool_name, "arguments": call.args_as_dict(), "text": result.output}
    return said | tokens(result)


def structured(task: Task) -> Seen:
    result = agent(task, output_type=City).run_sync(task["prompt"])
    return {"parsed": result.output.model_dump()} | tokens(result)


def embeddings(task: Task) -> Seen:
    embedder = Embedder(OpenAIEmbeddingModel(task["model"], provider=openai_provider(task)))
    result = embedder.embed_documents_sync(task["texts"])
    return {"vectors": [list(one) for one in result.embeddings], "prompt_tokens": result.usage.input_tokens}


def hang_up(task: Task) -> Seen:
    async def run() -> Seen:
        async with agent(task).run_stream(task["prompt"]) as result:
            async for text in result.stream_text(delta=True, debounce_by=None):
                if text:
                    break
        await asyncio.sleep(0)
        return {"text": text}

    return asyncio.run(run())


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
