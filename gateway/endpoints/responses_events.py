"""Events of a `responses` stream: https://platform.openai.com/docs/api-reference/responses-streaming"""

from typing import Any, Final

import msgspec

from gateway.endpoints.usage_parsing import ParsedUsage, ReportedUsage, decoder, estimate_said

# Their answer is whole, so its usage is final: also one that was cut short by max_output_tokens.
LAST_EVENTS: Final = ("response.completed", "response.incomplete")


class _Response(msgspec.Struct):
    usage: ReportedUsage | None = None
    model: str | None = None


class _Event(msgspec.Struct):
    type: str = ""
    delta: Any = None
    response: _Response | None = None
    error: msgspec.Raw = msgspec.Raw()


_decode_event = decoder(_Event)


def read_responses_event(data: bytes) -> ParsedUsage | None:
    """`response.completed` reports the usage; `…delta` events carry the text."""
    event: _Event | None = _decode_event(data)
    if event is None:
        return None
    if event.type in ("error", "response.failed") or (not event.type and bytes(event.error) not in (b"", b"null")):
        return ParsedUsage(is_error=True)
    if isinstance(event.delta, str) and event.delta:
        return ParsedUsage(said_tokens=estimate_said(event.delta))
    reading = ParsedUsage(model=event.response.model if event.response else None, is_last=event.type in LAST_EVENTS)
    if reading.is_last and event.response is not None and event.response.usage is not None:
        reading.usage, reading.cost_usd = event.response.usage.read(), event.response.usage.cost_usd
    return reading
