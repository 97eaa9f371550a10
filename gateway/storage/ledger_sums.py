"""What the ledger says was counted: the sums that counters are seeded from."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.domain.limits import Kind

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor, Pool

# A window's sums of one account, under every scope a call can have. Boundaries are on quarters of an hour in every
# time zone. The model tells the subscription: there is one row per account and model for ever.
SUM_WINDOW = """
SELECT q.api_key_id, q.user_id, q.model_id, s.id AS subscription_id,
       sum(q.counted_requests)::bigint AS requests, sum(q.counted_tokens)::bigint AS tokens,
       sum(q.counted_nano_usd)::bigint AS cost
FROM usage_quarter_hours q LEFT JOIN subscriptions s ON s.account_id = q.account_id AND s.model_id = q.model_id
WHERE q.account_id = $1 AND q.started_at >= $2 AND q.started_at < $3
GROUP BY q.api_key_id, q.user_id, q.model_id, s.id
"""

_COLUMNS: Final[dict[Kind, str]] = {"requests": "requests", "tokens": "tokens", "cost": "cost"}


class WindowSum(NamedTuple):
    """One question: what did `scope` use of `kind` in [start, end)?"""

    kind: Kind
    scope: str
    start_ms: int
    end_ms: int


async def sum_windows(executor: "Executor | Pool", account_id: int, questions: Sequence[WindowSum]) -> list[int]:
    """An answer a question, in order; windows asked for several times are read once."""
    totals: dict[tuple[int, int], dict[tuple[Kind, str], int]] = {}
    for window in {(q.start_ms, q.end_ms) for q in questions}:
        asked = {q.scope for q in questions if (q.start_ms, q.end_ms) == window}
        start, end = (datetime.fromtimestamp(ms / 1000, UTC) for ms in (window[0], min(window[1], 253_402_300_799_000)))
        sums: dict[tuple[Kind, str], int] = {}
        for row in await executor.fetch(SUM_WINDOW, account_id, start, end):
            key, user, model = row["api_key_id"], row["user_id"], row["model_id"]
            for scope in (f"k{key}", f"k{key}m{model}", f"s{row['subscription_id']}", f"u{user}", "t"):
                # A team has a row for each of its keys and models, and few of them are asked about.
                for kind, column in _COLUMNS.items() if scope in asked else ():
                    sums[kind, scope] = sums.get((kind, scope), 0) + row[column]
        totals[window] = sums
    return [totals[q.start_ms, q.end_ms].get((q.kind, q.scope), 0) for q in questions]
