"""Transcriptions and translations: forms with a sound. A second is 16,000 bytes; models with `seconds` in their name
bill those, others a token for each tenth of a second and each word they say."""

from typing import Any, Literal

import msgspec
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from deploy.embedded.model_server.calls import Call, Calls
from deploy.embedded.model_server.endpoint import open_call, refused
from deploy.embedded.model_server.faults import REFUSALS, bad_request, fault_of
from deploy.embedded.model_server.plan import directives
from deploy.embedded.model_server.words import count_words, seed_of, sentence

BYTES_A_SECOND = 16_000
WORDS = 12


class Transcripts:
    """What is heard follows from the file's size and the prompt, whose directives count: [mark] [fault] [tokens]."""

    def __init__(self, name: Literal["transcriptions", "translations"], calls: Calls) -> None:
        self._name = name
        self._calls = calls

    async def create(self, request: Request) -> Response:
        async with request.form(max_part_size=1024 * 1024) as form:
            fields: dict[str, Any] = {name: value for name, value in form.items() if isinstance(value, str)}
            fields["stream"] = fields.get("stream", "").lower() == "true"
            file = form.get("file")
            size = await _size_of(file) if isinstance(file, UploadFile) else 0
        call = open_call(self._calls, self._name, request, fields)
        prompt = str(fields.get("prompt", ""))
        asked = directives(prompt)
        call.mark = asked.get("mark")
        if refusal := REFUSALS.get(fault_of(call.model, asked.get("fault")) or ""):
            return refused(self._calls, call, refusal)
        if not size:
            return refused(self._calls, call, bad_request("'file' is missing or empty."))
        text = sentence(seed_of(prompt), int(asked.get("tokens", WORDS))).strip()
        usage = self._bill(call, size, prompt, text)
        self._calls.close(call, "complete")
        if call.stream:
            return StreamingResponse(_events(text, usage), media_type="text/event-stream")
        return _formed(fields.get("response_format", "json"), text, call.audio_ms / 1000, usage)

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


def _formed(form: str, text: str, seconds: float, usage: dict[str, Any]) -> Response:
    if form == "text":
        return Response(text + "\n", media_type="text/plain")
    if form == "srt":
        until = f"{seconds:06.3f}".replace(".", ",")
        return Response(f"1\n00:00:00,000 --> 00:00:{until}\n{text}\n", media_type="text/plain")
    if form == "verbose_json":
        whole = {"task": "transcribe", "language": "en", "duration": seconds, "text": text, "segments": []}
        return _json(whole | {"usage": usage})
    return _json({"text": text, "usage": usage})


def _events(text: str, usage: dict[str, Any]) -> Any:
    for word in text.split():
        yield _event({"type": "transcript.text.delta", "delta": word + " "})
    yield _event({"type": "transcript.text.done", "text": text, "usage": usage})


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(data) + b"\n\n"


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
