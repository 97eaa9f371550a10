"""Steps 5 and 6 on paper: from how a call ended to its ledger row, which also says what its limits are charged."""

from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec.structs import replace

from gateway.domain.calls import NO_USAGE, Ending, EstimatedWhy, Usage
from gateway.domain.ids import milliseconds_of
from gateway.domain.paid_tools import fee_of
from gateway.domain.prices import Price, charged_nano_usd, cost_nano_usd
from gateway.domain.usage_rows import UsageRow
from gateway.endpoints.audio import tokens_of_sound
from gateway.endpoints.requests import Call
from gateway.reservation import Reservation

MAX_REPORTED: Final = 255
# What the column takes.
MAX_TOKENS_OF_TURN: Final = 2**31 - 1


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a forwarded call ended. `usage` is what the upstream reported; `passed_tokens` what reached the caller,
    estimated."""

    ending: Ending
    status: int
    usage: Usage | None
    litellm_nano_usd: int | None
    model_served: str | None
    passed_tokens: int
    has_passed: bool
    # Of the monotonic clock.
    first_byte_at: float | None
    error_code: str | None = None
    # Seconds that it waited for the upstream or the caller; None: not known.
    waited_s: float | None = None
    # Reported before the end, where nothing came at the end.
    so_far: Usage | None = None
    # Output tokens that a caller who left is charged at least.
    least_completion: int = 0
    # Tools that the provider ran.
    ran: Usage = NO_USAGE
    # Where a part of `usage` had to be estimated: why.
    usage_why: EstimatedWhy | None = None
    # The hash of account and id of a response that the provider stores.
    stored_as: UUID | None = None
    stored_items: tuple[UUID, ...] | None = None


def make_row(
    reservation: Reservation,
    *,
    endpoint: str,
    call: Call,
    outcome: Outcome,
    started_at: float,
    ended_at: float,
    served_price: Price | None = None,
) -> UsageRow:
    """The table "Endings" of docs/endpoints.md as code. Times are of the monotonic clock, in seconds. `served_price` is
    that of another model of the catalogue, where it answered instead of the one that was granted."""
    request_id, record, grant = reservation.request_id, reservation.record, reservation.grant
    usage, why = _charged(call, outcome, reservation)
    is_refused = outcome.ending in ("refused_upstream", "unreachable")
    if outcome.ran is not NO_USAGE and not is_refused:
        usage = _with_tools(usage, outcome.ran)
    is_broken = why == "cut_off" and not outcome.has_passed
    possible = usage.clamped()
    if possible is not usage:
        why = why or "clamped"
    price = served_price or grant.price
    own = cost = None
    if price is not None and price.is_known:
        own = cost = 0
        if not (is_refused or is_broken or call.is_free):
            own = cost = cost_nano_usd(price, possible, call.service_tier)
            if possible is usage:
                # Else LiteLLM's figure is made of what cannot be.
                cost = charged_nano_usd(price, own, outcome.litellm_nano_usd, usage, _tools_of(call, reservation))
    first = outcome.first_byte_at
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
        price_id=price.id if price else None,
        own_cost_nano_usd=own,
        litellm_cost_nano_usd=outcome.litellm_nano_usd,
        counted_requests=0 if is_refused or call.counts_tokens else 1,
        counted_tokens=usage.total_tokens,
        counted_nano_usd=cost or 0,
        first_byte_ms=None if first is None else round((first - started_at) * 1000),
        total_ms=round((ended_at - started_at) * 1000),
        estimated=why is not None,
        estimated_why=why,
        error_code=_reported(outcome.error_code),
        client_request_id=reservation.client_request_id,
        stored_as=outcome.stored_as,
        stored_tokens=_tokens_of_turn(usage, why) if outcome.stored_as or outcome.stored_items else None,
        stored_items=outcome.stored_items,
    )


NO_TOOLS: Final[dict[str, Any]] = {"web_searches": 0, "file_searches": 0, "code_sessions": 0}


def _with_tools(usage: Usage, ran: Usage) -> Usage:
    """Providers report searches in the usage, or as items of the output, or both."""
    return replace(
        usage,
        web_searches=max(usage.web_searches, ran.web_searches),
        file_searches=max(usage.file_searches, ran.file_searches),
        code_sessions=max(usage.code_sessions, ran.code_sessions),
    )


def _tools_of(call: Call, reservation: Reservation) -> Usage | None:
    """The tools that the call may have run at most, as they were reserved; None: their fees are not known."""
    price = reservation.grant.price
    is_known = price is not None and not any(fee_of(price, tool) is None for tool in call.paid_tools)
    return reservation.expected if is_known else None


def _tokens_of_turn(usage: Usage, why: EstimatedWhy | None) -> int | None:
    """What the next turn puts into its prompt. None where the answer was not charged as a whole: reading it later would
    make leaving early pay."""
    return min(usage.total_tokens, MAX_TOKENS_OF_TURN) if why in (None, "no_usage", "clamped") else None


def _reported(text: str | None) -> str | None:
    """What the upstream says of itself, as Postgres takes it: no NUL, not longer than a name."""
    return None if text is None else text.replace("\0", "")[:MAX_REPORTED]


def _charged(call: Call, outcome: Outcome, reservation: Reservation) -> tuple[Usage, EstimatedWhy | None]:
    if outcome.ending in ("refused_upstream", "unreachable") or (call.is_free and outcome.ending == "completed"):
        return Usage(), None
    expected, is_estimate = reservation.expected, reservation.expected_is_estimate
    reported = outcome.usage
    if reported is not None:
        if is_estimate and reported.total_tokens == 0 and reported.audio_ms:
            # LiteLLM says how long a sound is where the model said nothing; this model is priced by tokens.
            return tokens_of_sound(reported.audio_ms), "no_usage"
        if expected.images or expected.characters or expected.queries:
            reported = replace(
                reported, images=expected.images, characters=expected.characters, queries=expected.queries
            )
        if reported.prompt_tokens == 0 and reported.completion_tokens and expected.prompt_tokens and call.media is None:
            # Some servers report the output only: there was a prompt.
            return replace(reported, prompt_tokens=expected.prompt_tokens), "no_usage"
        return reported, outcome.usage_why
    is_media = call.media is not None
    # Of tools, those that were run.
    passed = replace(expected, completion_tokens=outcome.passed_tokens, **NO_TOOLS)
    if (so_far := outcome.so_far) is not None:
        completion = max(outcome.passed_tokens, so_far.completion_tokens)
        passed = replace(so_far, completion_tokens=completion)
        if so_far.prompt_tokens == 0:
            passed = replace(passed, prompt_tokens=expected.prompt_tokens)
    if outcome.ending == "completed":
        # Reported by nobody, but of media known from the request.
        if is_media:
            return expected, "no_usage" if is_estimate else None
        return passed, "no_usage"
    if outcome.ending == "client_disconnected":
        # Of media the work is done.
        return expected if is_media else _left(passed, expected, outcome), "hung_up"
    # The upstream broke off: what passed is charged, nothing for nothing.
    return (passed if outcome.has_passed else Usage()), "cut_off"


def _left(passed: Usage, expected: Usage, outcome: Outcome) -> Usage:
    """Of a caller who left. Before any visible output it is the whole estimate: else leaving early would be free."""
    least = max(passed.completion_tokens, outcome.least_completion)
    if not outcome.passed_tokens or not outcome.has_passed:
        least = max(least, expected.completion_tokens)
    if not outcome.has_passed:
        passed = _with_tools(passed, expected)
    return replace(passed, completion_tokens=least)
