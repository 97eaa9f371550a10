"""Events that a model sends in a realtime session: https://platform.openai.com/docs/api-reference/realtime-server-events"""

from dataclasses import dataclass
from typing import Final

import msgspec

from gateway.domain.calls import Usage
from gateway.endpoints.lenient import decoder
from gateway.endpoints.output_parts import OutputParts, PartEvent
from gateway.endpoints.usage_parsing import Details, ReportedUsage, reported_usage

HEARD: Final = "conversation.item.input_audio_transcription.completed"
MAX_AUDIO_S: Final = 10**7


class _Usage(ReportedUsage):
    # In the singular here.
    input_token_details: Details | None = None
    output_token_details: Details | None = None
    # Of a transcription that is paid by the time.
    seconds: float | None = None


class _Response(msgspec.Struct):
    id: str | None = None
    status: str | None = None
    usage: _Usage | None = None


class _Event(PartEvent):
    response_id: str | None = None
    response: _Response | None = None
    usage: _Usage | None = None


@dataclass(slots=True)
class ServerEvent:
    """What matters of one event. `usage` is final, for one response or one transcription."""

    kind: str
    response_id: str | None = None
    status: str | None = None
    usage: Usage | None = None
    said_tokens: float = 0.0


_decode_event = decoder(_Event)


def read_server_event(message: str, parts: OutputParts) -> ServerEvent:
    """Never raises: an event that cannot be parsed is passed on unchanged. `parts` are those of the session."""
    data = message.encode(errors="surrogatepass")
    event: _Event | None = _decode_event(data)
    if event is None:
        return ServerEvent("")
    seen = ServerEvent(event.type, event.response_id)
    if event.response is not None:
        seen.response_id, seen.status = event.response.id, event.response.status
        if event.type == "response.done" and event.response.usage is not None:
            seen.usage = _read(event.response.usage)
    elif event.type == HEARD and event.usage is not None:
        seen.usage = _read_heard(event.usage)
    elif event.type.startswith("response."):
        seen.said_tokens = parts.count(event, data)
    return seen


def _read(usage: _Usage) -> Usage | None:
    """Text, sound and pictures together: prices are by the token, whatever it is made of."""
    taken, given = usage.input_token_details, usage.output_token_details
    return reported_usage(
        usage.input_tokens or 0,
        usage.output_tokens or 0,
        cached_tokens=taken.cached_tokens if taken else None,
        reasoning_tokens=given.reasoning_tokens if given else None,
        audio_prompt_tokens=taken.audio_tokens if taken else None,
        audio_completion_tokens=given.audio_tokens if given else None,
    )


def _read_heard(usage: _Usage) -> Usage | None:
    if (reported := _read(usage)) is not None:
        return reported
    seconds = usage.seconds
    if seconds is not None and 0 < seconds <= MAX_AUDIO_S:
        return Usage(audio_ms=round(seconds * 1000))
    return None
