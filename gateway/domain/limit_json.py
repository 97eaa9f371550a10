"""How a limit and what is left of it is shown to people and programs."""

from datetime import UTC, datetime
from typing import Any

from gateway.domain.refusals import Taken


def limit_json(t: Taken, now_ms: int) -> dict[str, Any]:
    """One limit: whole units, money in nano-USD; `remaining` may be below 0 (a debt)."""
    limit = t.limit
    is_bucket = limit.kind in ("rpm", "tpm")
    remaining = t.left // 60000 if is_bucket else t.left
    used = limit.capacity - remaining - (t.held if limit.window else 0)
    resets_at = None
    if limit.window not in (None, "lifetime"):
        resets_at = _iso(t.entry.b)
    elif is_bucket and limit.amount:
        resets_at = _iso(now_ms + (limit.capacity * 60000 - t.left) // limit.amount)
    return {
        "id": limit.id,
        "level": limit.level,
        "kind": limit.kind,
        "window": limit.window,
        "limit": limit.amount,
        "burst": str(limit.burst.normalize()) if is_bucket else None,
        "reserve": limit.reserve,
        "shadow": limit.shadow,
        "set_by": limit.set_by,
        "used": used,
        "reserved": t.held if limit.window else 0,
        "remaining": remaining,
        "resets_at": resets_at,
        "expires_at": None if limit.expires_at is None else limit.expires_at.astimezone(UTC).isoformat(),
    }


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
