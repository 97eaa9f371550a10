"""Answers the gateway gives itself: the models of a key, as clients of OpenAI and of Anthropic read them.

Anthropic's lists and their pages: https://docs.anthropic.com/en/api/models-list
"""

from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qsl

from gateway.domain.access import list_unavailable, withheld_error
from gateway.domain.errors import GatewayError
from gateway.domain.grants import Grant, KeyRecord

# OpenAI's clients want a number; LiteLLM answers this one too.
CREATED = 1677610602
# Anthropic's word for a date that is not known.
UNKNOWN_DATE: Final = "1970-01-01T00:00:00Z"
PAGE: Final = 20
MAX_PAGE: Final = 1000


def model_report(grant: Grant) -> dict[str, Any]:
    """One model in OpenAI's shape."""
    return {"id": grant.model_name, "object": "model", "created": CREATED, "owned_by": grant.owned_by}


def models_report(record: KeyRecord) -> dict[str, Any]:
    """What this key may call, by name."""
    data = [model_report(grant) for grant in _granted(record)]
    return {"object": "list", "data": data, **unavailable_report(record)}


def unavailable_report(record: KeyRecord) -> dict[str, Any]:
    """`unavailable`, the key's models that its subscriptions do not allow at present, and why; without any, nothing
    that a vendor's list does not have."""
    found = [(one, withheld_error(one)) for one in list_unavailable(record, datetime.now(UTC))]
    said = [
        {"id": one.model_name, "status": one.status, "reason": one.reason, "code": error.code, "message": error.message}
        for one, error in found
    ]
    return {"unavailable": said} if said else {}


def model_info(grant: Grant) -> dict[str, Any]:
    """One model in Anthropic's shape."""
    return {
        "type": "model",
        "id": grant.model_name,
        "display_name": grant.model_name,
        "created_at": UNKNOWN_DATE,
        "lifecycle": "active",
        "max_tokens": grant.max_output_tokens,
    }


def models_page(record: KeyRecord, query: bytes) -> dict[str, Any]:
    """A page of what this key may call, in Anthropic's shape: `limit` models after `after_id`, or before `before_id`.
    A name that is gone still says where to go on. Raises `invalid_request`."""
    asked = dict(parse_qsl(query.decode("latin-1")))
    limit, after, before = _read_limit(asked.get("limit")), asked.get("after_id"), asked.get("before_id")
    if after is not None and before is not None:
        raise GatewayError("invalid_request", "Send 'after_id' or 'before_id', not both.", param="before_id")
    rest = [
        grant
        for grant in _granted(record)
        if (after is None or grant.model_name > after) and (before is None or grant.model_name < before)
    ]
    page = rest[:limit] if before is None else rest[-limit:]
    return {
        "data": [model_info(grant) for grant in page],
        "has_more": len(page) < len(rest),
        "first_id": page[0].model_name if page else None,
        "last_id": page[-1].model_name if page else None,
        **unavailable_report(record),
    }


def _granted(record: KeyRecord) -> list[Grant]:
    now = datetime.now(UTC)
    grants = sorted(record.grants.values(), key=lambda grant: grant.model_name)
    return [grant for grant in grants if not grant.is_over(now)]


def _read_limit(text: str | None) -> int:
    if text is None:
        return PAGE
    limit = int(text) if text.isascii() and text.isdigit() and len(text) <= len(str(MAX_PAGE)) else 0
    if not 1 <= limit <= MAX_PAGE:
        message = f"'limit' must be a whole number from 1 to {MAX_PAGE}."
        raise GatewayError("invalid_request", message, param="limit")
    return limit
