"""Events of `chat/completions` and `completions` streams."""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from gateway.domain.estimates import estimate_text
from gateway.endpoints.lenient import decoder, decoder_or_none
from gateway.endpoints.output_estimates import EMPTY, SOUND_BYTES_A_TOKEN, TOKENS_PER_IMAGE, estimate_unknown
from gateway.endpoints.usage_parsing import A_SEARCH, CITES, ParsedUsage, ReportedUsage, estimate_said, read_answer


class _Choice(msgspec.Struct):
    delta: dict[str, msgspec.Raw] | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Choices(msgspec.Struct):
    choices: list[msgspec.Raw] | None = None


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


_decode_answer = decoder(_ChatAnswer)
# What stands beside the output and is none: names, state, the prompt, links that a provider found, sizes and times.
_SILENT_IN_CHOICE: Final = (
    "index", "logprobs", "stop_reason", "matched_stop", "native_finish_reason", "token_ids", "prompt_token_ids",
    "content_filter_results", "content_filter_offsets", "content_filter_result", "safety_ratings", "seed",
    "hidden_states", "prompt_logprobs", "provider_specific_fields",
)  # fmt: skip
_SILENT: Final = (
    "id", "object", "created", "system_fingerprint", "provider", "obfuscation", "citations", "search_results",
    "prompt_filter_results", "prompt_annotations", "prompt_logprobs", "prompt_token_ids", "provider_specific_fields",
    "x_groq", "timings", "kv_transfer_params", "metadata",
)  # fmt: skip


def _with(known: type[msgspec.Struct], silent: Iterable[str], *fields: tuple[str, Any, Any]) -> Any:
    """The same struct, which takes no other fields than its own and these."""
    raws = [(name, msgspec.Raw, msgspec.Raw()) for name in silent]
    return msgspec.defstruct(f"Only{known.__name__}", [*raws, *fields], bases=(known,), forbid_unknown_fields=True)


_OnlyChoice: Any = _with(_Choice, _SILENT_IN_CHOICE)
_OnlyChunk: Any = _with(_Chunk, _SILENT, ("choices", list[_OnlyChoice] | None, None))
_decode_known_chunk = decoder_or_none(_OnlyChunk)
_decode_chunk = decoder(_Chunk)
_decode_choices = decoder_or_none(_Choices)
_KNOWN: Final = frozenset(_Chunk.__struct_fields__) | frozenset(_SILENT)
_KNOWN_IN_CHOICE: Final = frozenset(_Choice.__struct_fields__) | frozenset(_SILENT_IN_CHOICE)
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
    chunk: _Chunk | None = _decode_known_chunk(data)
    reading = ParsedUsage(ran=A_SEARCH if CITES in data else None)
    if chunk is None:
        if (chunk := _decode_chunk(data)) is None:
            return None
        _count_unknown(data, reading)
    reading.model = chunk.model
    if bytes(chunk.error) not in EMPTY:
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


def _count_unknown(data: bytes, reading: ParsedUsage) -> None:
    """Fields beside the deltas that nobody documents. Those beside the choices make a chunk with usage no output."""
    found: _Choices | None = _decode_choices(data)
    choices = (found.choices if found else None) or ()
    in_choices = sum(estimate_unknown(bytes(raw), _KNOWN_IN_CHOICE) for raw in choices)
    reading.says_something = in_choices > 0
    reading.said_tokens = in_choices + estimate_unknown(data, _KNOWN)


def _count(choice: _Choice, reading: ParsedUsage) -> None:
    if choice.text:
        reading.said_tokens += estimate_said(choice.text)
        reading.says_something = True
    for name, raw in (choice.delta or {}).items():
        value = bytes(raw)
        if value in EMPTY:
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
