"""Events of `chat/completions` and `completions` streams."""

from typing import Any, Final

import msgspec

from gateway.domain.estimates import estimate_text
from gateway.endpoints.lenient import decoder, decoder_or_none
from gateway.endpoints.realtime_events import SOUND_BYTES_A_TOKEN
from gateway.endpoints.usage_parsing import ParsedUsage, ReportedUsage, estimate_said, read_answer

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
    service_tier: Any = None


class _Sound(msgspec.Struct):
    id: str | None = None


class _Message(msgspec.Struct):
    audio: _Sound | None = None


class _AnswerChoice(msgspec.Struct):
    message: _Message | None = None


class _ChatAnswer(msgspec.Struct):
    choices: list[_AnswerChoice] | None = None


_decode_chunk = decoder(_Chunk)
_decode_answer = decoder(_ChatAnswer)
_decode_text = msgspec.json.Decoder(str).decode
_decode_images = decoder_or_none(list[msgspec.Raw])
_decode_sound = decoder_or_none(dict[str, Any])


def read_chat_answer(data: bytes) -> ParsedUsage | None:
    """A whole answer."""
    reading = read_answer(data)
    if reading is not None and b'"audio"' in data and (answer := _decode_answer(data)) is not None:
        messages = [choice.message for choice in answer.choices or () if choice.message is not None]
        reading.item_ids = tuple(m.audio.id for m in messages if m.audio is not None and m.audio.id)
    return reading


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
    if chunk.usage is not None and (usage := chunk.usage.read(chunk.service_tier)) is not None:
        is_finished = any(choice.finish_reason is not None for choice in chunk.choices or ())
        if reading.says_something and not is_finished and not reading.is_error:
            # Beside output, in the middle: what had been used by then.
            reading.so_far = usage
        else:
            reading.usage, reading.litellm_nano_usd = usage, chunk.usage.litellm_nano_usd
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
        if name == "audio" and (sound := _decode_sound(value)) and isinstance(sound.get("id"), str):
            reading.item_ids += (sound["id"],)
    if choice.finish_reason is not None:
        reading.says_something = True


def _tokens_of(name: str, value: bytes) -> float:
    """Of one field of a delta: what is not known is counted by its bytes."""
    if value.startswith(b'"'):
        try:
            return estimate_said(_decode_text(value))
        except (msgspec.MsgspecError, UnicodeError):
            return estimate_text(value)
    if name == "audio" and (sound := _decode_sound(value)) is not None:
        return _tokens_of_sound(sound)
    if name == "images":
        images: list[msgspec.Raw] | None = _decode_images(value)
        return float(TOKENS_PER_IMAGE * len(images or (None,)))
    return max(1.0, estimate_text(value))


def _tokens_of_sound(sound: dict[str, Any]) -> float:
    data, transcript = sound.get("data"), sound.get("transcript")
    tokens = len(data) * 3 / 4 / SOUND_BYTES_A_TOKEN if isinstance(data, str) else 0.0
    return max(1.0, tokens + (estimate_said(transcript) if isinstance(transcript, str) and transcript else 0.0))
