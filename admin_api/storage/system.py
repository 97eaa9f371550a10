"""What waits for an admin, counted in one statement; refusals of the last day."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from admin_api.storage.offered_models import UNPRICED

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Requests for subscriptions and since when the oldest waits, for more of a limit, and to join a team; alerts that
    nobody has seen; models that LiteLLM has and users do not see, and those without a price; active users."""

    requests: int
    oldest_request_at: datetime | None
    limit_requests: int
    join_requests: int
    unseen_alerts: int
    hidden_models: int
    unpriced_models: int
    active_users: int


COUNT_WAITING: Final = f"""
SELECT (SELECT count(*) FROM subscriptions WHERE status = 'pending') AS requests,
       (SELECT min(updated_at) FROM subscriptions WHERE status = 'pending') AS oldest_request_at,
       (SELECT count(*) FROM limit_requests WHERE status = 'pending') AS limit_requests,
       (SELECT count(*) FROM team_join_requests) AS join_requests,
       (SELECT count(*) FROM alerts WHERE acknowledged_at IS NULL AND cleared_at IS NULL) AS unseen_alerts,
       (SELECT count(*) FROM models WHERE enabled AND listed AND hidden) AS hidden_models,
       (SELECT count(*) FROM models WHERE enabled AND listed AND {UNPRICED}) AS unpriced_models,
       (SELECT count(*) FROM users WHERE status = 'active') AS active_users
"""


async def count_waiting(executor: "Executor") -> Waiting:
    """In one snapshot."""
    (row,) = await executor.fetch(COUNT_WAITING)
    return Waiting(**row)


@dataclass(frozen=True, slots=True)
class RefusalsOfCode:
    """How many calls were refused with an error code."""

    code: str
    calls: int


COUNT_REFUSALS: Final = """
SELECT code, sum(count)::bigint AS calls FROM refusal_hours WHERE hour >= $1
GROUP BY code ORDER BY calls DESC, code LIMIT $2
"""


async def count_refusals(executor: "Executor", since: datetime, *, limit: int) -> list[RefusalsOfCode]:
    """Of the hours that begin at or after `since`, the most frequent first."""
    return [RefusalsOfCode(**row) for row in await executor.fetch(COUNT_REFUSALS, since, limit)]
