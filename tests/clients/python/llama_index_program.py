"""LlamaIndex: `OpenAILike` and `OpenAILikeEmbedding`, for whatever speaks OpenAI's API."""

import gc
from typing import Any

import pydantic
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.openai_like import OpenAILike
from serve import TIMEOUT_S, TOOL, TOOL_DESCRIPTION, TOOL_RESULT, Seen, Task, refused_by, serve


class City(pydantic.BaseModel):
    name: str
    population: int


def get_weather(city: str) -> str:
    return TOOL_RESULT


def llm(task: Task, **fields: Any) -> OpenAILike:
    return OpenAILike(
        api_base=f"{task['url']}/v1",
        api_key=task["key"],
        model=task["model"],
        max_tokens=task["max_tokens"],
        max_retries=task["retries"],
        timeout=TIMEOUT_S,
        is_chat_model=True,
        is_function_calling_model=True,
        should_use_structured_outputs=True,
        additional_kwargs=fields,
    )


def tokens(*answers: Any) -> Seen:
    usages = [answer.raw.usage for answer in answers]
    return {
        "prompt_tokens": sum(usage.prompt_tokens for usage in usages),
        "completion_tokens": sum(usage.completion_tokens for usage in usages),
    }


def user(task: Task) -> ChatMessage:
    return ChatMessage(role="user", content=task["prompt"])


def plain(task: Task) -> Seen:
    answer = llm(task).chat([user(task)])
    return {"text": answer.message.content} | tokens(answer)


def stream(task: Task) -> Seen:
    answers = list(llm(task, stream_options={"include_usage": True}).stream_chat([user(task)]))
    pieces = sum(1 for answer in answers if answer.delta)
    return {"text": answers[-1].message.content, "pieces": pieces} | tokens(answers[-1])


def tools(task: Task) -> Seen:
    offered = FunctionTool.from_defaults(get_weather, name=TOOL, description=TOOL_DESCRIPTION)
    model = llm(task)
    first = model.chat_with_tools([offered], chat_history=[user(task)])
    (call,) = model.get_tool_calls_from_response(first)
    result = ChatMessage(
        role="tool",
        content=str(offered.call(**call.tool_kwargs)),
        additional_kwargs={"tool_call_id": call.tool_id},
    )
    second = model.chat_with_tools([offered], chat_history=[user(task), first.message, result])
    said = {"tool": call.tool_name, "arguments": call.tool_kwargs, "text": second.message.content}
    return said | tokens(first, second)


def structured(task: Task) -> Seen:
    answer = llm(task).as_structured_llm(City).chat([user(task)])
    return {"parsed": answer.raw.model_dump()}


def embeddings(task: Task) -> Seen:
    model = OpenAILikeEmbedding(
        model_name=task["model"], api_base=f"{task['url']}/v1", api_key=task["key"], max_retries=task["retries"]
    )
    return {"vectors": model.get_text_embedding_batch(task["texts"])}


def hang_up(task: Task) -> Seen:
    answers = llm(task).stream_chat([user(task)])
    text = next(answer.delta for answer in answers if answer.delta)
    answers.close()
    # Its streams hold each other: the connection is closed by the garbage collector.
    gc.collect()
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
