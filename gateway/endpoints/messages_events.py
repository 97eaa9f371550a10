"""Events of an Anthropic `messages` stream: https://docs.anthropic.com/en/api/messages-streaming

Usage has two parts: `message_start` may report the input, `message_delta` reports the output and, from LiteLLM, both.
So the reader has state, and each stream has its own reader.
"""

import msgspec

from gateway.endpoints.lenient import decoder
from gateway.endpoints.output_estimates import NAMES, estimate_field, estimate_unknown
from gateway.endpoints.paid_tools import RunTools
from gateway.endpoints.usage_parsing import ParsedUsage, Reader, ReportedUsage


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
# Events without output beside their delta or block; every other event is output.
_KNOWN_EVENTS = frozenset(
    (
        "message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta",
        "message_stop", "ping",
    )
)  # fmt: skip
_KNOWN_FIELDS = frozenset(("message", "delta", "content_block", "usage"))
_COUNTED = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")

_KEPT = ("cache_creation", "server_tool_use", "service_tier")


def new_messages_reader() -> Reader:
    """For one stream."""
    so_far = ReportedUsage()
    ran = RunTools()

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
        if event.content_block is not None and _is_search(event.content_block):
            ran.add_search(event.content_block.get("id"))
        reading.ran = ran.usage
        if event.type == "message_delta":
            if event.usage is not None:
                reading.usage, reading.litellm_nano_usd = reading.so_far, event.usage.litellm_nano_usd
            return reading
        for name, raw in ((event.delta or event.content_block) or {}).items():
            reading.said_tokens += 0.0 if name in NAMES else estimate_field(bytes(raw))
        if event.type not in _KNOWN_EVENTS:
            reading.said_tokens += estimate_unknown(data, _KNOWN_FIELDS)
        return reading

    return read


def _is_search(block: dict[str, msgspec.Raw]) -> bool:
    return bytes(block.get("type", b"")) == b'"server_tool_use"' and bytes(block.get("name", b"")) == b'"web_search"'


def _remember(so_far: ReportedUsage, reported: ReportedUsage | None) -> None:
    # Cumulative, and some events omit or set to zero what an earlier one reported.
    if reported is None:
        return
    for name in _COUNTED:
        setattr(so_far, name, max(getattr(so_far, name) or 0, getattr(reported, name) or 0))
    for name in _KEPT:
        setattr(so_far, name, getattr(reported, name) or getattr(so_far, name))
