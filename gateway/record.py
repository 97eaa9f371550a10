"""Steps 5 and 6 on paper: from how a call ended to its ledger row, which also says what its limits are charged."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from gateway.domain.calls import Ending, EstimatedWhy, Usage
from gateway.domain.grants import Grant, KeyRecord
from gateway.domain.ids import milliseconds_of
from gateway.domain.prices import Price, cost_nano_usd
from gateway.domain.usage_rows import UsageRow
from gateway.endpoints.audio import tokens_of_sound
from gateway.endpoints.requests import Call

NANO: Final = 1_000_000_000
MAX_REPORTED: Final = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a forwarded call ended. `usage` is what the upstream told; `passed_tokens` what reached the caller,
    estimated; times in ms."""

    ending: Ending
    status: int
    usage: Usage | None
    cost_usd: float | None
    model_served: str | None
    passed_tokens: int
    has_passed: bool
    first_byte_ms: int | None
    total_ms: int
    error_code: str | None = None
    # Where a part of `usage` had to be estimated: why.
    usage_why: EstimatedWhy | None = None


def make_row(
    request_id: UUID,
    record: KeyRecord,
    grant: Grant,
    *,
    endpoint: str,
    call: Call,
    estimate: Usage,
    outcome: Outcome,
) -> UsageRow:
    """The table "Endings" of docs/endpoints.md as code. `estimate` is what was reserved, units included."""
    usage, why = _charged(call, outcome, estimate, grant.price)
    cost = None if grant.price is None or not grant.price.is_known else cost_nano_usd(grant.price, usage)
    is_refused = outcome.ending in ("refused_upstream", "unreachable")
    is_broken = why == "cut_off" and not outcome.has_passed
    if (is_refused or is_broken or call.is_free) and cost is not None:
        cost = 0
    return UsageRow(
        request_id=request_id,
        started_at=datetime.fromtimestamp(milliseconds_of(request_id) / 1000, UTC),
        account_id=record.account_id,
        user_id=record.user_id,
        api_key_id=record.key_id,
        subscription_id=grant.subscription_id,
        model_id=grant.model_id,
        model_asked=grant.model_name,
        model_served=_reported(outcome.model_served),
        endpoint=endpoint,
        streamed=call.is_streamed,
        status=outcome.status,
        ending=outcome.ending,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cached_tokens=usage.cached_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        cost_nano_usd=cost,
        price_id=grant.price.id if grant.price else None,
        litellm_cost_nano_usd=None if outcome.cost_usd is None else round(outcome.cost_usd * NANO),
        counted_requests=0 if is_refused else 1,
        counted_tokens=usage.total_tokens,
        counted_nano_usd=cost or 0,
        first_byte_ms=outcome.first_byte_ms,
        total_ms=outcome.total_ms,
        estimated=why is not None,
        estimated_why=why,
        error_code=_reported(outcome.error_code),
    )


def _reported(text: str | None) -> str | None:
    """What the upstream says of itself, as Postgres takes it: no NUL, not longer than a name."""
    return None if text is None else text.replace("\0", "")[:MAX_REPORTED]


def _charged(call: Call, outcome: Outcome, estimate: Usage, price: Price | None) -> tuple[Usage, EstimatedWhy | None]:
    if outcome.ending in ("refused_upstream", "unreachable") or (call.is_free and outcome.ending == "completed"):
        return Usage(), None
    units, is_guess = call.expected_units(price)
    reported = outcome.usage
    if reported is not None and is_guess and reported.total_tokens == 0 and reported.audio_ms:
        # LiteLLM tells how long a sound is where the model told nothing; this model is priced by tokens.
        return tokens_of_sound(reported.audio_ms), "no_usage"
    if reported is not None:
        if not (units.images or units.characters or units.queries):
            return reported, outcome.usage_why
        return replace(
            reported, images=units.images, characters=units.characters, queries=units.queries
        ), outcome.usage_why
    passed = replace(estimate, completion_tokens=outcome.passed_tokens)
    if outcome.ending == "completed":
        # Told by nobody, but known from the request.
        if call.counts_no_tokens:
            return units, "no_usage" if is_guess else None
        return passed, "no_usage"
    if outcome.ending == "client_disconnected":
        # Before any byte the whole estimate: else hanging up would be free. Of media also later: the work is done then.
        return (passed if outcome.has_passed and not call.counts_no_tokens else estimate), "hung_up"
    # The upstream broke off: what passed is charged, nothing for nothing.
    return (passed if outcome.has_passed else Usage()), "cut_off"
