"""Events of `chat/completions` and `completions` streams."""

import msgspec

from gateway.domain.estimates import estimate_text
from gateway.endpoints.usage_parsing import ParsedUsage, ReportedUsage, decoder, estimate_said


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
    usage: ReportedUsage | None = None
    error: msgspec.Raw = msgspec.Raw()
    model: str | None = None


_decode_chunk = decoder(_Chunk)


def read_chat_event(data: bytes) -> ParsedUsage | None:
    """The usage is in the chunk whose `usage` has a total above 0. Empty choices are not a sign of it: LiteLLM 1.106
    adds a choice, 1.109 does not."""
    chunk: _Chunk | None = _decode_chunk(data)
    if chunk is None:
        return None
    if bytes(chunk.error) not in (b"", b"null"):
        return ParsedUsage(is_error=True, says_something=True)
    reading = ParsedUsage(model=chunk.model)
    for choice in chunk.choices:
        _count(choice, reading)
    if chunk.usage is not None and (usage := chunk.usage.read()) is not None:
        reading.usage, reading.cost_usd = usage, chunk.usage.cost_usd
    return reading


def _count(choice: _Choice, reading: ParsedUsage) -> None:
    delta = choice.delta
    for text in (delta.content, delta.reasoning_content, delta.refusal, choice.text):
        if text:
            reading.said_tokens += estimate_said(text)
            reading.says_something = True
    calls = bytes(delta.tool_calls)
    if calls and calls != b"null":
        reading.said_tokens += max(1.0, estimate_text(calls))
        reading.says_something = True
    if choice.finish_reason is not None:
        reading.says_something = True
