"""Output that comes in parts of items: in deltas, in the event that ends a part, and in the item when it is done."""

from typing import Any, Final

import msgspec

from gateway.endpoints.lenient import decoder
from gateway.endpoints.output_estimates import (
    EMPTY,
    SOUND_BYTES_A_TOKEN,
    TOKENS_PER_IMAGE,
    estimate_field,
    estimate_item,
    estimate_unknown,
)
from gateway.endpoints.usage_parsing import estimate_said

ITEM_DONE: Final = "response.output_item.done"
# Of an event without output of its own: which event it is, of what, and what only decorates it.
_KNOWN_FIELDS: Final = frozenset(
    (
        "delta", "part", "event_id", "response_id", "output_index", "content_index", "summary_index", "sequence_number",
        "annotation_index", "annotation", "partial_image_index", "logprobs", "obfuscation", "size", "quality",
        "background", "output_format",
    )
)  # fmt: skip
_Part = tuple[str | None, int | None, int | None]


class PartEvent(msgspec.Struct):
    """One event of `responses` or of a realtime session."""

    type: str = ""
    delta: Any = None
    item_id: str | None = None
    content_index: int | None = None
    summary_index: int | None = None
    item: msgspec.Raw = msgspec.Raw()
    part: msgspec.Raw = msgspec.Raw()
    partial_image_b64: msgspec.Raw = msgspec.Raw()


class _Item(msgspec.Struct):
    id: str | None = None


_decode_item = decoder(_Item)


class OutputParts:
    """Tokens counted so far, by item and part of it."""

    def __init__(self) -> None:
        self._counted: dict[_Part, float] = {}

    def count(self, event: PartEvent, data: bytes) -> float:
        """What the event adds to them."""
        part = (event.item_id, event.content_index, event.summary_index)
        if isinstance(event.delta, str) and event.delta:
            sound = len(event.delta) * 3 / 4 / SOUND_BYTES_A_TOKEN
            return self._add(
                part, max(1.0, sound) if event.type.endswith("audio.delta") else estimate_said(event.delta)
            )
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

    def _add(self, part: _Part, tokens: float) -> float:
        if tokens <= 0:
            return 0.0
        self._counted[part] = self._counted.get(part, 0.0) + tokens
        return tokens
