"""Events of a `responses` stream: https://platform.openai.com/docs/api-reference/responses-streaming"""

from typing import Any, Final

import msgspec

from gateway.endpoints.chat_events import TOKENS_PER_IMAGE
from gateway.endpoints.lenient import decoder
from gateway.endpoints.realtime_events import SOUND_BYTES_A_TOKEN
from gateway.endpoints.stored_items import is_completed_by_id
from gateway.endpoints.usage_parsing import ParsedUsage, Reader, ReportedUsage, estimate_answer, estimate_said

# Their answer is whole, also one that was cut short by max_output_tokens.
LAST_EVENTS: Final = ("response.completed", "response.incomplete")
FAILED_EVENTS: Final = ("error", "response.failed", "response.cancelled")
AUDIO_DELTA: Final = "response.audio.delta"


class _OutputItem(msgspec.Struct):
    id: str | None = None
    type: str | None = None
    encrypted_content: str | None = None


class _Response(msgspec.Struct):
    id: str | None = None
    output: list[_OutputItem] | None = None
    usage: ReportedUsage | None = None
    model: str | None = None
    service_tier: Any = None


class _Event(msgspec.Struct):
    type: str = ""
    delta: Any = None
    item_id: str | None = None
    item: msgspec.Raw = msgspec.Raw()
    partial_image_b64: msgspec.Raw = msgspec.Raw()
    response: _Response | None = None
    error: msgspec.Raw = msgspec.Raw()


class _Item(msgspec.Struct):
    id: str | None = None


_decode_event = decoder(_Event)
_decode_item = decoder(_Item)
_decode_response = decoder(_Response)


def read_response(data: bytes) -> ParsedUsage | None:
    """A whole answer."""
    answer: _Response | None = _decode_response(data)
    if answer is None:
        return None
    reported = answer.usage
    return ParsedUsage(
        usage=reported.read(answer.service_tier) if reported else None,
        litellm_nano_usd=reported.litellm_nano_usd if reported else None,
        model=answer.model,
        response_id=answer.id,
        item_ids=_stored_items(answer),
    )


def _stored_items(response: _Response) -> tuple[str, ...]:
    return tuple(
        item.id for item in response.output or () if item.id and is_completed_by_id(item.type, item.encrypted_content)
    )


def new_responses_reader() -> Reader:
    """For one stream. The usage is in whatever event reports it; `…delta` events carry the output, and an item that had
    none is counted when it is done."""
    with_deltas: set[str | None] = set()

    def read(data: bytes) -> ParsedUsage | None:
        event: _Event | None = _decode_event(data)
        if event is None:
            return None
        has_failed = event.type in FAILED_EVENTS or (not event.type and bytes(event.error) not in (b"", b"null"))
        reading = ParsedUsage(is_error=has_failed, is_last=event.type in LAST_EVENTS)
        if event.response is not None:
            reading.model, reading.response_id = event.response.model, event.response.id
            reading.item_ids = _stored_items(event.response)
            if event.response.usage is not None:
                reported = event.response.usage
                reading.usage = reported.read(event.response.service_tier)
                reading.litellm_nano_usd = reported.litellm_nano_usd
        if isinstance(event.delta, str) and event.delta:
            with_deltas.add(event.item_id)
            is_sound = event.type == AUDIO_DELTA
            sound = len(event.delta) * 3 / 4 / SOUND_BYTES_A_TOKEN
            reading.said_tokens = max(1.0, sound) if is_sound else estimate_said(event.delta)
        elif event.type == "response.output_item.done":
            reading.said_tokens = _tokens_of_item(bytes(event.item), with_deltas)
        elif bytes(event.partial_image_b64) not in (b"", b"null"):
            with_deltas.add(event.item_id)
            reading.said_tokens = float(TOKENS_PER_IMAGE)
        return reading

    return read


def _tokens_of_item(raw: bytes, with_deltas: set[str | None]) -> float:
    item: _Item | None = _decode_item(raw)
    if item is None or item.id in with_deltas:
        return 0.0
    return max(1.0, estimate_answer(raw) or 0.0)
