"""Tokens of output in fields that no endpoint documents: estimated from their bytes, so that whatever passes counts."""

from collections.abc import Collection, Mapping
from typing import Any, Final

import msgspec

from gateway.domain.estimates import estimate_text
from gateway.endpoints.usage_parsing import estimate_said

EMPTY: Final = (b"", b"null", b'""', b"[]", b"{}")
# 24 kHz PCM16, of which models make a token for 50 ms.
SOUND_BYTES_A_TOKEN: Final = 2400
# Of an image that a model draws: https://platform.openai.com/docs/guides/image-generation#cost-and-latency
TOKENS_PER_IMAGE: Final = 1056
# Names of things and of their state, at any depth: no model is paid for them.
NAMES: Final = frozenset(
    ("type", "id", "name", "index", "role", "status", "object", "call_id", "item_id", "tool_use_id", "caller", "format")
)
_decode: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def estimate_field(value: bytes) -> float:
    """Of one field, in JSON."""
    if value in EMPTY:
        return 0.0
    try:
        return estimate_said(msgspec.json.decode(value, type=str))
    except (msgspec.MsgspecError, UnicodeError):
        return max(1.0, estimate_text(value))


def estimate_unknown(data: bytes, known: Collection[str]) -> float:
    """Of the fields of an object that are not `known`; 0 for what is no object."""
    try:
        fields: Mapping[str, msgspec.Raw] = _decode(data)
    except (msgspec.MsgspecError, UnicodeError):
        return 0.0
    return sum(estimate_field(bytes(raw)) for name, raw in fields.items() if name not in known and name not in NAMES)


def estimate_item(data: bytes) -> float:
    """Of all texts in a part of an answer, in JSON."""
    try:
        return _estimate_texts(msgspec.json.decode(data))
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return estimate_text(data)


def _estimate_texts(value: Any) -> float:
    if isinstance(value, str):
        return estimate_said(value) if value else 0.0
    if isinstance(value, list):
        return sum(map(_estimate_texts, value))
    if not isinstance(value, dict):
        return 0.0
    if value.get("type") == "image_generation_call":
        return float(TOKENS_PER_IMAGE) if value.get("result") else 0.0
    return sum(_estimate_texts(one) for name, one in value.items() if name not in NAMES)
