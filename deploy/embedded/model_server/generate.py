"""Generates the tokens of a response at its pace and sends them, counting each one."""

import asyncio
import random
from collections.abc import AsyncIterator

import msgspec
from starlette.types import Send

from deploy.embedded.model_server.calls import Call, Ending
from deploy.embedded.model_server.faults import REFUSALS, ErrorShape, Refusal, as_anthropic
from deploy.embedded.model_server.plan import Plan
from deploy.embedded.model_server.shapes import Event, Shape

# Long enough for the system to send a chunk separately from the next.
BETWEEN_PIECES_S = 0.001
PIECES_OF_SLOW_BODY = 12


async def answer(plan: Plan, shape: Shape, call: Call, send: Send) -> Ending:
    """Send the whole response, or as much as the fault permits. May be cancelled anywhere."""
    if plan.fault in REFUSALS:
        return await refuse(REFUSALS[plan.fault], call, send, shape.errors)
    if plan.fault == "hang":
        await asyncio.Event().wait()
    call.prompt_tokens = plan.prompt_tokens
    call.cached_tokens = plan.cached_tokens
    call.cache_write_tokens = plan.cache_write_tokens
    if plan.is_stream:
        return await _stream(plan, shape, call, send)
    async for _ in made_tokens(plan, call):
        pass
    if plan.fault == "error-event":
        return await refuse(REFUSALS["500"], call, send, shape.errors)
    return await _whole(plan, msgspec.json.encode(shape.whole(plan)), send)


async def refuse(refusal: Refusal, call: Call, send: Send, errors: ErrorShape = "openai") -> Ending:
    if errors == "anthropic":
        refusal = as_anthropic(refusal)
    call.status = refusal.status
    await start(send, refusal.status, refusal.headers(), len(refusal.body))
    await send({"type": "http.response.body", "body": refusal.body})
    return "refused"


async def made_tokens(plan: Plan, call: Call) -> AsyncIterator[int]:
    """The index of each token, when it is due. A token is counted before it is sent."""
    clock = asyncio.get_running_loop().time
    began = clock()
    for index in range(plan.length):
        rate = plan.tokens_per_s
        due = began + plan.first_token_s + (index / rate if rate else 0.0)
        # Even if it is late, so that a disconnect is noticed between any two tokens.
        if rate or index == 0:
            await asyncio.sleep(max(0.0, due - clock()))
        is_hidden = index < plan.hidden
        call.completion_tokens += plan.choices * (1 if is_hidden else plan.tokens_a_piece)
        if is_hidden:
            call.reasoning_tokens += plan.choices
        yield index


async def _stream(plan: Plan, shape: Shape, call: Call, send: Send) -> Ending:
    stops_at = plan.length // 2 if plan.fault in ("cut", "error-event") else None
    writer = _Writer(plan, send, call)
    if plan.fault == "slow-body" or not plan.length:
        await writer.begin(shape.opening(plan))
    async for index in made_tokens(plan, call):
        if not writer.has_begun:
            await writer.begin(shape.opening(plan))
        if index >= plan.hidden:
            for choice in range(plan.choices):
                await writer.write(shape.token(plan, choice, index - plan.hidden))
        if index == stops_at:
            return await _stop_midway(plan, shape, writer)
    if plan.hold_s:
        await writer.flush()
        await asyncio.sleep(plan.hold_s)
    await writer.write(shape.closing(plan))
    await writer.end(shape.terminator)
    return "complete"


async def _stop_midway(plan: Plan, shape: Shape, writer: "_Writer") -> Ending:
    if plan.fault == "error-event":
        await writer.end(shape.error_event())
        return "error"
    await writer.flush()
    # Returning before the end of the response makes the server close the connection.
    return "cut"


async def _whole(plan: Plan, body: bytes, send: Send) -> Ending:
    await start(send, 200, [(b"content-type", b"application/json")], len(body))
    if plan.fault == "cut":
        half = {"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True}
        await send(half)
        return "cut"
    if plan.fault == "slow-body":
        size = len(body) // PIECES_OF_SLOW_BODY + 1
        while len(body) > size:
            await send({"type": "http.response.body", "body": body[:size], "more_body": True})
            body = body[size:]
            await asyncio.sleep(1 / plan.tokens_per_s if plan.tokens_per_s else 0)
    await send({"type": "http.response.body", "body": body})
    return "complete"


async def start(send: Send, status: int, headers: list[tuple[bytes, bytes]], length: int | None) -> None:
    if length is not None:
        headers = [*headers, (b"content-length", str(length).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})


class _Writer:
    """Writes events: one a write; all in one if they are made at once; cut anywhere if the plan says split."""

    def __init__(self, plan: Plan, send: Send, call: Call) -> None:
        self._send = send
        self._call = call
        self._held = b""
        self._holds_all = plan.tokens_per_s == 0
        self.has_begun = False
        # Not for secrets: the same prompt is always split the same way.
        self._chance = random.Random(plan.seed) if plan.is_split else None  # noqa: S311

    async def begin(self, events: list[Event]) -> None:
        self.has_begun = True
        await start(self._send, 200, [(b"content-type", b"text/event-stream")], None)
        await self.write(events)

    async def write(self, events: list[Event]) -> None:
        for event in events:
            await self._put(_encoded(event))
            self._call.events += 1

    async def flush(self) -> None:
        data, self._held = self._held, b""
        await self._put_now(data)

    async def end(self, terminator: bytes) -> None:
        await self._put(terminator)
        await self.flush()
        await self._send({"type": "http.response.body", "body": b""})

    async def _put(self, data: bytes) -> None:
        self._held += data
        if self._chance is None:
            if not self._holds_all:
                await self.flush()
            return
        while len(self._held) > self._chance.randint(0, 400):
            size = _inside_a_letter(self._held) if self._chance.random() < 0.5 else 0
            size = size or self._chance.randint(1, 90)
            piece, self._held = self._held[:size], self._held[size:]
            await self._put_now(piece)
            await asyncio.sleep(BETWEEN_PIECES_S)

    async def _put_now(self, data: bytes) -> None:
        if data:
            await self._send({"type": "http.response.body", "body": data, "more_body": True})


def _inside_a_letter(data: bytes) -> int:
    """A place in the middle of a letter of several bytes, or 0."""
    for place, byte in enumerate(data):
        if 0x80 <= byte < 0xC0:
            return place
    return 0


def _encoded(event: Event) -> bytes:
    name, data = event
    line = b"data: " + msgspec.json.encode(data) + b"\n\n"
    return f"event: {name}\n".encode() + line if name else line
