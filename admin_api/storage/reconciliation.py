"""Joins the ledger with what LiteLLM logged, by request id.

The log goes into a temporary table, batch by batch, and Postgres does the rest: memory does not grow with the file.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor

BATCH: Final = 5000
# Of everything together: millions of lines take minutes.
TIMEOUT_S: Final = 1800.0

MAKE_TABLE: Final = """
CREATE TEMPORARY TABLE litellm_log (
    request_id uuid NOT NULL, succeeded boolean NOT NULL, model text, prompt_tokens bigint NOT NULL,
    completion_tokens bigint NOT NULL, cost_nano_usd bigint) ON COMMIT DROP
"""
# LiteLLM logs each of its own tries of a call; the one that succeeded is what was billed.
MAKE_CALLS: Final = """
CREATE TEMPORARY TABLE litellm_calls ON COMMIT DROP AS
SELECT DISTINCT ON (request_id) request_id, model, prompt_tokens, completion_tokens, coalesce(cost_nano_usd, 0) AS
    cost_nano_usd
FROM litellm_log WHERE ($1::timestamptz IS NULL OR request_id >= uuid7_floor($1))
    AND ($2::timestamptz IS NULL OR request_id < uuid7_floor($2))
ORDER BY request_id, succeeded DESC, completion_tokens DESC
"""
INDEX_CALLS: Final = "ALTER TABLE litellm_calls ADD PRIMARY KEY (request_id)"
ANALYZE_CALLS: Final = "ANALYZE litellm_calls"


def _joined(then: str) -> str:
    """`then` on ledger and log side by side.

    Of the time that is given, or from the log's first call to its last. Calls that never reached LiteLLM are left out.
    A corrected call counts as it is now. The log's cost is compared with LiteLLM's in the ledger, and the charged one
    must be that or the one by the model's price: that a price of an admin's differs is meant, and `models` has it.
    """
    return f"""
WITH bounds AS MATERIALIZED (
    SELECT coalesce(uuid7_floor($1::timestamptz), (SELECT request_id FROM litellm_calls ORDER BY 1 LIMIT 1)) AS first,
        coalesce(uuid7_floor($2::timestamptz),
            (SELECT request_id FROM litellm_calls ORDER BY 1 DESC LIMIT 1)) AS last),
corrected AS MATERIALIZED (
    SELECT DISTINCT ON (c.request_id) c.request_id, c.model_asked AS model, c.prompt_tokens, c.completion_tokens,
        c.cost_nano_usd, c.ending, c.own_cost_nano_usd, c.estimated_why, c.litellm_cost_nano_usd AS reported_nano_usd
    FROM ledger_corrections c, bounds b
    WHERE c.sign = 1 AND c.request_id >= b.first AND c.request_id <= b.last ORDER BY c.request_id, c.number DESC),
ledger AS NOT MATERIALIZED (
    SELECT u.request_id, u.model_asked AS model, u.prompt_tokens, u.completion_tokens, u.cost_nano_usd, u.ending,
        u.own_cost_nano_usd, u.estimated_why, u.litellm_cost_nano_usd AS reported_nano_usd
    FROM usage_logs u, bounds b
    WHERE u.request_id >= b.first AND u.request_id <= b.last AND u.ending <> 'unreachable'
        AND NOT EXISTS (SELECT FROM corrected c WHERE c.request_id = u.request_id)
    UNION ALL
    SELECT request_id, model, prompt_tokens, completion_tokens, cost_nano_usd, ending, own_cost_nano_usd, estimated_why,
        reported_nano_usd
    FROM corrected WHERE ending <> 'unreachable'),
joined AS (
    SELECT coalesce(l.request_id, c.request_id) AS request_id, coalesce(l.model, c.model) AS model, l.ending,
        l.estimated_why, l.prompt_tokens AS prompt_tokens, c.prompt_tokens AS litellm_prompt_tokens,
        l.completion_tokens AS completion_tokens, c.completion_tokens AS litellm_completion_tokens,
        coalesce(l.cost_nano_usd, 0) AS cost_nano_usd, coalesce(c.cost_nano_usd, 0) AS litellm_cost_nano_usd,
        coalesce(l.own_cost_nano_usd, l.cost_nano_usd, 0) AS own_cost_nano_usd,
        CASE WHEN l.request_id IS NULL THEN 'missing' WHEN c.request_id IS NULL THEN 'extra'
            WHEN l.prompt_tokens = c.prompt_tokens AND l.completion_tokens = c.completion_tokens
                AND abs(coalesce(l.reported_nano_usd, l.cost_nano_usd, 0) - c.cost_nano_usd) <= $3::bigint
                AND least(abs(coalesce(l.cost_nano_usd, 0) - c.cost_nano_usd),
                    CASE WHEN l.reported_nano_usd IS NOT NULL
                        THEN abs(l.cost_nano_usd - l.own_cost_nano_usd) END) <= $3::bigint THEN 'same'
            ELSE 'different' END AS finding
    FROM ledger l FULL JOIN litellm_calls c ON c.request_id = l.request_id)
{then}
"""  # noqa: S608  names from this file


COUNT_FINDINGS: Final = _joined("""
SELECT CASE WHEN $4::boolean AND finding = 'different' AND estimated_why IS NOT NULL THEN 'estimated' ELSE finding END
        AS finding,
    count(*) AS calls, coalesce(sum(prompt_tokens + completion_tokens), 0)::bigint AS tokens,
    coalesce(sum(litellm_prompt_tokens + litellm_completion_tokens), 0)::bigint AS litellm_tokens,
    sum(cost_nano_usd)::bigint AS cost_nano_usd, sum(litellm_cost_nano_usd)::bigint AS litellm_cost_nano_usd
FROM joined GROUP BY 1
""")
LIST_FINDINGS: Final = _joined("""
SELECT finding, request_id, model, ending, estimated_why, prompt_tokens, litellm_prompt_tokens, completion_tokens,
    litellm_completion_tokens, cost_nano_usd, litellm_cost_nano_usd
FROM joined WHERE finding <> 'same' AND NOT ($4::boolean AND finding = 'different' AND estimated_why IS NOT NULL)
ORDER BY request_id LIMIT $5
""")
# Of calls that both sides have. Rows of earlier versions have one figure, by the model's price.
LIST_MODEL_COSTS: Final = _joined("""
SELECT model, count(*) AS calls, count(*) FILTER (WHERE litellm_cost_nano_usd > own_cost_nano_usd) AS dearer_calls,
    sum(cost_nano_usd)::bigint AS cost_nano_usd, sum(own_cost_nano_usd)::bigint AS own_cost_nano_usd,
    sum(litellm_cost_nano_usd)::bigint AS litellm_cost_nano_usd
FROM joined WHERE finding IN ('same', 'different') AND ($4::boolean IS NOT NULL)
GROUP BY model HAVING bool_or(litellm_cost_nano_usd <> own_cost_nano_usd OR litellm_cost_nano_usd <> cost_nano_usd)
ORDER BY abs(sum(litellm_cost_nano_usd - own_cost_nano_usd)) DESC, model LIMIT $5
""")
MAX_MODELS: Final = 1000


class LoggedCall(NamedTuple):
    """One line of the log; the cost in nano-USD, None: LiteLLM reported none."""

    request_id: UUID
    succeeded: bool
    model: str | None
    prompt_tokens: int
    completion_tokens: int
    cost_nano_usd: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A call on which ledger and log differ: `missing` is in the log only, `extra` in the ledger only."""

    finding: str
    request_id: UUID
    model: str | None
    ending: str | None
    estimated_why: str | None
    prompt_tokens: int | None
    litellm_prompt_tokens: int | None
    completion_tokens: int | None
    litellm_completion_tokens: int | None
    cost_nano_usd: int
    litellm_cost_nano_usd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingCount:
    """Calls of one finding, and what both sides say of them."""

    finding: str
    calls: int
    tokens: int
    litellm_tokens: int
    cost_nano_usd: int
    litellm_cost_nano_usd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCosts:
    """What calls of one model cost: as charged, by its price (`own`) and by the log. Of `dearer_calls`, the log's
    figure is above that of the price."""

    model: str | None
    calls: int
    dearer_calls: int
    cost_nano_usd: int
    own_cost_nano_usd: int
    litellm_cost_nano_usd: int


class Reconciliation(NamedTuple):
    """All counted, the first ones named; `models` whose figures differ, the largest difference first; `repeated` are
    lines of a call the log has another line of."""

    counts: list[FindingCount]
    findings: list[Finding]
    models: list[ModelCosts]
    repeated: int


async def reconcile(
    executor: "Executor",
    calls: Iterable[LoggedCall],
    *,
    since: datetime | None,
    until: datetime | None,
    tolerance_nano_usd: int,
    skip_estimated: bool,
    limit: int,
) -> Reconciliation:
    """In a transaction of the caller's, which ends the temporary tables; `calls` are read once, batch by batch."""
    await executor.execute(MAKE_TABLE)
    for batch in _batches(calls):
        await executor.copy_records_to_table("litellm_log", records=batch, columns=LoggedCall._fields)
    await executor.execute(MAKE_CALLS, since, until, timeout=TIMEOUT_S)
    await executor.execute(INDEX_CALLS, timeout=TIMEOUT_S)
    await executor.execute(ANALYZE_CALLS)
    lines = await executor.fetchval("SELECT count(*) FROM litellm_log")
    unique = await executor.fetchval("SELECT count(*) FROM litellm_calls")
    asked = (since, until, tolerance_nano_usd, skip_estimated)
    counts = [FindingCount(**r) for r in await executor.fetch(COUNT_FINDINGS, *asked, timeout=TIMEOUT_S)]
    found = [Finding(**r) for r in await executor.fetch(LIST_FINDINGS, *asked, limit, timeout=TIMEOUT_S)]
    models = [ModelCosts(**r) for r in await executor.fetch(LIST_MODEL_COSTS, *asked, MAX_MODELS, timeout=TIMEOUT_S)]
    return Reconciliation(counts, found, models, lines - unique)


def _batches(calls: Iterable[LoggedCall]) -> Iterable[list[LoggedCall]]:
    batch: list[LoggedCall] = []
    for call in calls:
        batch.append(call)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
