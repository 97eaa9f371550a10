"""Events of an Anthropic `messages` stream: https://docs.anthropic.com/en/api/messages-streaming

Usage has two parts: `message_start` may report the input, `message_delta` reports the output and, from LiteLLM, both.
So the reader has state, and each stream has its own reader.
"""

import msgspec

from gateway.endpoints.usage_parsing import ParsedUsage, Reader, ReportedUsage, decoder, estimate_said


class _Message(msgspec.Struct):
    usage: ReportedUsage | None = None
    model: str | None = None


class _Delta(msgspec.Struct):
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None


class _Event(msgspec.Struct):
    type: str = ""
    message: _Message | None = None
    delta: _Delta | None = None
    usage: ReportedUsage | None = None


_decode_event = decoder(_Event)
_COUNTED = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


def new_messages_reader() -> Reader:
    """For one stream."""
    so_far = ReportedUsage()

    def read(data: bytes) -> ParsedUsage | None:
        event: _Event | None = _decode_event(data)
        if event is None:
            return None
        if event.type == "error":
            return ParsedUsage(is_error=True)
        if event.type == "message_start" and event.message is not None:
            _remember(so_far, event.message.usage)
            return ParsedUsage(model=event.message.model)
        if event.type == "message_delta":
            _remember(so_far, event.usage)
            return ParsedUsage(usage=so_far.read_anthropic(), cost_usd=event.usage.cost_usd if event.usage else None)
        delta = event.delta
        text = (delta.text or delta.thinking or delta.partial_json) if delta else None
        return ParsedUsage(said_tokens=estimate_said(text)) if text else ParsedUsage()

    return read


def _remember(so_far: ReportedUsage, reported: ReportedUsage | None) -> None:
    # Cumulative, and some events omit or set to zero what an earlier one reported.
    for name in _COUNTED if reported is not None else ():
        setattr(so_far, name, max(getattr(so_far, name) or 0, getattr(reported, name) or 0))
