"""Events of a `responses` stream: https://platform.openai.com/docs/api-reference/responses-streaming"""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from gateway.endpoints.lenient import decoder
from gateway.endpoints.output_estimates import EMPTY
from gateway.endpoints.output_parts import ITEM_DONE, OutputParts, PartEvent
from gateway.endpoints.paid_tools import RunTools
from gateway.endpoints.stored_items import is_completed_by_id
from gateway.endpoints.usage_parsing import ParsedUsage, Reader, ReportedUsage

# Their answer is whole, also one that was cut short by max_output_tokens.
LAST_EVENTS: Final = ("response.completed", "response.incomplete")
FAILED_EVENTS: Final = ("error", "response.failed", "response.cancelled")
ITEM_EVENTS: Final = ("response.output_item.added", ITEM_DONE)


class _OutputItem(msgspec.Struct):
    id: str | None = None
    type: str | None = None
    encrypted_content: str | None = None
    container_id: str | None = None


class _Response(msgspec.Struct):
    id: str | None = None
    output: list[_OutputItem] | None = None
    usage: ReportedUsage | None = None
    model: str | None = None
    service_tier: Any = None


class _Event(PartEvent):
    response: _Response | None = None
    error: msgspec.Raw = msgspec.Raw()


_decode_event = decoder(_Event)
_decode_output = decoder(_OutputItem)
_decode_response = decoder(_Response)


def read_response(data: bytes) -> ParsedUsage | None:
    """A whole answer."""
    answer: _Response | None = _decode_response(data)
    if answer is None:
        return None
    reported, ran = answer.usage, RunTools()
    _note_tools(ran, answer.output or ())
    return ParsedUsage(
        usage=reported.read(answer.service_tier) if reported else None,
        litellm_nano_usd=reported.litellm_nano_usd if reported else None,
        model=answer.model,
        response_id=answer.id,
        item_ids=_stored_items(answer.output or ()),
        ran=ran.usage,
    )


def _stored_items(items: Iterable[_OutputItem]) -> tuple[str, ...]:
    return tuple(item.id for item in items if item.id and is_completed_by_id(item.type, item.encrypted_content))


def new_responses_reader() -> Reader:
    """For one stream. The usage is in whatever event reports it; what was said is counted once, whether it comes in
    deltas, in the event that ends a part, or in the item when it is done."""
    parts, ran = OutputParts(), RunTools()

    def read(data: bytes) -> ParsedUsage | None:
        event: _Event | None = _decode_event(data)
        if event is None:
            return None
        has_failed = event.type in FAILED_EVENTS or (not event.type and bytes(event.error) not in EMPTY)
        reading = ParsedUsage(is_error=has_failed, is_last=event.type in LAST_EVENTS)
        if event.response is not None:
            reading.model, reading.response_id = event.response.model, event.response.id
            reading.item_ids = _stored_items(event.response.output or ())
            if event.response.usage is not None:
                reported = event.response.usage
                reading.usage = reported.read(event.response.service_tier)
                reading.litellm_nano_usd = reported.litellm_nano_usd
            _note_tools(ran, event.response.output or ())
        elif not has_failed:
            reading.said_tokens = parts.count(event, data)
            if event.type in ITEM_EVENTS and (item := _decode_output(bytes(event.item))) is not None:
                _note_tools(ran, (item,))
                # Some servers leave the output of the last event empty.
                reading.item_ids = _stored_items((item,)) if event.type == ITEM_DONE else ()
        reading.ran = ran.usage
        return reading

    return read


def _note_tools(ran: RunTools, output: Iterable[_OutputItem]) -> None:
    for item in output:
        # A container is paid for once, whatever is run in it.
        ran.add(item.type, item.container_id or item.id)
