"""Transcriptions and translations: forms with an audio file. A second is 16,000 bytes. Models with `seconds` in their
name bill those, others a token for each tenth of a second and each word of the transcript.
"""

from typing import Any, ClassVar, Literal

import msgspec
from starlette.datastructures import UploadFile
from starlette.requests import Request

from deploy.embedded.model_server.at_once import AtOnce, Made
from deploy.embedded.model_server.calls import Call, Calls
from deploy.embedded.model_server.faults import bad_request
from deploy.embedded.model_server.plan import Refused, directives
from deploy.embedded.model_server.words import count_words, seed_of, sentence

BYTES_A_SECOND = 16_000
WORDS = 12


class Transcripts(AtOnce):
    """The transcript is derived from the file's size and the prompt with its directives, including [tokens]."""

    said_in: ClassVar = "prompt"

    def __init__(self, name: Literal["transcriptions", "translations"], calls: Calls) -> None:
        super().__init__(calls)
        self.name = name

    async def read(self, request: Request) -> dict[str, Any]:
        """The form's fields, and the file's size as a field of its own."""
        async with request.form(max_part_size=1024 * 1024) as form:
            fields: dict[str, Any] = {name: value for name, value in form.items() if isinstance(value, str)}
            fields["stream"] = fields.get("stream", "").lower() == "true"
            file = form.get("file")
            fields["file"] = await _size_of(file) if isinstance(file, UploadFile) else 0
        return fields

    def make(self, body: dict[str, Any], text: str, call: Call, *, tells_usage: bool) -> Made:
        if not body["file"]:
            raise Refused(bad_request("'file' is missing or empty."))
        heard = sentence(seed_of(text), int(directives(text).get("tokens", WORDS))).strip()
        usage = self._bill(call, body["file"], text, heard)
        reported = {"usage": usage} if tells_usage else {}
        if call.stream:
            return Made(b"".join(_events(heard, reported)), "text/event-stream")
        return _formed(body.get("response_format", "json"), heard, call.audio_ms / 1000, reported)

    @staticmethod
    def _bill(call: Call, size: int, prompt: str, text: str) -> dict[str, Any]:
        call.audio_ms = size * 1000 // BYTES_A_SECOND
        if "seconds" in call.model:
            return {"type": "duration", "seconds": call.audio_ms / 1000}
        heard = call.audio_ms // 100
        call.prompt_tokens, call.completion_tokens = heard + count_words(prompt), count_words(text)
        return {
            "type": "tokens",
            "input_tokens": call.prompt_tokens,
            "output_tokens": call.completion_tokens,
            "total_tokens": call.prompt_tokens + call.completion_tokens,
            "input_token_details": {"audio_tokens": heard, "text_tokens": count_words(prompt)},
        }


async def _size_of(file: UploadFile) -> int:
    size = 0
    while piece := await file.read(1024 * 1024):
        size += len(piece)
    return size


def _formed(form: str, text: str, seconds: float, reported: dict[str, Any]) -> Made:
    if form == "text":
        return Made(f"{text}\n".encode(), "text/plain; charset=utf-8")
    if form == "srt":
        until = f"{seconds:06.3f}".replace(".", ",")
        return Made(f"1\n00:00:00,000 --> 00:00:{until}\n{text}\n".encode(), "text/plain; charset=utf-8")
    if form == "verbose_json":
        whole = {"task": "transcribe", "language": "en", "duration": seconds, "text": text, "segments": []}
        return Made.of(whole | reported)
    return Made.of({"text": text} | reported)


def _events(text: str, reported: dict[str, Any]) -> Any:
    for word in text.split():
        yield _event({"type": "transcript.text.delta", "delta": word + " "})
    yield _event({"type": "transcript.text.done", "text": text} | reported)


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(data) + b"\n\n"
