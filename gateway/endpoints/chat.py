"""`POST /v1/chat/completions`: OpenAI's chat, streamed or not."""

from typing import Any, Final

import msgspec

from gateway.domain.errors import GatewayError
from gateway.endpoints.allowed_fields import ALLOWED_FIELDS, AllowedFields
from gateway.endpoints.paid_tools import SEARCH_OPTIONS, find_paid_tools
from gateway.endpoints.prompts import Attachments, Messages, estimate_messages, estimate_raw
from gateway.endpoints.requests import (
    MAX_CHOICES,
    Call,
    asks_to_reason,
    check_fields,
    decode_fields,
    encode_fields,
    read,
    read_count,
    read_maximum,
    read_model,
    read_service_tier,
    read_stream,
)
from gateway.endpoints.stored_items import find_spoken_answers

MAXIMUM_FIELDS: Final = ("max_tokens", "max_completion_tokens", "max_output_tokens")


def parse_chat(body: bytes, allowed: AllowedFields = ALLOWED_FIELDS, path_model: str | None = None) -> Call:
    """Checks the body and says what it asks for; raises GatewayError with a 4xx."""
    fields = decode_fields(body, path_model)
    model = read_model(fields)
    tools = check_fields("chat_completions", fields, allowed)
    is_streamed = read_stream(fields)
    messages = read(fields, "messages", Messages, "a list of messages, each an object with a role and content")
    if not messages:
        raise GatewayError("invalid_request", "'messages' is missing; send at least one message.", param="messages")
    found = Attachments()
    prompt_tokens = estimate_messages(messages, found) + estimate_raw(fields.get("tools"))
    prompt_tokens += estimate_raw(fields.get("response_format")) + estimate_raw(fields.get("functions"))
    maximum = read_maximum(fields, MAXIMUM_FIELDS)
    choices = read_count(fields, "n", MAX_CHOICES) or 1
    wants_usage = ask_for_usage(fields, is_streamed=is_streamed)
    spoken = find_spoken_answers(messages)
    return Call(
        model=model,
        body=encode_fields(fields, len(body)),
        is_streamed=is_streamed,
        wants_usage=wants_usage,
        prompt_tokens=prompt_tokens,
        prompt_bytes=found.bound(body),
        hides_prompt=found.count > 0 or spoken is not None or SEARCH_OPTIONS in fields,
        maximum=maximum,
        choices=choices,
        asks_to_reason=asks_to_reason(fields),
        service_tier=read_service_tier(fields),
        tier_to_price=allowed.tier_to_price("chat_completions", fields),
        paid_tools=find_paid_tools(fields, tools),
        attachments=found.count,
        # A spoken answer has an id, under which the provider keeps it for a while.
        is_stored="audio" in fields,
        items=spoken,
    )


def ask_for_usage(fields: dict[str, msgspec.Raw], *, is_streamed: bool) -> bool:
    """Requests the usage in a stream, keeping other stream options. Returns whether the caller had requested it."""
    options: dict[str, Any] = {}
    if "stream_options" in fields:
        options = read(fields, "stream_options", dict[str, Any] | None, "an object") or {}
    wanted = options.get("include_usage")
    if not isinstance(wanted, bool | None):
        message = "'stream_options.include_usage' must be true or false."
        raise GatewayError("invalid_request", message, param="stream_options.include_usage")
    # Only with a stream: OpenAI refuses it elsewhere.
    if is_streamed and not wanted:
        fields["stream_options"] = msgspec.Raw(msgspec.json.encode({**options, "include_usage": True}))
    return bool(wanted)
