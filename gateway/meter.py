"""Step 4: what was used, read from what passes. Pure: bytes in, bytes out.

A stream passes event by event, because the chunk that tells the usage has to be taken out where the caller did not ask
for it. It is known by a `usage` with a total above 0, never by empty choices: LiteLLM 1.106 puts one there, 1.109 none.
`[DONE]` is no sign of success and its absence none of failure.
"""

from typing import Final, Protocol

import msgspec

from gateway.domain.calls import Usage
from gateway.domain.estimates import estimate_text

# An event larger than this passes unread: it is not held back, nor looked into.
LARGEST_EVENT: Final = 1024 * 1024
# A whole answer larger than this is passed on all the same, and charged by the estimate.
LARGEST_ANSWER: Final = 64 * 1024 * 1024


class _Details(msgspec.Struct):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    cache_creation_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    cost: float | None = None

    def read(self) -> Usage | None:
        """None where nothing is told: some providers put zeros into every chunk."""
        prompt, completion = self.prompt_tokens or 0, self.completion_tokens or 0
        if prompt + completion <= 0:
            return None
        prompt_details, completion_details = self.prompt_tokens_details, self.completion_tokens_details
        return Usage(
            prompt_tokens=prompt,
            completion_tokens=completion,
            cached_tokens=(prompt_details.cached_tokens or 0) if prompt_details else 0,
            cache_write_tokens=(prompt_details.cache_creation_tokens or 0) if prompt_details else 0,
            reasoning_tokens=(completion_details.reasoning_tokens or 0) if completion_details else 0,
        )


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    tool_calls: msgspec.Raw = msgspec.Raw()


class _Choice(msgspec.Struct):
    delta: _Delta = msgspec.field(default_factory=_Delta)
    text: str | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: msgspec.Raw = msgspec.Raw()
    model: str | None = None


class _Answer(msgspec.Struct):
    usage: _Usage | None = None
    model: str | None = None


_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_decode_answer = msgspec.json.Decoder(_Answer).decode


class Meter(Protocol):
    """Reads one answer as it passes."""

    usage: Usage | None
    cost_usd: float | None
    model: str | None
    has_error: bool

    def feed(self, chunk: bytes) -> bytes:
        """What of it may go to the caller now."""
        ...

    def finish(self) -> bytes:
        """What was still held back, at the end."""
        ...

    @property
    def passed_tokens(self) -> int:
        """Completion tokens of what has passed so far, estimated."""
        ...


class AnswerMeter:
    """A whole JSON answer: kept beside what passes, read at the end."""

    __slots__ = ("_parts", "_size", "cost_usd", "has_error", "model", "usage")

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.cost_usd: float | None = None
        self.model: str | None = None
        self.has_error = False
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> bytes:
        self._size += len(chunk)
        if self._size <= LARGEST_ANSWER:
            self._parts.append(chunk)
        return chunk

    def finish(self) -> bytes:
        if self._size <= LARGEST_ANSWER:
            try:
                answer = _decode_answer(b"".join(self._parts))
            except (msgspec.MsgspecError, RecursionError):
                return b""
            self.model = answer.model
            if answer.usage is not None:
                self.usage, self.cost_usd = answer.usage.read(), answer.usage.cost
        return b""

    @property
    def passed_tokens(self) -> int:
        return round(sum(map(estimate_text, self._parts)))


class StreamMeter:
    """A stream of `data:` events."""

    __slots__ = (
        "_held", "_passes_unread", "_said", "_strips_usage", "cost_usd", "has_error", "has_finished", "model", "usage"
    )  # fmt: skip

    def __init__(self, *, strips_usage: bool) -> None:
        self.usage: Usage | None = None
        self.cost_usd: float | None = None
        self.model: str | None = None
        self.has_error = False
        self.has_finished = False
        self._strips_usage = strips_usage
        self._held = b""
        self._passes_unread = False
        self._said = 0.0

    def feed(self, chunk: bytes) -> bytes:
        data = self._held + chunk if self._held else chunk
        if b"\r" in data:
            return self._feed_lines_with_cr(data)
        end = data.rfind(b"\n\n")
        if end < 0:
            return self._hold(data, b"")
        events, rest = data[: end + 2], data[end + 2 :]
        if self._passes_unread:
            # The rest of an event that was too large; what follows it is read again.
            first = events.find(b"\n\n") + 2
            self._passes_unread = False
            return events[:first] + self._hold(rest, self._read_events(events[first:]))
        return self._hold(rest, self._read_events(events))

    def _feed_lines_with_cr(self, data: bytes) -> bytes:
        # Servers may end lines with CRLF. A lone CR at the end may be half of one.
        if data.endswith(b"\r"):
            self._held = data
            return b""
        self._held = b""
        return self.feed(data.replace(b"\r\n", b"\n").replace(b"\r", b"\n"))

    def _hold(self, rest: bytes, passes: bytes) -> bytes:
        if self._passes_unread or len(rest) > LARGEST_EVENT:
            self._passes_unread, self._held = True, b""
            return passes + rest
        self._held = rest
        return passes

    def _read_events(self, events: bytes) -> bytes:
        if not events:
            return b""
        kept: list[bytes] | None = None
        parts = events.split(b"\n\n")[:-1]
        for index, event in enumerate(parts):
            if self._read_event(event):
                if kept is not None:
                    kept.append(event)
            elif kept is None:
                kept = parts[:index]
        if kept is None:
            return events
        return b"".join(event + b"\n\n" for event in kept)

    def _read_event(self, event: bytes) -> bool:
        """Whether it goes to the caller."""
        start = event.find(b"data:")
        if start < 0 or event.endswith(b"[DONE]"):
            return True
        data = event[start + 5 :]
        if b"\n" in data:
            data = b"\n".join(line.removeprefix(b"data:") for line in event[start:].split(b"\n"))
        try:
            chunk = _decode_chunk(data)
        except (msgspec.MsgspecError, RecursionError):
            return True
        if bytes(chunk.error):
            self.has_error = True
            return True
        if self.model is None:
            self.model = chunk.model
        says_something = False
        for choice in chunk.choices:
            says_something |= self._count(choice)
        if chunk.usage is None or (usage := chunk.usage.read()) is None:
            return True
        self.usage, self.cost_usd = usage, chunk.usage.cost
        return says_something or not self._strips_usage

    def _count(self, choice: _Choice) -> bool:
        delta = choice.delta
        text = delta.content or delta.reasoning_content or delta.refusal or choice.text
        calls = bytes(delta.tool_calls)
        if text:
            # A chunk is at least a token: models send about one at a time.
            self._said += max(1.0, estimate_text(text.encode(errors="surrogatepass")))
        if calls and calls != b"null":
            self._said += max(1.0, estimate_text(calls))
        if choice.finish_reason is not None:
            self.has_finished = True
        return bool(text or calls or choice.finish_reason is not None)

    def finish(self) -> bytes:
        held, self._held = self._held, b""
        if held.strip() and not self._read_event(held.rstrip(b"\n")):
            return b""
        return held

    @property
    def passed_tokens(self) -> int:
        return round(self._said)
