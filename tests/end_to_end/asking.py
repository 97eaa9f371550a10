"""Calls of any endpoint with a plain HTTP client, and the checks of their ledger rows."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
from callers import Caller, Response
from gateways import UpstreamLog, wait_until

from deploy.embedded.model_server.media import PIXEL

# A disconnect reaches the model server within this time, through the gateway and LiteLLM.
CANCELLED_WITHIN_S: Final = 2.0
# Six seconds of data that is no audio for LiteLLM: it uses the duration that the model reports.
SOUND: Final = b"\0" * 96_000


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint as callers use it; `name` is the one in the ledger."""

    name: str
    path: str
    model: str = "demo-chat"

    @property
    def takes_a_form(self) -> bool:
        return self.name in ("transcriptions", "translations", "image_edits")

    def fields(self, prompt: str, *, stream: bool = False, **fields: Any) -> dict[str, Any]:
        """Of a call with this prompt."""
        body: dict[str, Any] = {"model": self.model}
        if self.name in ("chat_completions", "messages", "count_tokens"):
            body["messages"] = [{"role": "user", "content": prompt}]
        elif self.name == "rerank":
            body |= {"query": prompt, "documents": ["One of them", "another"]}
        elif self.name in ("completions", "images") or self.takes_a_form:
            body["prompt"] = prompt
        else:
            body["input"] = prompt
        if self.name == "messages":
            body["max_tokens"] = 200
        if self.name == "speech":
            body["voice"] = "alloy"
        if stream:
            body["stream"] = True
        return body | fields

    def content(self, prompt: str, **fields: Any) -> dict[str, Any]:
        """The same as arguments of aiohttp's request: JSON, or a form with a sound or an image."""
        if not self.takes_a_form:
            return {"json": self.fields(prompt, **fields)}
        form = aiohttp.FormData()
        if self.name == "image_edits":
            form.add_field("image", base64.b64decode(PIXEL), filename="a.png", content_type="image/png")
        else:
            form.add_field("file", SOUND, filename="a.wav", content_type="audio/wav")
        for name, value in self.fields(prompt, **fields).items():
            form.add_field(name, str(value).lower() if isinstance(value, bool) else value)
        return {"data": form}

    def text(self, event: dict[str, Any]) -> str:
        """The generated text of one event."""
        if self.name == "messages":
            return str((event.get("delta") or {}).get("text", ""))
        if self.name == "responses":
            return str(event.get("delta", ""))
        response = "".join(
            (c.get("delta") or {}).get("content") or c.get("text") or "" for c in event.get("choices", [])
        )
        return response


CHAT: Final = Route("chat_completions", "/v1/chat/completions")
COMPLETIONS: Final = Route("completions", "/v1/completions", "demo-completion")
RESPONSES: Final = Route("responses", "/v1/responses")
COMPACT: Final = Route("responses_compact", "/v1/responses/compact")
INPUT_TOKENS: Final = Route("responses_input_tokens", "/v1/responses/input_tokens")
MESSAGES: Final = Route("messages", "/v1/messages")
# Anthropic's API on both sides of LiteLLM.
CLAUDE: Final = Route("messages", "/v1/messages", "demo-claude")
COUNT_TOKENS: Final = Route("count_tokens", "/v1/messages/count_tokens", "demo-claude")
EMBEDDINGS: Final = Route("embeddings", "/v1/embeddings", "demo-embedding")
MODERATIONS: Final = Route("moderations", "/v1/moderations", "demo-moderation")
RERANK: Final = Route("rerank", "/v1/rerank", "demo-rerank")
IMAGES: Final = Route("images", "/v1/images/generations", "demo-gpt-image")
IMAGE_EDITS: Final = Route("image_edits", "/v1/images/edits", "demo-gpt-image")
SPEECH: Final = Route("speech", "/v1/audio/speech", "demo-speech")
TRANSCRIPTIONS: Final = Route("transcriptions", "/v1/audio/transcriptions", "demo-transcribe")
TRANSLATIONS: Final = Route("translations", "/v1/audio/translations", "demo-transcribe")
STREAMING: Final = (CHAT, COMPLETIONS, RESPONSES, MESSAGES, CLAUDE)
AT_ONCE: Final = (COMPACT, INPUT_TOKENS, COUNT_TOKENS, EMBEDDINGS, MODERATIONS, RERANK, IMAGES, IMAGE_EDITS, SPEECH,
                  TRANSCRIPTIONS, TRANSLATIONS)  # fmt: skip
ROUTES: Final = (*STREAMING, *AT_ONCE)


@asynccontextmanager
async def opened(
    caller: Caller, route: Route, prompt: str, *, headers: dict[str, str] | None = None, **fields: Any
) -> AsyncIterator[aiohttp.ClientResponse]:
    """A call with its headers read; leaving the block before the end disconnects."""
    sent = {**caller.authorization, **(headers or {})}
    async with caller.http.post(caller.url + route.path, headers=sent, **route.content(prompt, **fields)) as answer:
        yield answer


async def asked(
    caller: Caller, route: Route, prompt: str, *, headers: dict[str, str] | None = None, **fields: Any
) -> Response:
    """One call, read to its end."""
    async with opened(caller, route, prompt, headers=headers, **fields) as answer:
        return Response(answer.status, answer.headers.copy(), await answer.read())


def assert_charged_the_higher(row: Any) -> None:
    """Of the two figures, which agree where LiteLLM knows what we know: it adds up floats, and both are rounded up."""
    own, litellm = row["own_cost_nano_usd"], row["litellm_cost_nano_usd"]
    assert row["cost_nano_usd"] == max(own, litellm or 0)
    assert litellm is None or abs(litellm - own) <= 1


def data_of(body: bytes) -> list[bytes]:
    """The data of all events of a stream, named or not."""
    return [line.removeprefix(b"data: ") for line in body.split(b"\n") if line.startswith(b"data: ")]


def tokens(row: dict[str, Any]) -> tuple[int, int, int, int]:
    """The tokens of a ledger row or of a call in the model server's record."""
    return row["prompt_tokens"], row["cached_tokens"], row["cache_write_tokens"], row["completion_tokens"]


def assert_as_billed(row: dict[str, Any], billed: dict[str, Any], *, tells_cost: bool = True) -> None:
    """The row has exactly what the model server billed, at LiteLLM's price, and is not estimated."""
    assert (row["ending"], row["status"], row["estimated"]) == ("completed", 200, False)
    assert billed["ending"] == "complete"
    assert billed["prompt_tokens"] > 0
    assert tokens(row) == tokens(billed)
    assert row["reasoning_tokens"] in (billed["reasoning_tokens"], 0)
    assert row["counted_tokens"] == billed["prompt_tokens"] + billed["completion_tokens"]
    assert row["cost_nano_usd"] > 0
    assert (row["litellm_cost_nano_usd"] is not None) == tells_cost
    assert_charged_the_higher(row)
    assert (row["counted_requests"], row["counted_nano_usd"]) == (1, row["cost_nano_usd"])


async def ended(upstream_log: UpstreamLog, mark: str) -> dict[str, Any]:
    """The model server's record of a call, once it has ended there."""

    async def is_over() -> bool:
        return not await upstream_log.calls(mark=mark, ending="running")

    await wait_until(is_over, "the end at the model server")
    return await upstream_log.call(mark=mark)


async def disconnected(upstream_log: UpstreamLog, mark: str, disconnected_at: float) -> dict[str, Any]:
    """The same for a call whose caller disconnected, which the model server must notice soon."""
    billed = await ended(upstream_log, mark)
    assert billed["ending"] == "hung_up"
    assert billed["ended_at"] - disconnected_at < CANCELLED_WITHIN_S
    return billed
