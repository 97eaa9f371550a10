"""`images/generations` and `audio/speech`: no tokens are reserved; what is told, or the price of a unit, is charged."""

from gateway.domain.calls import Usage
from gateway.domain.errors import GatewayError
from gateway.endpoints.requests import (
    MOST_CHOICES,
    Call,
    check_fields,
    decode_fields,
    encode_fields,
    read,
    read_count,
    read_model,
    read_stream,
)
from gateway.upstream.client import Body


def parse_images(body: bytes) -> Call:
    """`POST /v1/images/generations`."""
    fields = decode_fields(body)
    model = read_model(fields)
    check_fields(fields)
    if not read(fields, "prompt", str | None, "a text"):
        raise GatewayError("invalid_request", "'prompt' is missing; say what the image shows.", param="prompt")
    count = read_count(fields, "n", MOST_CHOICES) or 1
    return _media_call(model, encode_fields(fields), Usage(images=count), is_streamed=read_stream(fields))


def parse_speech(body: bytes) -> Call:
    """`POST /v1/audio/speech`."""
    fields = decode_fields(body)
    model = read_model(fields)
    check_fields(fields)
    text = read(fields, "input", str | None, "a text")
    if not text:
        raise GatewayError("invalid_request", "'input' is missing; send the text to be spoken.", param="input")
    return _media_call(model, encode_fields(fields), Usage(characters=len(text)), is_streamed=False)


def _media_call(model: str, body: Body, units: Usage, *, is_streamed: bool) -> Call:
    return Call(
        model=model,
        body=body,
        is_streamed=is_streamed,
        wants_usage=True,
        prompt_tokens=0.0,
        prompt_bytes=0,
        maximum=0,
        choices=1,
        units=units,
        counts_no_tokens=True,
    )
