"""One call by each SDK, as its users write it. Loading the SDKs takes seconds: only fixtures import this."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Final

import anthropic
import langchain_openai
import openai
from langchain_core.messages import AIMessage
from pydantic import SecretStr

from sdk.calls import RETRIES, Asked, Seen
from sdk.node_program import NodeProgram

TIMEOUT_S: Final = 30.0

Ask = Callable[[Asked], Seen]


def ask_openai(asked: Asked) -> Seen:
    """`create`, whole or streamed."""
    messages: Any = [{"role": "user", "content": asked.prompt}]
    with openai.OpenAI(base_url=f"{asked.url}/v1", api_key=asked.key, max_retries=RETRIES, timeout=TIMEOUT_S) as client:
        calls = client.chat.completions
        try:
            if not asked.stream:
                answer = calls.create(model=asked.model, messages=messages, max_tokens=asked.max_tokens)
                return _answered(answer.choices[0].message.content, answer.usage)
            text, usage = "", None
            for chunk in calls.create(
                model=asked.model,
                messages=messages,
                max_tokens=asked.max_tokens,
                stream=True,
                stream_options={"include_usage": True},
            ):
                text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
                usage = chunk.usage or usage
        except openai.APIStatusError as error:
            return _refused_by_openai(error)
    return _answered(text, usage)


def ask_langchain(asked: Asked) -> Seen:
    """`invoke`, or `stream` with `stream_usage`."""
    with new_chat_model(asked) as model:
        try:
            if asked.stream:
                first, *rest = model.stream(asked.prompt)
                message: AIMessage = sum(rest, first)
            else:
                message = model.invoke(asked.prompt)
        except openai.APIStatusError as error:
            return _refused_by_openai(error)
    usage = message.usage_metadata
    assert usage
    return Seen(text=message.text, prompt_tokens=usage["input_tokens"], completion_tokens=usage["output_tokens"])


@contextmanager
def new_chat_model(asked: Asked) -> Iterator[langchain_openai.ChatOpenAI]:
    """LangChain's model for this call."""
    with openai.DefaultHttpxClient(timeout=TIMEOUT_S) as http:
        yield langchain_openai.ChatOpenAI(
            base_url=f"{asked.url}/v1",
            api_key=SecretStr(asked.key),
            model=asked.model,
            max_completion_tokens=asked.max_tokens,
            max_retries=RETRIES,
            stream_usage=True,
            http_client=http,
        )


def ask_anthropic(asked: Asked) -> Seen:
    """`messages.create`, or `messages.stream`."""
    messages: Any = [{"role": "user", "content": asked.prompt}]
    with anthropic.Anthropic(base_url=asked.url, api_key=asked.key, max_retries=RETRIES, timeout=TIMEOUT_S) as client:
        try:
            if asked.stream:
                with client.messages.stream(
                    model=asked.model, messages=messages, max_tokens=asked.max_tokens
                ) as stream:
                    assert stream.request_id
                    message: Any = stream.get_final_message()
            else:
                message = client.messages.create(model=asked.model, messages=messages, max_tokens=asked.max_tokens)
                assert message._request_id
        except anthropic.APIStatusError as error:
            body: Any = error.body
            assert body["type"] == "error"
            # Under the name that its SDK looks for.
            request_id = error.request_id
            assert request_id == body["request_id"]
            return Seen(
                error=type(error).__name__,
                status=error.status_code,
                code=error.error_code,
                message=body["error"]["message"],
            )
    return Seen(
        text="".join(block.text for block in message.content),
        prompt_tokens=message.usage.input_tokens,
        completion_tokens=message.usage.output_tokens,
    )


def _answered(text: str | None, usage: Any) -> Seen:
    return Seen(text=text, prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens)


def _refused_by_openai(error: openai.APIStatusError) -> Seen:
    return Seen(error=type(error).__name__, status=error.status_code, code=error.code, message=error.message)


_SYNCHRONOUS: Final[dict[str, Ask]] = {
    "openai-python": ask_openai,
    "langchain-openai": ask_langchain,
    "anthropic-python": ask_anthropic,
}


class Clients:
    """The SDKs by name."""

    def __init__(self, node: NodeProgram) -> None:
        self._node = node

    async def ask(self, sdk: str, asked: Asked) -> Seen:
        """One call by this SDK, off the test's loop."""
        if sdk == "openai-node":
            return Seen(**await self._node.ask(asdict(asked)))
        return await asyncio.to_thread(_SYNCHRONOUS[sdk], asked)
