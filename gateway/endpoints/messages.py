"""`POST /v1/messages` and `/v1/messages/count_tokens`: Anthropic's chat. https://docs.anthropic.com/en/api/messages"""

from typing import Final

from msgspec.structs import replace

from gateway.domain.errors import GatewayError
from gateway.endpoints.allowed_fields import ALLOWED_FIELDS, AllowedFields
from gateway.endpoints.paid_tools import find_paid_tools
from gateway.endpoints.prompts import Attachments, Content, Messages, estimate_content, estimate_messages, estimate_raw
from gateway.endpoints.requests import (
    Call,
    Fields,
    asks_to_reason,
    check_fields,
    decode_fields,
    encode_fields,
    read,
    read_maximum,
    read_model,
    read_service_tier,
    read_stream,
)

# Anthropic: no completion, only the prompt's cache is written.
ZERO_WRITES_THE_CACHE: Final = 0


def parse_messages(body: bytes, allowed: AllowedFields = ALLOWED_FIELDS, path_model: str | None = None) -> Call:
    """Checks the body and says what it asks for; raises GatewayError with a 4xx."""
    return _parse("messages", body, allowed, path_model)


def parse_count(body: bytes, allowed: AllowedFields = ALLOWED_FIELDS, path_model: str | None = None) -> Call:
    """Takes no tokens, costs nothing, and counts as no request."""
    call = _parse("count_tokens", body, allowed, path_model)
    return replace(
        call, is_streamed=False, prompt_tokens=0.0, prompt_bytes=0, maximum=0, is_free=True, counts_tokens=True
    )


def _parse(endpoint: str, body: bytes, allowed: AllowedFields, path_model: str | None) -> Call:
    fields = decode_fields(body, path_model)
    model = read_model(fields)
    tools = check_fields(endpoint, fields, allowed)
    found = Attachments()
    prompt_tokens = _estimate(fields, found)
    return Call(
        model=model,
        body=encode_fields(fields),
        is_streamed=read_stream(fields),
        # Nothing is put in, so nothing is taken out.
        wants_usage=True,
        prompt_tokens=prompt_tokens,
        prompt_bytes=found.bound(body),
        hides_prompt=found.count > 0,
        maximum=read_maximum(fields, ("max_tokens",), ZERO_WRITES_THE_CACHE),
        choices=1,
        asks_to_reason=asks_to_reason(fields),
        service_tier=read_service_tier(fields),
        tier_to_price=allowed.tier_to_price(endpoint, fields),
        paid_tools=find_paid_tools(fields, tools),
        attachments=found.count,
    )


def _estimate(fields: Fields, found: Attachments) -> float:
    messages = read(fields, "messages", Messages, "a list of messages, each an object with a role and content")
    if not messages:
        raise GatewayError("invalid_request", "'messages' is missing; send at least one message.", param="messages")
    system: Content = read(fields, "system", Content, "a text or a list of text blocks")
    return estimate_messages(messages, found) + estimate_content(system, found) + estimate_raw(fields.get("tools"))
