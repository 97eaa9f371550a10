"""What the ledger says was counted: the sums that counters are seeded from."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.domain.limits import Kind
from gateway.domain.rollup_ranges import ceiling, floor

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor, Pool

# A window's sums of one account, under every scope a call can have: quarters of an hour at its edges, which are on
# quarters in every time zone, and whole days in UTC between them, or a lifetime would be read by the quarter. The model
# tells the subscription: there is one row per account and model for ever.
SUM_WINDOW = """
SELECT q.api_key_id, q.user_id, q.model_id, s.id AS subscription_id,
       sum(q.counted_requests)::bigint AS requests, sum(q.counted_tokens)::bigint AS tokens,
       sum(q.counted_nano_usd)::bigint AS cost
FROM (
    SELECT api_key_id, user_id, model_id, counted_requests, counted_tokens, counted_nano_usd FROM usage_quarter_hours
    WHERE account_id = $1 AND started_at >= $2 AND started_at < $3
    UNION ALL
    SELECT api_key_id, user_id, model_id, counted_requests, counted_tokens, counted_nano_usd FROM usage_days
    WHERE account_id = $1 AND day >= $4 AND day < $5
    UNION ALL
    SELECT api_key_id, user_id, model_id, counted_requests, counted_tokens, counted_nano_usd FROM usage_quarter_hours
    WHERE account_id = $1 AND started_at >= $6 AND started_at < $7) AS q
LEFT JOIN subscriptions s ON s.account_id = $1 AND s.model_id = q.model_id
GROUP BY q.api_key_id, q.user_id, q.model_id, s.id
"""

_COLUMNS: Final[dict[Kind, str]] = {"requests": "requests", "tokens": "tokens", "cost": "cost"}


class WindowSum(NamedTuple):
    """One question: what did `scope` use of `kind` in [start, end)?"""

    kind: Kind
    scope: str
    start_ms: int
    end_ms: int


async def sum_windows(executor: "Executor | Pool", account_id: int, queries: Sequence[WindowSum]) -> list[int]:
    """An answer a question, in order; windows asked for several times are read once."""
    totals: dict[tuple[int, int], dict[tuple[Kind, str], int]] = {}
    for window in {(q.start_ms, q.end_ms) for q in queries}:
        asked = {q.scope for q in queries if (q.start_ms, q.end_ms) == window}
        start, end = (datetime.fromtimestamp(ms / 1000, UTC) for ms in (window[0], min(window[1], 253_402_300_799_000)))
        sums: dict[tuple[Kind, str], int] = {}
        for row in await executor.fetch(SUM_WINDOW, account_id, *_parts(start, end)):
            key, user, model = row["api_key_id"], row["user_id"], row["model_id"]
            for scope in (f"k{key}", f"k{key}m{model}", f"s{row['subscription_id']}", f"u{user}", "t"):
                # A team has a row for each of its keys and models, and few of them are asked about.
                for kind, column in _COLUMNS.items() if scope in asked else ():
                    sums[kind, scope] = sums.get((kind, scope), 0) + row[column]
        totals[window] = sums
    return [totals[q.start_ms, q.end_ms].get((q.kind, q.scope), 0) for q in queries]


def _parts(start: datetime, end: datetime) -> tuple[datetime, datetime, date, date, datetime, datetime]:
    """Quarters up to the first midnight in UTC, days, quarters from the last midnight on; without a whole day, quarters
    alone."""
    first, last = ceiling(start, "day"), floor(end, "day")
    if first >= last:
        first = last = end
    return start, first, first.date(), last.date(), last, end
