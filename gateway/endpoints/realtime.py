"""`WebSocket /v1/realtime`: what a caller may send in the query, in subprotocols and in events.

https://platform.openai.com/docs/api-reference/realtime-client-events
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, quote

import msgspec

from gateway.domain.errors import GatewayError
from gateway.domain.estimates import TOKENS_PER_ATTACHMENT, TOKENS_PER_MESSAGE, estimate_text
from gateway.endpoints.allowed_fields import ALLOWED_FIELDS, AllowedFields
from gateway.endpoints.requests import Call, Fields, check_fields, check_model_name, decode_fields, read

NAME: Final = "realtime"
PATH: Final = "/v1/realtime"
# Azure calls the model a deployment.
MODEL_NAMES: Final = ("model", "deployment")
MODE: Final = "realtime"
SUBPROTOCOL: Final = "realtime"
KEY_PROTOCOL: Final = "openai-insecure-api-key."
BETA_PROTOCOL: Final = "openai-beta.realtime-v1"
# What is reserved when a session begins, so that a spent limit refuses it: each response then takes its own.
FIRST_TOKENS: Final = 1
# LiteLLM takes these for itself; a transcription has no model of its own in the query.
STEERING_QUERY: Final = ("intent", "guardrails")
# 24 kHz PCM16, of which providers make ten tokens a second.
SOUND_BYTES_A_TOKEN: Final = 4800
_UPDATES: Final = ("session.update", "transcription_session.update")


def read_query(query: bytes) -> str:
    """The model's name. Raises `invalid_request`, `model_in_query`, `parameter_not_allowed`. The rest is dropped."""
    try:
        asked = parse_qsl(query.decode("ascii"), keep_blank_values=True, max_num_fields=100, errors="strict")
    except ValueError:
        raise GatewayError("invalid_request", "The query cannot be read.") from None
    for name, _ in asked:
        if name in STEERING_QUERY:
            message = f"The query's '{name}' is not available here; leave it out."
            raise GatewayError("parameter_not_allowed", message, param=name)
    models = [value for name, value in asked if name in MODEL_NAMES]
    if len(models) > 1:
        raise GatewayError("model_in_query", "The query names more than one model; name one.", param="model")
    return check_model_name(models[0] if models else "")


def upstream_query(model: str) -> str:
    """The only query that is sent on."""
    return f"model={quote(model, safe='')}"


@dataclass(frozen=True, slots=True)
class Subprotocols:
    """The subprotocols a caller offers: a browser can send its key nowhere else."""

    keys: tuple[str, ...]
    is_beta: bool
    chosen: str | None

    @classmethod
    def read(cls, offered: Sequence[str]) -> "Subprotocols":
        """Raises `invalid_request` if protocols are offered without `realtime`: a browser closes a
        connection that chose nothing, and a key must not be sent back."""
        keys = tuple(one[len(KEY_PROTOCOL) :] for one in offered if one.startswith(KEY_PROTOCOL))
        if offered and SUBPROTOCOL not in offered:
            raise GatewayError(
                "invalid_request", f"Offer the subprotocol '{SUBPROTOCOL}' too; it is the one spoken here."
            )
        return cls(keys, BETA_PROTOCOL in offered, SUBPROTOCOL if offered else None)


def new_call(model: str) -> Call:
    """A session as admission sees it: a request, of hardly any tokens yet."""
    return Call(
        model=model,
        body=b"",
        is_streamed=True,
        wants_usage=True,
        prompt_tokens=float(FIRST_TOKENS),
        prompt_bytes=FIRST_TOKENS,
        maximum=0,
        choices=1,
        is_unbounded=True,
    )


@dataclass(frozen=True, slots=True)
class ClientEvent:
    """One event of the caller, checked. `text` goes upstream; `tokens` is what it adds to the conversation."""

    kind: str
    text: str
    tokens: float
    event_id: str | None


def read_client_event(
    message: str, model: str, may_call: Callable[[str], bool], allowed: AllowedFields = ALLOWED_FIELDS
) -> ClientEvent:
    """Checks one event; `may_call(name)` says whether the key has that model too.

    Raises `invalid_json`, `invalid_request`, `parameter_not_allowed`, `model_not_found`."""
    try:
        fields = decode_fields(message.encode(errors="surrogatepass"))
    except GatewayError as error:
        error.message = error.message.replace("The request body", "The event")
        raise
    kind = read(fields, "type", str, "a string")
    if not kind:
        raise GatewayError("invalid_request", "The event has no 'type'.", param="type")
    event_id = read(fields, "event_id", str | None, "a string")
    tokens = 0.0
    if kind in _UPDATES:
        _check_session(fields, model, may_call, allowed)
    elif kind == "response.create":
        _check_response(fields, model, allowed)
    elif kind == "conversation.item.create":
        tokens = TOKENS_PER_MESSAGE + _estimate(msgspec.json.decode(fields.get("item", msgspec.Raw(b"null"))))
    elif kind == "input_audio_buffer.append":
        tokens = len(memoryview(fields.get("audio", msgspec.Raw(b'""')))) * 3 / 4 / SOUND_BYTES_A_TOKEN
    return ClientEvent(kind[:100], msgspec.json.encode(fields).decode(), tokens, event_id)


def _check_session(fields: Fields, model: str, may_call: Callable[[str], bool], allowed: AllowedFields) -> None:
    session = read(fields, "session", dict[str, msgspec.Raw] | None, "an object") or {}
    check_fields(NAME, session, allowed)
    _check_same_model(session, model)
    heard_by: list[Any] = [read(session, "input_audio_transcription", Any, "an object")]
    audio = read(session, "audio", Any, "an object")
    if isinstance(audio, dict) and isinstance(audio.get("input"), dict):
        heard_by.append(audio["input"].get("transcription"))
    for transcription in heard_by:
        named = transcription.get("model") if isinstance(transcription, dict) else None
        if named is not None and named != model and not (isinstance(named, str) and may_call(named)):
            message = f"The model '{str(named)[:100]}' does not exist or this API key may not use it."
            raise GatewayError("model_not_found", message, param="session.audio.input.transcription.model")
    fields["session"] = _rewrite(session)


def _check_response(fields: Fields, model: str, allowed: AllowedFields) -> None:
    response = read(fields, "response", dict[str, msgspec.Raw] | None, "an object")
    if response is None:
        return
    check_fields(NAME, response, allowed)
    _check_same_model(response, model)
    fields["response"] = _rewrite(response)


def _check_same_model(fields: Fields, model: str) -> None:
    named = read(fields, "model", Any, "a string")
    if named is not None and named != model:
        message = f"A session keeps the model it began with, '{model}'; open another session for another model."
        raise GatewayError("parameter_not_allowed", message, param="model")


def _rewrite(fields: Fields) -> msgspec.Raw:
    """Decoded and written again, so that a key that stands in it twice, at any depth, is sent as it was checked."""
    return msgspec.Raw(msgspec.json.encode(msgspec.json.decode(msgspec.json.encode(fields))))


def _estimate(item: Any) -> float:
    if isinstance(item, str):
        return estimate_text(item.encode(errors="surrogatepass"))
    if isinstance(item, list):
        return sum(map(_estimate, item))
    if not isinstance(item, dict):
        return 0.0
    if isinstance(item.get("audio"), str):
        return len(item["audio"]) * 3 / 4 / SOUND_BYTES_A_TOKEN
    if "image_url" in item:
        return float(TOKENS_PER_ATTACHMENT)
    return sum(
        _estimate(item[name]) for name in ("content", "text", "transcript", "output", "arguments") if name in item
    )
