"""Answers the gateway gives itself: the models of a key, and its limits."""

from datetime import UTC, datetime
from typing import Any

from gateway.domain.grants import Grant, KeyRecord

# OpenAI's clients want a number; LiteLLM answers this one too.
CREATED = 1677610602


def model_report(grant: Grant) -> dict[str, Any]:
    """One model in OpenAI's shape."""
    return {"id": grant.model_name, "object": "model", "created": CREATED, "owned_by": grant.owned_by}


def models_report(record: KeyRecord) -> dict[str, Any]:
    """What this key may call, by name."""
    now = datetime.now(UTC)
    grants = sorted(record.grants.values(), key=lambda grant: grant.model_name)
    return {"object": "list", "data": [model_report(grant) for grant in grants if not grant.is_over(now)]}
