"""The tokens and the cost that are reserved for a call, and what it teaches when it ends."""

from typing import Final

from gateway.domain.admission import Expected, Learned, admissible, expect
from gateway.domain.calls import Usage
from gateway.domain.cost_bounds import NO_BOUNDS, CostBounds
from gateway.domain.grants import Grant, KeyRecord
from gateway.domain.reservation_plan import ReservationPlan
from gateway.endpoints.requests import Call
from gateway.learned_estimates import LearnedEstimates
from gateway.reservation import Reservation
from gateway.storage.counters.scripts import Estimate

# What a fast model reasons.
HIDDEN_TOKENS_A_SECOND: Final = 100


class Estimator:
    """Of one worker: it learns from the worker's own calls."""

    def __init__(self, bounds: CostBounds = NO_BOUNDS) -> None:
        self._learned = LearnedEstimates()
        self._bounds = bounds

    def admissible(
        self, record: KeyRecord, grant: Grant, call: Call, plan: ReservationPlan
    ) -> tuple[Estimate, Usage, bool]:
        """What is reserved, what the call is expected to use, and whether that is only an estimate. Raises
        GatewayError `model_has_no_price`, `cost_not_bounded`."""
        return _reserved(admissible(grant, call, plan, self._bounds, self._learned_of(record, grant)))

    def unlearned(self, grant: Grant, call: Call, plan: ReservationPlan) -> tuple[Estimate, Usage, bool]:
        """The same as on a fresh gateway, of a call that is admissible."""
        return _reserved(expect(grant, call, plan, self._bounds))

    def _learned_of(self, record: KeyRecord, grant: Grant) -> Learned:
        return Learned(self._learned.prompt_ratio(record, grant), self._learned.history(record, grant))

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


def _reserved(expected: Expected) -> tuple[Estimate, Usage, bool]:
    return Estimate(tokens=expected.tokens, cost=expected.cost), expected.usage, expected.is_estimate
