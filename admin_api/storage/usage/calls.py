"""Reads the ledger: its rows, and its sums from the rollups that are written with them."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

from gateway.domain.calls import Ending, EstimatedWhy

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRow:
    """One forwarded call. A cost of None: the model had no price, or LiteLLM told none."""

    request_id: UUID
    started_at: datetime
    account_id: int
    user_id: int | None
    api_key_id: int
    subscription_id: int
    model_id: int
    model_asked: str
    model_served: str | None
    endpoint: str
    streamed: bool
    status: int
    ending: Ending
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    cost_nano_usd: int | None
    price_id: int | None
    litellm_cost_nano_usd: int | None
    first_byte_ms: int | None
    total_ms: int
    estimated: bool
    estimated_why: EstimatedWhy | None
    error_code: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageTotals:
    """Sums over all calls of a selection, not only over one page."""

    calls: int
    estimated_calls: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    cost_nano_usd: int


LIST_USAGE: Final = """
SELECT request_id, started_at, account_id, user_id, api_key_id, subscription_id, model_id, model_asked, model_served,
       endpoint, streamed, status, ending, prompt_tokens, completion_tokens, cached_tokens, cache_write_tokens,
       reasoning_tokens, cost_nano_usd, price_id, litellm_cost_nano_usd, first_byte_ms, total_ms, estimated,
       estimated_why, error_code
FROM usage_logs
WHERE ($1::uuid IS NULL OR request_id < $1)
ORDER BY request_id DESC LIMIT $2
"""


async def list_usage(executor: "Executor", *, before: UUID | None, limit: int) -> list[UsageRow]:
    """Of everybody, newest first, those before `before`."""
    return [UsageRow(**row) for row in await executor.fetch(LIST_USAGE, before, limit)]


LIST_USAGE_OF_KEY: Final = """
SELECT request_id, started_at, account_id, user_id, api_key_id, subscription_id, model_id, model_asked, model_served,
       endpoint, streamed, status, ending, prompt_tokens, completion_tokens, cached_tokens, cache_write_tokens,
       reasoning_tokens, cost_nano_usd, price_id, litellm_cost_nano_usd, first_byte_ms, total_ms, estimated,
       estimated_why, error_code
FROM usage_logs
WHERE api_key_id = $1 AND ($2::uuid IS NULL OR request_id < $2)
ORDER BY request_id DESC LIMIT $3
"""


async def list_usage_of_key(executor: "Executor", key_id: int, *, before: UUID | None, limit: int) -> list[UsageRow]:
    """Of one key, newest first, those before `before`."""
    return [UsageRow(**row) for row in await executor.fetch(LIST_USAGE_OF_KEY, key_id, before, limit)]


SUM_USAGE: Final = """
SELECT coalesce(sum(calls), 0)::bigint AS calls, coalesce(sum(estimated_calls), 0)::bigint AS estimated_calls,
       coalesce(sum(prompt_tokens), 0)::bigint AS prompt_tokens,
       coalesce(sum(completion_tokens), 0)::bigint AS completion_tokens,
       coalesce(sum(cached_tokens), 0)::bigint AS cached_tokens,
       coalesce(sum(cost_nano_usd), 0)::bigint AS cost_nano_usd
FROM usage_all_days
"""


async def sum_usage(executor: "Executor") -> UsageTotals:
    """Of everybody, since the beginning."""
    return _totals(await executor.fetchrow(SUM_USAGE))


SUM_USAGE_OF_KEY: Final = """
SELECT coalesce(sum(calls), 0)::bigint AS calls, coalesce(sum(estimated_calls), 0)::bigint AS estimated_calls,
       coalesce(sum(prompt_tokens), 0)::bigint AS prompt_tokens,
       coalesce(sum(completion_tokens), 0)::bigint AS completion_tokens,
       coalesce(sum(cached_tokens), 0)::bigint AS cached_tokens,
       coalesce(sum(cost_nano_usd), 0)::bigint AS cost_nano_usd
FROM usage_days WHERE account_id = $1 AND api_key_id = $2
"""


async def sum_usage_of_key(executor: "Executor", *, account_id: int, key_id: int) -> UsageTotals:
    """Of one key of this account, since the beginning."""
    return _totals(await executor.fetchrow(SUM_USAGE_OF_KEY, account_id, key_id))


def _totals(row: object) -> UsageTotals:
    if row is None:
        raise RuntimeError("an aggregate always has a row")
    return UsageTotals(**row)  # type: ignore[arg-type]  # a Record is a mapping that its stubs do not call one
