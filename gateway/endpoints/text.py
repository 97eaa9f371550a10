"""Endpoints that take plain text: `completions`, `embeddings`, `moderations`, `rerank`."""

from typing import Any

import msgspec

from gateway.domain.calls import Usage
from gateway.domain.errors import GatewayError
from gateway.domain.estimates import TOKENS_PER_ATTACHMENT, estimate_text
from gateway.endpoints.allowed_fields import ALLOWED_FIELDS, AllowedFields
from gateway.endpoints.chat import ask_for_usage
from gateway.endpoints.prompts import Attachments, is_attachment
from gateway.endpoints.requests import (
    MAX_CHOICES,
    Call,
    Fields,
    check_fields,
    decode_fields,
    encode_fields,
    read,
    read_count,
    read_maximum,
    read_model,
    read_stream,
    refuse_stream,
)


def parse_completion(body: bytes, allowed: AllowedFields = ALLOWED_FIELDS, path_model: str | None = None) -> Call:
    """`POST /v1/completions`."""
    fields = decode_fields(body, path_model)
    model = read_model(fields)
    check_fields("completions", fields, allowed)
    is_streamed = read_stream(fields)
    prompts, tokens = estimate_input(fields, "prompt")
    choices = max(read_count(fields, "n", MAX_CHOICES) or 1, read_count(fields, "best_of", MAX_CHOICES) or 1)
    wants_usage = ask_for_usage(fields, is_streamed=is_streamed)
    return Call(
        model=model,
        body=encode_fields(fields),
        is_streamed=is_streamed,
        wants_usage=wants_usage,
        prompt_tokens=tokens,
        prompt_bytes=len(body),
        maximum=read_maximum(fields, ("max_tokens",), lower_bound=0),
        choices=min(MAX_CHOICES, choices * prompts),
    )


def parse_embedding(body: bytes, allowed: AllowedFields = ALLOWED_FIELDS, path_model: str | None = None) -> Call:
    """`POST /v1/embeddings`."""
    return _without_completion("embeddings", body, allowed, path_model)


def parse_moderation(body: bytes, allowed: AllowedFields = ALLOWED_FIELDS, path_model: str | None = None) -> Call:
    """`POST /v1/moderations`."""
    return _without_completion("moderations", body, allowed, path_model)


def parse_ranking(body: bytes, allowed: AllowedFields = ALLOWED_FIELDS, path_model: str | None = None) -> Call:
    """`POST /v1/rerank`: each document is compared with the query."""
    return _without_completion("rerank", body, allowed, path_model)


def _without_completion(endpoint: str, body: bytes, allowed: AllowedFields, path_model: str | None) -> Call:
    fields = decode_fields(body, path_model)
    model = read_model(fields)
    check_fields(endpoint, fields, allowed)
    refuse_stream(fields)
    found = Attachments()
    is_ranking = endpoint == "rerank"
    _, tokens = estimate_input(fields, "documents" if is_ranking else "input", found)
    if is_ranking:
        tokens += estimate_text((read(fields, "query", str | None, "a string") or "").encode(errors="surrogatepass"))
    return Call(
        model=model,
        body=encode_fields(fields),
        is_streamed=False,
        wants_usage=True,
        prompt_tokens=tokens,
        prompt_bytes=found.bound(body),
        hides_prompt=found.count > 0,
        attachments=found.count,
        maximum=0,
        choices=1,
        units=Usage(queries=1) if is_ranking else Usage(),
    )


def estimate_input(fields: Fields, name: str, found: Attachments | None = None) -> tuple[int, float]:
    """(how many inputs, tokens of all): a text, a list of texts or of parts, token numbers, lists of those. Pictures
    among them are added to `found`; without it all is text."""
    value: Any = read(fields, name, Any, "a text, or a list of texts")
    if value is None or value == "" or value == []:
        raise GatewayError("invalid_request", f"'{name}' is missing; send a text or a list of texts.", param=name)
    if not isinstance(value, str | list | dict):
        raise GatewayError("invalid_request", f"'{name}' must be a text or a list of texts.", param=name)
    if isinstance(value, list) and not all(isinstance(item, int) for item in value):
        return len(value), sum(_estimate(item, found) for item in value)
    return 1, _estimate(value, found)


def _estimate(item: Any, found: Attachments | None) -> float:
    if found is not None and (size := _picture_size(item)):
        found.add(size)
        return float(TOKENS_PER_ATTACHMENT)
    if isinstance(item, str):
        return estimate_text(item.encode(errors="surrogatepass"))
    if isinstance(item, int):
        return 1.0
    if isinstance(item, list):
        is_numbers = all(isinstance(i, int) for i in item)
        return float(len(item)) if is_numbers else sum(_estimate(inner, found) for inner in item)
    if isinstance(item, dict) and isinstance(text := item.get("text"), str):
        return estimate_text(text.encode(errors="surrogatepass"))
    return estimate_text(msgspec.json.encode(item))


def _picture_size(item: Any) -> int:
    """Bytes of the body that are a picture; 0: it is something else."""
    if isinstance(item, str):
        # Models that embed pictures too take them as texts of this form.
        return len(item.encode(errors="surrogatepass")) if item.startswith("data:") and ";base64," in item[:200] else 0
    if isinstance(item, dict) and is_attachment(item):
        return len(msgspec.json.encode(item))
    return 0
