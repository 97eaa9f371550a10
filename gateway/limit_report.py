"""`GET /v1/limits`: every limit that would apply to a key, and what is left of it now."""

from dataclasses import replace
from typing import Any

from gateway.domain.errors import GatewayError
from gateway.domain.grants import KeyRecord
from gateway.domain.ids import RequestIds
from gateway.domain.limit_json import limit_json
from gateway.endpoints.listing import unavailable_report
from gateway.storage.counters.state import LimitState
from gateway.storage.redis.link import RedisUnavailable, ScriptFailed


class LimitReport:
    """Answers from the counters as they are."""

    def __init__(self, state: LimitState, ids: RequestIds) -> None:
        self._state = state
        self._ids = ids

    async def report(self, record: KeyRecord) -> dict[str, Any]:
        """All limits of all models of the key, each once; `models` names those it is for, None: all.
        `unavailable` are models that the key's subscriptions do not allow at present.

        Raises `limits_unavailable`."""
        models: dict[int, list[str]] = {}
        limits = {}
        for grant in record.grants.values():
            for limit in grant.limits:
                limits[limit.id] = limit
                models.setdefault(limit.id, []).append(grant.model_name)
        unavailable = unavailable_report(record)
        if not limits:
            return {"object": "list", "data": [], **unavailable}
        every = replace(next(iter(record.grants.values())), limits=tuple(limits.values()))
        try:
            taken, now_ms = await self._state.look(record, every, self._ids.new())
        except (RedisUnavailable, ScriptFailed):
            message = "Limits cannot be read at this moment. Try again."
            raise GatewayError("limits_unavailable", message, headers={"retry-after": "1"}) from None
        data = []
        for t in taken:
            only = models[t.limit.id] if t.limit.level in ("key_model", "subscription") else None
            data.append(limit_json(t, now_ms) | {"models": only})
        return {"object": "list", "data": data, **unavailable}
