"""LiteLLM fetches what a prompt names by its address, for providers that take data only. It must not reach addresses of
the operator's own network on a caller's behalf: it refuses them today, and this test notices if it stops. Case D26."""

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
from callers import Caller, MakeCaller, Response

from deploy.embedded.model_server.media import PIXEL

IMAGE: Final = base64.b64decode(PIXEL)
# Ways to write this machine's own address.
HOSTS: Final = (
    "127.0.0.1", "localhost", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "[::]", "127.1", "2130706433", "0x7f000001",
    "0177.0.0.1", "user@127.0.0.1", "LOCALHOST.", "127.0.0.1.",
)  # fmt: skip
MODELS: Final = ("demo-chat", "demo-claude")


@pytest.fixture
async def visited() -> AsyncIterator[tuple[int, list[str]]]:
    """A port with an image behind it, on every address of this machine; and what was asked there."""
    visits: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visits.append((await reader.readline()).decode("latin-1").strip())
        head = (
            f"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: {len(IMAGE)}\r\nconnection: close\r\n\r\n"
        )
        writer.write(head.encode() + IMAGE)
        await writer.drain()
        writer.close()

    # Of IPv6, which takes IPv4 too.
    server = await asyncio.start_server(serve, "::", 0, family=0)
    async with server:
        yield server.sockets[0].getsockname()[1], visits


def prompts(url: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """By what they are: the path and the body that names the address."""

    def message(*parts: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, *parts]}]

    source = {"type": "url", "url": url}
    image, document = {"type": "image", "source": source}, {"type": "document", "source": source}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [image]}
    shown, file = {"type": "input_image", "image_url": url}, {"type": "input_file", "file_url": url}
    return {
        "chat, image": (
            "/v1/chat/completions",
            {"messages": message({"type": "image_url", "image_url": {"url": url}})},
        ),
        "chat, image as a text": (
            "/v1/chat/completions",
            {"messages": message({"type": "image_url", "image_url": url})},
        ),
        "chat, file": ("/v1/chat/completions", {"messages": message({"type": "file", "file": {"file_data": url}})}),
        "messages, image": ("/v1/messages", {"max_tokens": 9, "messages": message(image)}),
        "messages, document": ("/v1/messages", {"max_tokens": 9, "messages": message(document)}),
        "messages, result": ("/v1/messages", {"max_tokens": 9, "messages": message(result)}),
        "count_tokens": ("/v1/messages/count_tokens", {"messages": message(image)}),
        "responses, image": ("/v1/responses", {"input": [{"role": "user", "content": [shown]}]}),
        "responses, file": ("/v1/responses", {"input": [{"role": "user", "content": [file]}]}),
        "input_tokens": ("/v1/responses/input_tokens", {"input": [{"role": "user", "content": [shown]}]}),
        "compact": ("/v1/responses/compact", {"input": [{"role": "user", "content": [shown]}]}),
        "embeddings": ("/v1/embeddings", {"input": [url]}),
    }


async def ask(caller: Caller, path: str, body: dict[str, Any]) -> Response:
    async with caller.http.post(caller.url + path, json=body, headers=caller.authorization) as answer:
        return Response(answer.status, answer.headers.copy(), await answer.read())


@pytest.mark.parametrize("model", MODELS)
async def test_d26_litellm_fetches_nothing_from_a_private_address(
    model: str, make: MakeCaller, visited: tuple[int, list[str]]
) -> None:
    caller = await make(model)
    port, visits = visited
    answers: dict[str, list[Response]] = {}
    # Anthropic fetches https itself.
    for address in (f"https://127.0.0.1:{port}", *(f"http://{host}:{port}" for host in HOSTS)):
        asked = prompts(f"{address}/a.png")
        said = await asyncio.gather(*(ask(caller, path, body | {"model": model}) for path, body in asked.values()))
        for name, response in zip(asked, said, strict=True):
            answers.setdefault(name, []).append(response)

    assert visits == []
    if model == "demo-claude":
        # LiteLLM did look at the address, and refused it: without this the test would prove nothing.
        _, *refusals = answers["chat, image"]
        assert {refusal.status for refusal in refusals} == {400}
        assert all("URL policy" in refusal.error["message"] for refusal in refusals)
