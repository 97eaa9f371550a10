"""The tokens and the cost that are reserved for a call, and what it teaches when it ends."""

from typing import Final

from msgspec.structs import replace

from gateway.cost_bounds import NO_BOUNDS, CostBounds, longest
from gateway.domain.calls import Usage
from gateway.domain.estimates import expected_completion
from gateway.domain.grants import Grant, KeyRecord
from gateway.domain.prices import Price, cost_nano_usd, dearest_nano_usd
from gateway.domain.reservation_plan import ReservationPlan
from gateway.endpoints.paid_tools import reserved_uses
from gateway.endpoints.requests import Call
from gateway.learned_estimates import LearnedEstimates
from gateway.reservation import Reservation
from gateway.storage.counters.scripts import Estimate

# One of a nano-USD, and one of 10^12: LiteLLM adds up floats, and each figure is rounded up.
ROUNDING_BITS: Final = 40
# What a fast model reasons.
HIDDEN_TOKENS_A_SECOND: Final = 100


class Estimator:
    """Of one worker: it learns from the worker's own calls."""

    def __init__(self, bounds: CostBounds = NO_BOUNDS) -> None:
        self._learned = LearnedEstimates()
        self._bounds = bounds

    def estimate(
        self, record: KeyRecord, grant: Grant, call: Call, plan: ReservationPlan, *, is_learned: bool = True
    ) -> tuple[Estimate, Usage, bool]:
        """What is reserved, what the call is expected to use, and whether that is only an estimate."""
        expected, is_estimate = call.expected_units(grant.price)
        ratio = self._learned.prompt_ratio(record, grant) if is_learned else 1.0
        prompt = round(call.prompt_tokens * ratio) + call.stored_tokens
        history = self._learned.history(record, grant) if is_learned else None
        completion = expected_completion(history, call.maximum, call.choices)
        if plan.max_completion is not None:
            completion = min(completion, plan.max_completion)
        most = longest(grant, call, self._bounds) if plan.has_maximum else (0, 0)
        if call.media is None:
            expected = replace(expected, prompt_tokens=prompt, completion_tokens=completion)
        if call.paid_tools:
            expected = replace(expected, **reserved_uses(call.paid_tools, self._bounds.tool_uses))
        cost = (0, 0, 0)
        if grant.price is not None and not call.is_free:
            cost = _costs(grant.price, call, plan, expected, most)
        return Estimate(tokens=(prompt, completion, sum(most)), cost=cost), expected, is_estimate

    def may_hide_output(self, reservation: Reservation, call: Call) -> bool:
        """Whether the model may reason, of which callers are shown nothing or a summary: by its capabilities, the
        request or the account's earlier answers."""
        if call.media is not None or call.maximum == 0:
            return False
        mean = self._learned.output_mean(reservation.record, reservation.grant)
        return call.asks_to_reason or reservation.grant.reasons or (mean is not None and mean.reasons)

    def least_completion(self, reservation: Reservation, call: Call, *, hidden_for_s: float) -> int:
        """The output that a caller who left is charged at least: the account's mean, and what the model may have made
        unseen in `hidden_for_s` seconds, where the call bounds it no lower."""
        mean = self._learned.output_mean(reservation.record, reservation.grant)
        one = max(mean.tokens if mean else 0, round(hidden_for_s * HIDDEN_TOKENS_A_SECOND))
        bound = reservation.grant.max_output_tokens if call.maximum is None else call.maximum
        return (one if bound is None else min(one, bound)) * call.choices

    def learn(self, reservation: Reservation, usage: Usage) -> None:
        """Takes what a completed call used into the next estimates."""
        self._learned.learn(reservation, usage)


def _costs(
    price: Price, call: Call, plan: ReservationPlan, expected: Usage, most: tuple[int, int]
) -> tuple[int, int, int]:
    """Nano-USD of the prompt, of the completion, and the most the call may cost."""
    whole = _dearest_of_tiers(price, expected, call.service_tier)
    prompt_only = upper_bound = 0
    if plan.has_cost:
        prompt_only = _dearest_of_tiers(price, replace(expected, completion_tokens=0), call.service_tier)
    if plan.has_maximum:
        longest_usage = expected
        if call.media is None:
            longest_usage = replace(expected, prompt_tokens=most[0], completion_tokens=most[1])
        upper_bound = dearest_nano_usd(price, longest_usage)
        upper_bound += 1 + (upper_bound >> ROUNDING_BITS)
    return prompt_only, whole - prompt_only, upper_bound


def _dearest_of_tiers(price: Price, usage: Usage, asked: str | None) -> int:
    """The answer says which service tier it was: one that is dear may be served at the usual price, or the reverse."""
    return max(cost_nano_usd(price, usage, tier) for tier in price.tiers_of(asked))
