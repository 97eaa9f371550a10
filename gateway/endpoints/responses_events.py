"""Events of a `responses` stream: https://platform.openai.com/docs/api-reference/responses-streaming"""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from gateway.endpoints.lenient import decoder
from gateway.endpoints.output_estimates import (
    EMPTY,
    TOKENS_PER_IMAGE,
    estimate_field,
    estimate_item,
    estimate_unknown,
)
from gateway.endpoints.realtime_events import SOUND_BYTES_A_TOKEN
from gateway.endpoints.stored_items import is_completed_by_id
from gateway.endpoints.usage_parsing import ParsedUsage, Reader, ReportedUsage, estimate_said

ITEM_DONE: Final = "response.output_item.done"
# Their answer is whole, also one that was cut short by max_output_tokens.
LAST_EVENTS: Final = ("response.completed", "response.incomplete")
FAILED_EVENTS: Final = ("error", "response.failed", "response.cancelled")
AUDIO_DELTAS: Final = ("response.audio.delta", "response.output_audio.delta")
# Of an event without output of its own: which event it is, of what, and what only decorates it.
_KNOWN_FIELDS: Final = frozenset(
    (
        "delta", "part", "output_index", "content_index", "summary_index", "sequence_number", "annotation_index",
        "annotation", "partial_image_index", "logprobs", "obfuscation", "size", "quality", "background",
        "output_format",
    )
)  # fmt: skip


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
    content_index: int | None = None
    summary_index: int | None = None
    item: msgspec.Raw = msgspec.Raw()
    part: msgspec.Raw = msgspec.Raw()
    partial_image_b64: msgspec.Raw = msgspec.Raw()
    response: _Response | None = None
    error: msgspec.Raw = msgspec.Raw()


class _Item(msgspec.Struct):
    id: str | None = None


_decode_event = decoder(_Event)
_decode_item = decoder(_Item)
_decode_output = decoder(_OutputItem)
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
        item_ids=_stored_items(answer.output or ()),
    )


def _stored_items(items: Iterable[_OutputItem]) -> tuple[str, ...]:
    return tuple(item.id for item in items if item.id and is_completed_by_id(item.type, item.encrypted_content))


def new_responses_reader() -> Reader:
    """For one stream. The usage is in whatever event reports it; what was said is counted once, whether it comes in
    deltas, in the event that ends a part, or in the item when it is done."""
    said = _Said()

    def read(data: bytes) -> ParsedUsage | None:
        event: _Event | None = _decode_event(data)
        if event is None:
            return None
        has_failed = event.type in FAILED_EVENTS or (not event.type and bytes(event.error) not in EMPTY)
        reading = ParsedUsage(is_error=has_failed, is_last=event.type in LAST_EVENTS)
        if event.response is not None:
            reading.model, reading.response_id = event.response.model, event.response.id
            reading.item_ids = _stored_items(event.response.output or ())
            if event.response.usage is not None:
                reported = event.response.usage
                reading.usage = reported.read(event.response.service_tier)
                reading.litellm_nano_usd = reported.litellm_nano_usd
        elif not has_failed:
            reading.said_tokens = said.count(event, data)
            # Some servers leave the output of the last event empty.
            if event.type == ITEM_DONE and (item := _decode_output(bytes(event.item))) is not None:
                reading.item_ids = _stored_items((item,))
        return reading

    return read


class _Said:
    """Tokens counted so far, by item and part of it."""

    def __init__(self) -> None:
        self._counted: dict[tuple[str | None, int | None, int | None], float] = {}

    def count(self, event: _Event, data: bytes) -> float:
        """What the event adds to them."""
        part = (event.item_id, event.content_index, event.summary_index)
        if isinstance(event.delta, str) and event.delta:
            sound = len(event.delta) * 3 / 4 / SOUND_BYTES_A_TOKEN
            return self._add(part, max(1.0, sound) if event.type in AUDIO_DELTAS else estimate_said(event.delta))
        if bytes(event.partial_image_b64) not in EMPTY:
            return self._add(part, float(TOKENS_PER_IMAGE))
        if bytes(event.item) not in EMPTY:
            return self._count_item(bytes(event.item), is_done=event.type == ITEM_DONE)
        if event.delta:
            return self._add(part, estimate_field(msgspec.json.encode(event.delta)))
        tokens = estimate_unknown(data, _KNOWN_FIELDS)
        if bytes(event.part) not in EMPTY:
            tokens += estimate_item(bytes(event.part))
        if event.type.endswith((".done", ".added")):
            # Of a part: it repeats its deltas, where there were any.
            tokens -= self._counted.get(part, 0.0)
        return self._add(part, tokens)

    def _count_item(self, raw: bytes, *, is_done: bool) -> float:
        item: _Item | None = _decode_item(raw)
        item_id = item.id if item is not None else None
        parts = [part for part in self._counted if part[0] == item_id]
        tokens = max(estimate_item(raw), float(is_done)) - sum(self._counted[part] for part in parts)
        if not is_done:
            return self._add((item_id, None, None), tokens)
        for part in parts:
            del self._counted[part]
        return max(0.0, tokens)

    def _add(self, part: tuple[str | None, int | None, int | None], tokens: float) -> float:
        if tokens <= 0:
            return 0.0
        self._counted[part] = self._counted.get(part, 0.0) + tokens
        return tokens
