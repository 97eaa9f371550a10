"""Conversations of the playground: what a person may send, whole answers, and what a call has used."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple
from uuid import UUID

import msgspec

from admin_api.operations.access import get_seen_account
from admin_api.operations.actors import Actor
from admin_api.operations.playground.gateway_link import ChatCall, GatewayLink
from admin_api.operations.validation import MAX_NAME, check_text, invalid
from admin_api.storage import subscriptions
from admin_api.storage.usage.calls import find_usage_row
from gateway.domain.errors import GatewayError
from gateway.domain.usage_rows import UsageRow

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

# Of models, by LiteLLM's word: it offers those of the responses API as chat completions too.
CHAT_MODES: Final = ("chat", "responses")
MAX_MESSAGES: Final = 400
MAX_TOKENS: Final = 1_000_000
MAX_TEMPERATURE: Final = 2.0
MAX_ANSWER_BYTES: Final = 8 * 1024 * 1024
# The ledger is written some moments after the end of an answer.
USAGE_WAIT_S: Final = 5.0
USAGE_PAUSE_S: Final = 0.1


class ChatMessage(NamedTuple):
    """One turn of a conversation."""

    role: Literal["user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """A conversation, whose last message is answered, and the parameters of the answer; None: the model's own."""

    model: str
    messages: Sequence[ChatMessage]
    system: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None

    def check(self) -> None:
        """Raises GatewayError `validation_failed`."""
        check_text("model", self.model, least=1, maximum=MAX_NAME)
        if not self.messages or not self.messages[-1].content.strip():
            raise invalid("prompt", "Write a message.")
        if len(self.messages) > MAX_MESSAGES:
            raise invalid("prompt", f"A conversation has at most {MAX_MESSAGES} messages. Begin a new one.")
        for name, value, maximum in (
            ("temperature", self.temperature, MAX_TEMPERATURE),
            ("top_p", self.top_p, 1.0),
        ):
            if value is not None and not 0 <= value <= maximum:
                raise invalid(name, f"{name} must be a number from 0 to {maximum:g}.")
        if self.max_tokens is not None and not 1 <= self.max_tokens <= MAX_TOKENS:
            raise invalid("max_tokens", f"max_tokens must be a number from 1 to {MAX_TOKENS}.")

    def body(self) -> dict[str, Any]:
        """As a chat completion."""
        first = [{"role": "system", "content": self.system}] if self.system else []
        chosen = {name: getattr(self, name) for name in ("temperature", "top_p", "max_tokens")}
        return {
            "model": self.model,
            "messages": [*first, *(message._asdict() for message in self.messages)],
            **{name: value for name, value in chosen.items() if value is not None},
        }


async def list_chat_models(pool: "Pool", actor: Actor) -> list[str]:
    """Models for conversations that the actor's own account may call now, by name."""
    async with pool.acquire() as connection:
        account = await get_seen_account(connection, actor, user=None, team=None)
        return await subscriptions.list_callable(connection, account_id=account.id, modes=CHAT_MODES)


class Refused(NamedTuple):
    """What the gateway answered instead of a completion."""

    status: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """The text of an answer, or why there is none. `headers` are the gateway's, in lower case."""

    request_id: str
    headers: dict[str, str] = field(default_factory=dict)
    text: str = ""
    refused: Refused | None = None


async def complete(link: GatewayLink, call: ChatCall) -> ChatAnswer:
    """The whole answer at once. Raises GatewayError if the gateway does not answer."""
    async with link.open(call) as answer:
        content = b""
        async for piece in answer.aiter_raw():
            content += piece
            if len(content) > MAX_ANSWER_BYTES:
                raise GatewayError("upstream_error", "The answer is too long for a page. Ask for fewer tokens.")
    headers = dict(answer.headers)
    request_id = headers.get("x-request-id", "")
    if answer.status_code == 200:
        return ChatAnswer(request_id, headers, _text_of(content))
    return ChatAnswer(request_id, headers, refused=_refusal_of(answer.status_code, content))


class _Said(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Said


class _Completion(msgspec.Struct):
    choices: list[_Choice] = []


class _Error(msgspec.Struct):
    message: str = ""
    code: str | None = None


class _Failure(msgspec.Struct):
    error: _Error


def _text_of(content: bytes) -> str:
    try:
        return "\n\n".join(one.message.content or "" for one in msgspec.json.decode(content, type=_Completion).choices)
    except msgspec.DecodeError:
        raise GatewayError("upstream_error", "The answer cannot be read. Try again.") from None


def _refusal_of(status: int, content: bytes) -> Refused:
    try:
        error = msgspec.json.decode(content, type=_Failure).error
    except msgspec.DecodeError:
        error = _Error(message=f"The gateway answered {status}.")
    return Refused(status, error.code or "", error.message)


@dataclass(frozen=True, slots=True)
class CallFigures:
    """What the ledger has of one call. `tokens_per_s` counts from the first byte of a stream on."""

    row: UsageRow

    @property
    def tokens_per_s(self) -> float | None:
        """Of the answer."""
        elapsed_ms = self.row.total_ms - (self.row.first_byte_ms or 0)
        return self.row.completion_tokens * 1000 / elapsed_ms if self.row.streamed and elapsed_ms > 0 else None


async def find_figures(pool: "Pool", actor: Actor, request_id: str) -> CallFigures | None:
    """Of a call of the actor's own, once the ledger has it. None after some seconds, and for a call of others."""
    try:
        wanted = UUID(request_id)
    except ValueError:
        return None
    for _ in range(int(USAGE_WAIT_S / USAGE_PAUSE_S)):
        async with pool.acquire() as connection:
            row = await find_usage_row(connection, wanted)
        if row is not None:
            return CallFigures(row) if row.user_id == actor.user_id else None
        await asyncio.sleep(USAGE_PAUSE_S)
    return None
