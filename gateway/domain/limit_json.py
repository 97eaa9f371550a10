"""How a limit and what is left of it is shown to people and programs."""

from datetime import UTC
from typing import Any

from gateway.domain.limits import BUCKET_UNITS, amount_fields
from gateway.domain.refusals import Taken
from gateway.domain.windows import iso_time


def limit_json(t: Taken, now_ms: int) -> dict[str, Any]:
    """One limit: counts, or money by `amount_fields`; `remaining` may be below 0 (a debt)."""
    limit = t.limit
    remaining = t.left // BUCKET_UNITS if limit.is_bucket else t.left
    resets_at = None
    if limit.window not in (None, "lifetime"):
        resets_at = iso_time(t.entry.b)
    elif limit.is_bucket and limit.amount:
        resets_at = iso_time(now_ms + (limit.capacity * BUCKET_UNITS - t.left) // limit.amount)
    return {
        "id": limit.id,
        "level": limit.level,
        "kind": limit.kind,
        "window": limit.window,
        **amount_fields("limit", limit.kind, limit.amount),
        "burst": str(limit.burst.normalize()) if limit.is_bucket else None,
        "reserve": limit.reserve,
        "shadow": limit.shadow,
        "set_by": limit.set_by,
        **amount_fields("used", limit.kind, t.used),
        **amount_fields("reserved", limit.kind, t.held if limit.window else 0),
        **amount_fields("remaining", limit.kind, remaining),
        "resets_at": resets_at,
        "expires_at": None if limit.expires_at is None else limit.expires_at.astimezone(UTC).isoformat(),
    }
