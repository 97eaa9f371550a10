"""Events of `chat/completions` and `completions` streams."""

from typing import Any, Final

import msgspec

from gateway.domain.estimates import estimate_text
from gateway.endpoints.lenient import decoder
from gateway.endpoints.realtime_events import SOUND_BYTES_A_TOKEN
from gateway.endpoints.usage_parsing import ParsedUsage, ReportedUsage, estimate_said

# Of an image that a model draws: https://platform.openai.com/docs/guides/image-generation#cost-and-latency
TOKENS_PER_IMAGE: Final = 1056
# Values of a delta's field that say nothing.
_EMPTY: Final = (b"null", b'""', b"[]", b"{}")


class _Choice(msgspec.Struct):
    delta: dict[str, msgspec.Raw] | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: ReportedUsage | None = None
    error: msgspec.Raw = msgspec.Raw()
    model: str | None = None


_decode_chunk = decoder(_Chunk)
_decode_text = msgspec.json.Decoder(str).decode


def read_chat_event(data: bytes) -> ParsedUsage | None:
    """The usage is in a chunk whose `usage` has a total above 0. That chunk is nothing but the usage if no choice in it
    says anything: LiteLLM 1.106 adds an empty choice, 1.109 does not."""
    chunk: _Chunk | None = _decode_chunk(data)
    if chunk is None:
        return None
    reading = ParsedUsage(model=chunk.model)
    if bytes(chunk.error) not in (b"", b"null"):
        reading.is_error = reading.says_something = True
    for choice in chunk.choices or ():
        _count(choice, reading)
    if chunk.usage is not None and (usage := chunk.usage.read()) is not None:
        reading.usage, reading.cost_usd = usage, chunk.usage.cost_usd
    return reading


def _count(choice: _Choice, reading: ParsedUsage) -> None:
    if choice.text:
        reading.said_tokens += estimate_said(choice.text)
        reading.says_something = True
    for name, raw in (choice.delta or {}).items():
        value = bytes(raw)
        if value in _EMPTY:
            continue
        reading.says_something = True
        if name != "role":
            reading.said_tokens += _tokens_of(name, value)
    if choice.finish_reason is not None:
        reading.says_something = True


def _tokens_of(name: str, value: bytes) -> float:
    """Of one field of a delta: what is not known is counted by its bytes."""
    if value.startswith(b'"'):
        try:
            return estimate_said(_decode_text(value))
        except (msgspec.MsgspecError, UnicodeError):
            return estimate_text(value)
    if name == "audio":
        return _tokens_of_sound(value)
    if name == "images":
        images: list[Any] = msgspec.json.decode(value) if value.startswith(b"[") else [None]
        return float(TOKENS_PER_IMAGE * len(images))
    return max(1.0, estimate_text(value))


def _tokens_of_sound(value: bytes) -> float:
    sound = msgspec.json.decode(value)
    if not isinstance(sound, dict):
        return estimate_text(value)
    data, transcript = sound.get("data"), sound.get("transcript")
    tokens = len(data) * 3 / 4 / SOUND_BYTES_A_TOKEN if isinstance(data, str) else 0.0
    return max(1.0, tokens + (estimate_said(transcript) if isinstance(transcript, str) and transcript else 0.0))
