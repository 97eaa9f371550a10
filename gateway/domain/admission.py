"""What a call is expected to take, and whether it may ask its limits at all: one decision for the gateway, which
reserves it, and for the admin side, which explains it."""

from typing import Final, NamedTuple

from msgspec.structs import replace

from gateway.domain.call_shapes import CallShape
from gateway.domain.calls import Usage
from gateway.domain.cost_bounds import NO_BOUNDS, CostBounds, check_fees, check_is_bounded, longest
from gateway.domain.errors import GatewayError
from gateway.domain.estimates import CompletionHistory, expected_completion
from gateway.domain.grants import Grant
from gateway.domain.paid_tools import reserved_uses
from gateway.domain.prices import Price, cost_nano_usd, dearest_nano_usd
from gateway.domain.reservation_plan import ReservationPlan

# One of a nano-USD, and one of 10^12: LiteLLM adds up floats, and each figure is rounded up.
ROUNDING_BITS: Final = 40


class Learned(NamedTuple):
    """What earlier calls taught of an account's prompts and a key's answers."""

    prompt_ratio: float = 1.0
    history: CompletionHistory | None = None


NOTHING_LEARNED: Final = Learned()


class Expected(NamedTuple):
    """(prompt, completion, at most) in tokens and in nano-USD; what the call is expected to use, and whether that is
    only an estimate."""

    tokens: tuple[int, int, int]
    cost: tuple[int, int, int]
    usage: Usage
    is_estimate: bool


def expect(
    grant: Grant, call: CallShape, plan: ReservationPlan, bounds: CostBounds, learned: Learned = NOTHING_LEARNED
) -> Expected:
    """What is reserved for a call."""
    usage, is_estimate = call.expected_units(grant.price)
    prompt = round(call.prompt_tokens * learned.prompt_ratio) + call.stored_tokens
    completion = expected_completion(learned.history, call.maximum, call.choices)
    if plan.max_completion is not None:
        completion = min(completion, plan.max_completion)
    most = longest(grant, call, bounds) if plan.has_maximum else (0, 0)
    if call.media is None:
        usage = replace(usage, prompt_tokens=prompt, completion_tokens=completion)
    if call.paid_tools:
        usage = replace(usage, **reserved_uses(call.paid_tools, bounds.tool_uses))
    cost = (0, 0, 0)
    if grant.price is not None and not call.is_free:
        cost = _costs(grant.price, call, plan, usage, most)
    return Expected((prompt, completion, sum(most)), cost, usage, is_estimate)


def admissible(
    grant: Grant,
    call: CallShape,
    plan: ReservationPlan,
    bounds: CostBounds = NO_BOUNDS,
    learned: Learned = NOTHING_LEARNED,
) -> Expected:
    """The same, for a call that its limits can count. Raises GatewayError `model_has_no_price`, `cost_not_bounded`."""
    if plan.has_cost and (grant.price is None or not grant.price.is_known):
        message = f"The model '{grant.model_name}' has no price, so it cannot be used under a cost limit."
        raise GatewayError("model_has_no_price", message, param="model")
    if call.paid_tools and plan.has_cost and grant.price is not None:
        check_fees(grant.price, call)
    expected = expect(grant, call, plan, bounds, learned)
    check_is_bounded(grant, call, plan, bounds, is_estimate=expected.is_estimate)
    return expected


def _costs(
    price: Price, call: CallShape, plan: ReservationPlan, usage: Usage, most: tuple[int, int]
) -> tuple[int, int, int]:
    """Nano-USD of the prompt, of the completion, and the most the call may cost."""
    whole = _dearest_of_tiers(price, usage, call.service_tier)
    prompt_only = upper_bound = 0
    if plan.has_cost:
        prompt_only = _dearest_of_tiers(price, replace(usage, completion_tokens=0), call.service_tier)
    if plan.has_maximum:
        longest_usage = usage
        if call.media is None:
            longest_usage = replace(usage, prompt_tokens=most[0], completion_tokens=most[1])
        upper_bound = dearest_nano_usd(price, longest_usage)
        upper_bound += 1 + (upper_bound >> ROUNDING_BITS)
    return prompt_only, whole - prompt_only, upper_bound


def _dearest_of_tiers(price: Price, usage: Usage, asked: str | None) -> int:
    """The answer says which service tier it was: one that is dear may be served at the usual price, or the reverse."""
    return max(cost_nano_usd(price, usage, tier) for tier in price.tiers_of(asked))
