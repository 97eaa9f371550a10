"""The row of a call whose gateway died: what was reserved for it."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog

from gateway.domain.usage_rows import UsageRow
from gateway.storage.counters.layout import Lease

log = structlog.get_logger(__name__)


class _Note(msgspec.Struct):
    """What admit.py left in the lease, and in the slot of a begun call."""

    user_id: int | None
    api_key_id: int
    subscription_id: int
    model_id: int
    model: str
    price_id: int | None
    endpoint: str
    streamed: bool
    counted_requests: int = 1
    client_request_id: str | None = None


_decode_note: Any = msgspec.json.Decoder(_Note).decode


def estimated_row(account_id: int, lease: Lease) -> UsageRow:
    """What is written of a call whose gateway died: the lease's estimate, whole."""
    note: _Note = _decode_note(lease.note)
    return UsageRow(
        request_id=lease.request_id,
        started_at=datetime.fromtimestamp((lease.request_id.int >> 80) / 1000, UTC),
        account_id=account_id,
        user_id=note.user_id,
        api_key_id=note.api_key_id,
        subscription_id=note.subscription_id,
        model_id=note.model_id,
        model_asked=note.model,
        model_served=None,
        endpoint=note.endpoint,
        streamed=note.streamed,
        status=499,
        ending="upstream_error",
        prompt_tokens=lease.prompt_tokens,
        completion_tokens=lease.completion_tokens,
        cached_tokens=0,
        cache_write_tokens=0,
        reasoning_tokens=0,
        cost_nano_usd=lease.nano_usd if note.price_id is not None else None,
        price_id=note.price_id,
        own_cost_nano_usd=lease.nano_usd if note.price_id is not None else None,
        litellm_cost_nano_usd=None,
        counted_requests=note.counted_requests,
        counted_tokens=lease.prompt_tokens + lease.completion_tokens,
        counted_nano_usd=lease.nano_usd,
        first_byte_ms=None,
        total_ms=0,
        estimated=True,
        estimated_why="reaped",
        error_code=None,
        client_request_id=note.client_request_id,
    )


def estimated_rows(begun: Iterable[tuple[int, Lease]]) -> list[UsageRow]:
    """Of these calls, with their accounts; what is not understood is logged."""
    rows = []
    for account_id, lease in begun:
        try:
            rows.append(estimated_row(account_id, lease))
        except msgspec.MsgspecError as exc:
            log.error("begun_call_not_understood", request_id=str(lease.request_id), cause=str(exc))
    return rows
