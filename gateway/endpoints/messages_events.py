"""Events of an Anthropic `messages` stream: https://docs.anthropic.com/en/api/messages-streaming

Usage has two parts: `message_start` may report the input, `message_delta` reports the output and, from LiteLLM, both.
So the reader has state, and each stream has its own reader.
"""

import msgspec

from gateway.domain.estimates import estimate_text
from gateway.endpoints.lenient import decoder
from gateway.endpoints.usage_parsing import ParsedUsage, Reader, ReportedUsage, estimate_said


class _Message(msgspec.Struct):
    usage: ReportedUsage | None = None
    model: str | None = None


class _Event(msgspec.Struct):
    type: str = ""
    message: _Message | None = None
    delta: dict[str, msgspec.Raw] | None = None
    content_block: dict[str, msgspec.Raw] | None = None
    usage: ReportedUsage | None = None


_decode_event = decoder(_Event)
# Fields of a delta or a block that name it; every other is output, known or not.
NAMES = frozenset(("type", "id", "name", "tool_use_id", "index", "caller"))
_EMPTY = (b"null", b'""', b"[]", b"{}")
_COUNTED = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")

_KEPT = ("cache_creation", "server_tool_use", "service_tier")


def new_messages_reader() -> Reader:
    """For one stream."""
    so_far = ReportedUsage()

    def read(data: bytes) -> ParsedUsage | None:
        event: _Event | None = _decode_event(data)
        if event is None:
            return None
        if event.type == "error":
            return ParsedUsage(is_error=True)
        reported = event.message.usage if event.message is not None else event.usage
        _remember(so_far, reported)
        reading = ParsedUsage(model=event.message.model if event.message is not None else None)
        if reported is not None:
            reading.so_far = so_far.read_anthropic()
        if event.type == "message_delta":
            reading.usage = reading.so_far
            reading.litellm_nano_usd = event.usage.litellm_nano_usd if event.usage else None
            return reading
        for name, raw in ((event.delta or event.content_block) or {}).items():
            reading.said_tokens += 0.0 if name in NAMES else _tokens_of(bytes(raw))
        return reading

    return read


def _remember(so_far: ReportedUsage, reported: ReportedUsage | None) -> None:
    # Cumulative, and some events omit or set to zero what an earlier one reported.
    if reported is None:
        return
    for name in _COUNTED:
        setattr(so_far, name, max(getattr(so_far, name) or 0, getattr(reported, name) or 0))
    for name in _KEPT:
        setattr(so_far, name, getattr(reported, name) or getattr(so_far, name))


def _tokens_of(value: bytes) -> float:
    if value in _EMPTY:
        return 0.0
    try:
        return estimate_said(msgspec.json.decode(value, type=str))
    except (msgspec.MsgspecError, UnicodeError):
        return max(1.0, estimate_text(value))
