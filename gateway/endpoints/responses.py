"""`POST /v1/responses`: OpenAI's Responses API, answered while the caller waits or streamed; also the
compaction of a conversation and the count of its tokens."""

from typing import Any, Final

import msgspec
from msgspec.structs import replace

from gateway.domain.errors import GatewayError
from gateway.domain.estimates import TOKENS_PER_ATTACHMENT, TOKENS_PER_MESSAGE, estimate_text
from gateway.endpoints.allowed_fields import ALLOWED_FIELDS, AllowedFields
from gateway.endpoints.paid_tools import find_paid_tools
from gateway.endpoints.prompts import Attachments, estimate_raw, is_attachment, take_out_attachments
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
    refuse_stream,
)
from gateway.endpoints.stored_items import find_stored_items, is_bare, is_self_contained

NAME: Final = "responses"
COMPACT: Final = "responses_compact"
COUNT: Final = "responses_input_tokens"
# Fields that put into the prompt what is stored at the provider.
STORED_CONTEXT: Final = frozenset({"previous_response_id", "conversation", "prompt"})
UNKNOWN_CONTEXT: Final = STORED_CONTEXT - {"previous_response_id"}


def parse_responses(body: bytes, allowed: AllowedFields = ALLOWED_FIELDS, path_model: str | None = None) -> Call:
    """Checks the body and says what it asks for; raises GatewayError with a 4xx."""
    return _parse(NAME, body, allowed, path_model)


def parse_compact(body: bytes, allowed: AllowedFields = ALLOWED_FIELDS, path_model: str | None = None) -> Call:
    """`POST /v1/responses/compact`: the model writes a shorter conversation, as long as it likes."""
    return _parse(COMPACT, body, allowed, path_model)


def parse_input_tokens(body: bytes, allowed: AllowedFields = ALLOWED_FIELDS, path_model: str | None = None) -> Call:
    """`POST /v1/responses/input_tokens`: takes no tokens, costs nothing, and counts as no request."""
    call = _parse(COUNT, body, allowed, path_model)
    return replace(call, prompt_tokens=0.0, prompt_bytes=0, maximum=0, is_free=True, counts_tokens=True)


def _parse(endpoint: str, body: bytes, allowed: AllowedFields, path_model: str | None) -> Call:
    fields = decode_fields(body, path_model)
    model = read_model(fields)
    tools = check_fields(endpoint, fields, allowed)
    if endpoint != NAME:
        refuse_stream(fields)
    if read(fields, "background", bool | None, "true or false"):
        message = "Background responses are not available: nobody would be there to pay for them. Leave it out."
        raise GatewayError("parameter_not_allowed", message, param="background")
    found = Attachments()
    value = read_input(fields)
    prompt_tokens = _estimate(endpoint, fields, value, found, allowed)
    # A compaction is not stored: it is sent back by the caller.
    is_stored = endpoint == NAME and read(fields, "store", bool | None, "true or false") is not False
    items = find_stored_items(value, lambda raw: encode_fields(fields | {"input": raw}))
    return Call(
        model=model,
        body=encode_fields(fields),
        is_streamed=read_stream(fields),
        wants_usage=True,
        prompt_tokens=prompt_tokens,
        prompt_bytes=found.bound(body),
        hides_prompt=found.count > 0 or items is not None or not STORED_CONTEXT.isdisjoint(fields),
        maximum=read_maximum(fields, ("max_output_tokens",)),
        choices=1,
        asks_to_reason=asks_to_reason(fields),
        service_tier=read_service_tier(fields),
        tier_to_price=allowed.tier_to_price(endpoint, fields),
        paid_tools=find_paid_tools(fields, tools),
        attachments=found.count,
        is_unbounded=not UNKNOWN_CONTEXT.isdisjoint(fields),
        is_stored=is_stored,
        continues=read(fields, "previous_response_id", str | None, "the id of a response") or None,
        items=items,
    )


def read_input(fields: Fields) -> Any:
    """A text or a list of items; None if there is none."""
    return read(fields, "input", str | list[Any] | None, "a text or a list of items")


def _estimate(endpoint: str, fields: Fields, value: Any, found: Attachments, allowed: AllowedFields) -> float:
    if not value and "prompt" not in fields and "previous_response_id" not in fields:
        raise GatewayError("invalid_request", "'input' is missing; send a text or a list of items.", param="input")
    if isinstance(value, list) and any(_is_reference(item) for item in value):
        allowed.refuse(endpoint, "content.item_reference")
    instructions = read(fields, "instructions", str | None, "a text") or ""
    tokens = estimate_text(instructions.encode(errors="surrogatepass")) + estimate_raw(fields.get("tools"))
    return tokens + _estimate_item(value, found)


def _is_reference(item: Any) -> bool:
    """Whether it names an item that is stored, and is none itself: its type may be left out."""
    kind = item.get("type") if isinstance(item, dict) else None
    return is_bare(item) and (kind is None or kind == "item_reference" or is_self_contained(kind))


def _estimate_item(item: Any, found: Attachments) -> float:
    """Tokens of an input, a message or a part of one, as deep as it goes; attachments at a fixed amount."""
    if isinstance(item, str):
        return estimate_text(item.encode(errors="surrogatepass"))
    if isinstance(item, list):
        return sum(_estimate_item(one, found) for one in item)
    if not isinstance(item, dict):
        return 0.0
    if is_attachment(item):
        found.add(len(msgspec.json.encode(item)))
        return float(TOKENS_PER_ATTACHMENT)
    for name in ("content", "text", "output"):
        if name in item:
            return _estimate_item(item[name], found) + (TOKENS_PER_MESSAGE if "role" in item else 0)
    # A screenshot, say.
    rest, attachments = take_out_attachments(item)
    left = msgspec.json.encode(rest)
    if attachments:
        found.add(len(msgspec.json.encode(item)) - len(left), attachments)
    return attachments * TOKENS_PER_ATTACHMENT + estimate_text(left)
