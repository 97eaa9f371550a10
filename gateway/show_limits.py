"""`GET /v1/limits`: every limit that would apply to a key, and what is left of it now."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from gateway.domain.errors import GatewayError
from gateway.domain.grants import Grant, KeyRecord
from gateway.domain.ids import RequestIds, milliseconds_of
from gateway.domain.plans import make_plan
from gateway.domain.refusals import Taken, pair
from gateway.seed import Seeder
from gateway.storage.counters import Counters, Estimate, pack_entries
from gateway.storage.redis import RedisUnavailable

NOTHING = Estimate(tokens=(0, 0, 0), cost=(0, 0, 0))


class LimitView:
    """Looks at counters without changing them."""

    def __init__(self, counters: Counters, ids: RequestIds, seeder: Seeder) -> None:
        self._counters = counters
        self._ids = ids
        self._seeder = seeder

    async def view(self, record: KeyRecord) -> dict[str, Any]:
        """Raises `limits_unavailable`."""
        models: dict[int, list[str]] = {}
        limits = {}
        for grant in record.grants.values():
            for limit in grant.limits:
                limits[limit.id] = limit
                models.setdefault(limit.id, []).append(grant.model_name)
        if not limits:
            return {"object": "list", "data": []}
        any_grant = next(iter(record.grants.values()))
        every = replace(any_grant, limits=tuple(limits.values()))
        try:
            taken, now_ms = await self._look(record, every)
        except RedisUnavailable:
            message = "Limits can not be read at this moment. Try again."
            raise GatewayError("limits_unavailable", message, headers={"retry-after": "1"}) from None
        data = []
        for t in taken:
            only = models[t.limit.id] if t.limit.level in ("key_model", "subscription") else None
            data.append(view_limit(t, now_ms) | {"models": only})
        return {"object": "list", "data": data}

    async def _look(self, record: KeyRecord, grant: Grant) -> tuple[list[Taken], int]:
        for _ in range(3):
            request_id = self._ids.new()
            start_ms = milliseconds_of(request_id)
            plan = make_plan(grant, record.time_zone, start_ms)
            reply = await self._counters.reserve(
                record.account_id,
                request_id,
                pack_entries(plan.entries),
                NOTHING,
                start_ms=start_ms,
                epoch=record.epoch,
                scopes="",
                note=b"",
                mode="look",
            )
            if reply.status != "seed":
                return pair(plan, reply.takings), reply.now_ms
            await self._seeder.seed(record, plan, reply.seed)
        raise RedisUnavailable("counters were lost again and again")


def view_limit(t: Taken, now_ms: int) -> dict[str, Any]:
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
