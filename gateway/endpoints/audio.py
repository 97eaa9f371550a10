"""`audio/transcriptions` and `audio/translations`: forms with a file. No tokens are reserved; reported usage counts.

Fields: https://platform.openai.com/docs/api-reference/audio/createTranscription
"""

from typing import Any, Final

import msgspec

from gateway.domain.call_shapes import Media
from gateway.domain.calls import Usage
from gateway.domain.errors import GatewayError
from gateway.endpoints.allowed_fields import ALLOWED_FIELDS, AllowedFields
from gateway.endpoints.forms import form_body, read_fields, read_files, refuse_form_stream
from gateway.endpoints.lenient import decoder
from gateway.endpoints.requests import Call, check_model_name
from gateway.endpoints.usage_parsing import ParsedUsage, ReportedUsage
from gateway.web.uploads import Upload

MAX_AUDIO_S: Final = 10**7
# 64 kbit/s; and about ten tokens a second is what models that count tokens make of sound.
USUAL_BYTES_A_SECOND: Final = 8000
MAX_BYTES_A_SECOND: Final = 384_000
MS_A_TOKEN: Final = 100
# Of the text: people say two or three words a second.
MS_A_TOKEN_OF_TEXT: Final = 300


def parse_transcription(upload: Upload, allowed: AllowedFields = ALLOWED_FIELDS) -> Call:
    """A form with `model` and `file`; raises GatewayError `invalid_request`, `parameter_not_allowed`."""
    return _parse("transcriptions", upload, allowed)


def parse_translation(upload: Upload, allowed: AllowedFields = ALLOWED_FIELDS) -> Call:
    """The same."""
    return _parse("translations", upload, allowed)


def _parse(endpoint: str, upload: Upload, allowed: AllowedFields) -> Call:
    fields = read_fields(endpoint, upload, allowed)
    files = read_files(upload, {"file": 1})
    if not files:
        raise GatewayError("invalid_request", "'file' is missing; send the sound as a file.", param="file")
    # LiteLLM 1.106 returns the model's raw event stream, including usage, as the transcribed text.
    refuse_form_stream(fields, "Transcriptions")
    estimated = estimate_ms(files[0].begins_with, files[0].size)
    model = check_model_name(fields.get("model", ""))
    units = Usage(prompt_tokens=estimated // MS_A_TOKEN, audio_ms=estimated)
    media = Media("second", tokens_of_sound(estimated), is_estimate=True)
    return Call.without_prompt(model, form_body(upload), units=units, media=media)


def tokens_of_sound(ms: int) -> Usage:
    """The usage of a model that counts tokens: of the audio, and of the transcribed text."""
    return Usage(prompt_tokens=ms // MS_A_TOKEN, completion_tokens=ms // MS_A_TOKEN_OF_TEXT, audio_ms=ms)


def estimate_ms(begins_with: bytes, size: int) -> int:
    """Duration of an audio file, for answers without one: exact for WAV, else from the usual bit rate of speech."""
    a_second = USUAL_BYTES_A_SECOND
    if begins_with[:4] == b"RIFF" and begins_with[8:16] == b"WAVEfmt " and len(begins_with) >= 32:
        # No sound has more: a header that lies must not make it short.
        a_second = min(int.from_bytes(begins_with[28:32], "little") or a_second, MAX_BYTES_A_SECOND)
    return max(1, size * 1000 // a_second)


class _Usage(ReportedUsage):
    seconds: float | None = None


class _Transcript(msgspec.Struct):
    usage: _Usage | None = None
    # `verbose_json`: a number, or a text with one in it.
    duration: Any = None


_decode_transcript = decoder(_Transcript)


def read_transcript(data: bytes) -> ParsedUsage | None:
    """A whole answer in JSON: tokens or seconds. Other formats report no usage."""
    transcript: _Transcript | None = _decode_transcript(data)
    if transcript is None:
        return None
    litellm_nano_usd = transcript.usage.litellm_nano_usd if transcript.usage else None
    return ParsedUsage(usage=_usage_of(transcript), litellm_nano_usd=litellm_nano_usd)


def _usage_of(transcript: _Transcript) -> Usage | None:
    if transcript.usage is not None and (usage := transcript.usage.read()) is not None:
        return usage
    reported = transcript.usage.seconds if transcript.usage else None
    try:
        seconds = float(transcript.duration if reported is None else reported)
    except (TypeError, ValueError, OverflowError):
        return None
    return Usage(audio_ms=round(seconds * 1000)) if 0 < seconds <= MAX_AUDIO_S else None
