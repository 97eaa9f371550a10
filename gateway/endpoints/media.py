"""`images/generations`, `images/edits` and `audio/speech`: no tokens are reserved; reported usage or the price per
unit is charged."""

from typing import Final, Literal

from msgspec.structs import replace

from gateway.domain.call_shapes import Media
from gateway.domain.calls import Usage
from gateway.domain.errors import GatewayError
from gateway.domain.estimates import estimate_text
from gateway.endpoints.allowed_fields import ALLOWED_FIELDS, AllowedFields
from gateway.endpoints.forms import form_body, read_fields, read_files, refuse_form_stream
from gateway.endpoints.requests import (
    MAX_CHOICES,
    Call,
    check_fields,
    check_model_name,
    decode_fields,
    encode_fields,
    read,
    read_count,
    read_model,
    refuse_stream,
)
from gateway.upstream.client import Body
from gateway.web.uploads import Upload

# A square of medium quality: https://platform.openai.com/docs/guides/image-generation#cost-and-latency
TOKENS_PER_IMAGE: Final = 1056
# OpenAI takes as many: https://platform.openai.com/docs/api-reference/images/createEdit
EDITED: Final = {"image": 16, "mask": 1}
# About fifteen letters a second, and twenty tokens of sound.
TOKENS_PER_CHARACTER: Final = 1.4


def parse_images(body: bytes, allowed: AllowedFields = ALLOWED_FIELDS, path_model: str | None = None) -> Call:
    """`POST /v1/images/generations`."""
    fields = decode_fields(body, path_model)
    model = read_model(fields)
    check_fields("images", fields, allowed)
    prompt = read(fields, "prompt", str | None, "a text")
    if not prompt:
        raise GatewayError("invalid_request", "'prompt' is missing; say what the image shows.", param="prompt")
    count = read_count(fields, "n", MAX_CHOICES) or 1
    refuse_stream(fields)
    return _media_call(model, encode_fields(fields), Usage(images=count), "image", prompt, TOKENS_PER_IMAGE * count)


def parse_image_edit(upload: Upload, allowed: AllowedFields = ALLOWED_FIELDS) -> Call:
    """`POST /v1/images/edits`: a form with `model`, `prompt`, images and perhaps a mask; raises GatewayError
    `invalid_request`, `parameter_not_allowed`."""
    fields = read_fields("image_edits", upload, allowed)
    files = read_files(upload, EDITED)
    if not any(file.name in ("image", "image[]") for file in files):
        raise GatewayError("invalid_request", "'image' is missing; send the image as a file.", param="image")
    if len({file.name for file in files} - {"mask"}) > 1:
        raise GatewayError("invalid_request", "Send all images as 'image', or all as 'image[]'.", param="image")
    refuse_form_stream(fields, "Images")
    prompt = fields.get("prompt", "")
    if not prompt:
        raise GatewayError("invalid_request", "'prompt' is missing; say how the image changes.", param="prompt")
    count = _count(fields.get("n", "1"))
    model = check_model_name(fields.get("model", ""))
    units = Usage(images=count)
    said = round(estimate_text(prompt.encode(errors="surrogatepass")))
    estimate = replace(
        units, prompt_tokens=said + TOKENS_PER_IMAGE * len(files), completion_tokens=TOKENS_PER_IMAGE * count
    )
    return Call.without_prompt(model, form_body(upload), units=units, media=Media("image", estimate))


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MAX_CHOICES)) and 1 <= int(text) <= MAX_CHOICES):
        message = f"'n' must be a whole number from 1 to {MAX_CHOICES}."
        raise GatewayError("invalid_request", message, param="n")
    return int(text)


def parse_speech(body: bytes, allowed: AllowedFields = ALLOWED_FIELDS, path_model: str | None = None) -> Call:
    """`POST /v1/audio/speech`."""
    fields = decode_fields(body, path_model)
    model = read_model(fields)
    check_fields("speech", fields, allowed)
    text = read(fields, "input", str | None, "a text")
    if not text:
        raise GatewayError("invalid_request", "'input' is missing; send the text to be spoken.", param="input")
    refuse_stream(fields)
    if read(fields, "stream_format", str | None, "a text") not in (None, "audio"):
        message = "Speech is sent as sound only; leave 'stream_format' out."
        raise GatewayError("parameter_not_allowed", message, param="stream_format")
    sound = round(TOKENS_PER_CHARACTER * len(text))
    return _media_call(model, encode_fields(fields), Usage(characters=len(text)), "character", text, sound)


def _media_call(
    model: str, body: Body, units: Usage, unit: Literal["image", "character"], text: str, tokens: int
) -> Call:
    said = round(estimate_text(text.encode(errors="surrogatepass")))
    media = Media(unit, replace(units, prompt_tokens=said, completion_tokens=tokens))
    return Call.without_prompt(model, body, units=units, media=media)
