"""Whether the ledger and its rollups say the same."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor

_SUMS: Final = """
    sum(calls)::bigint AS calls, sum(estimated_calls)::bigint AS estimated_calls,
    sum(prompt_tokens)::bigint AS prompt_tokens, sum(completion_tokens)::bigint AS completion_tokens,
    sum(cached_tokens)::bigint AS cached_tokens, sum(cost_nano_usd)::bigint AS cost_nano_usd,
    sum(counted_requests)::bigint AS counted_requests, sum(counted_tokens)::bigint AS counted_tokens,
    sum(counted_nano_usd)::bigint AS counted_nano_usd, sum(total_ms)::bigint AS total_ms"""
_NAMES: Final = (
    "calls, estimated_calls, prompt_tokens, completion_tokens, cached_tokens, cost_nano_usd, counted_requests, "
    "counted_tokens, counted_nano_usd, total_ms"
)

# One statement, so one state of the database. Compared by day, account and model: what all three have.
FIND_DIFFERENCES = f"""
WITH rows AS (
    SELECT account_id, (started_at AT TIME ZONE 'UTC')::date AS day, model_id, {_SUMS} FROM (
        SELECT account_id, started_at, model_id, 1 AS calls, estimated::int AS estimated_calls, prompt_tokens,
            completion_tokens, cached_tokens, coalesce(cost_nano_usd, 0) AS cost_nano_usd, counted_requests,
            counted_tokens, counted_nano_usd, total_ms
        FROM usage_logs WHERE request_id >= uuid7_floor($1)) AS r GROUP BY 1, 2, 3),
quarters AS (
    SELECT account_id, (started_at AT TIME ZONE 'UTC')::date AS day, model_id, {_SUMS}
    FROM usage_quarter_hours WHERE started_at >= $1 GROUP BY 1, 2, 3),
days AS (SELECT account_id, day, model_id, {_NAMES} FROM usage_days WHERE day >= ($1 AT TIME ZONE 'UTC')::date),
everything AS (
    SELECT 'rows' AS source, * FROM rows UNION ALL SELECT 'quarter_hours', * FROM quarters
    UNION ALL SELECT 'days', * FROM days)
SELECT day, account_id, model_id, jsonb_object_agg(source, to_jsonb(everything) - 'source' - 'day' - 'account_id'
    - 'model_id')::text AS told
FROM everything GROUP BY day, account_id, model_id
HAVING count(*) < 3 OR count(DISTINCT ({_NAMES})) > 1
ORDER BY day, account_id, model_id
"""  # noqa: S608  names from this file

COUNT_ROWS = """
SELECT count(*) AS rows, count(*) FILTER (WHERE estimated_why = 'reaped') AS reaped
FROM usage_logs WHERE request_id >= uuid7_floor($1)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerCheck:
    """`differences` are (day, account, model, what each source says as JSON text); none: all three agree."""

    rows: int
    reaped: int
    differences: tuple[tuple[str, int, int, str], ...]


async def check_ledger(executor: "Executor", since: datetime) -> LedgerCheck:
    """Rows, quarters and days from `since` (a start of a UTC day) on."""
    differing = await executor.fetch(FIND_DIFFERENCES, since)
    counts = await executor.fetchrow(COUNT_ROWS, since)
    return LedgerCheck(
        rows=counts["rows"] if counts else 0,
        reaped=counts["reaped"] if counts else 0,
        differences=tuple((str(r["day"]), r["account_id"], r["model_id"], r["told"]) for r in differing),
    )
