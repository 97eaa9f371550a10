"""Step 2 again, for a call that goes on: may this session have another response? And what it has used is charged as it
goes, so that other calls, and the process that finds its lease, know."""

from dataclasses import replace

import structlog

from gateway.domain.calls import Usage
from gateway.domain.errors import GatewayError
from gateway.domain.estimates import FIRST_COMPLETION
from gateway.domain.grants import Grant, KeyRecord
from gateway.domain.limits import BUCKET_UNITS, LIMIT_KINDS, Limit
from gateway.domain.prices import Price, cost_nano_usd
from gateway.domain.refusals import Taken, decisive, refusal
from gateway.reservation import Reservation
from gateway.storage.counters.scripts import Counters, Estimate
from gateway.storage.counters.state import LimitState
from gateway.storage.ledger.begun_calls import BegunCalls
from gateway.storage.redis.link import RedisUnavailable, ScriptFailed

log = structlog.get_logger(__name__)


class SessionQuota:
    """One session's account with its limits. A response takes what the last one used; the first, a usual answer."""

    def __init__(
        self,
        counters: Counters,
        state: LimitState,
        begun: BegunCalls,
        reservation: Reservation,
        *,
        allows_without_redis: bool,
    ) -> None:
        self._counters = counters
        self._begun = begun
        self._state = state
        self._reservation = reservation
        self._allows_without_redis = allows_without_redis
        self.next_response = Usage(completion_tokens=FIRST_COMPLETION)
        self.used = Usage()
        # What the lease holds: never less than before.
        self._held_tokens = reservation.reserved_tokens
        self._held_nano_usd = reservation.reserved_nano_usd

    async def refuse(self, record: KeyRecord, grant: Grant) -> GatewayError | None:
        """Why the session may have no other response now: `insufficient_quota` for a window that is spent, which ends
        it; `rate_limit_exceeded`, `limits_unavailable` where it may try again."""
        try:
            taken, _ = await self._state.look(record, grant, self._reservation.request_id)
        except (RedisUnavailable, ScriptFailed) as exc:
            if self._allows_without_redis:
                return None
            log.warning("session_limits_unknown", cause=str(exc))
            message = "Limits cannot be checked at this moment, so the response is refused. Try again."
            return GatewayError("limits_unavailable", message)
        refusing = [own for one in taken if (own := self._own_view(one)) is not None and own.refuses]
        if not refusing:
            return None
        by = decisive(refusing)
        return refusal(by, by.wait_s())

    def _own_view(self, taken: Taken) -> Taken | None:
        """A limit less the unused reservation of this session; None for kinds that count neither tokens nor cost."""
        limit, counts = taken.limit, LIMIT_KINDS[taken.limit.kind].counts
        if limit.shadow or counts not in ("tokens", "nano_usd"):
            return None
        if counts == "nano_usd":
            if self._cost(Usage(prompt_tokens=1, completion_tokens=1)) == 0:
                return None
            own, used = self._held_nano_usd, self._cost(self.used)
        else:
            own, used = self._held_tokens, self.used.total_tokens
        left = taken.left + max(0, own - used) * (BUCKET_UNITS if limit.is_bucket else 1)
        # What it has used is used, though it stands under reserved as long as the session lasts.
        return replace(taken, left=left, held=max(0, taken.held - own), want=1)

    async def reserve(self, grant: Grant) -> None:
        """Takes the next response's estimate, whatever is left: that there is something has been looked at."""
        maximum = _half_of_smallest_bucket(grant.limits)
        tokens = self.next_response.total_tokens
        ahead = self.next_response
        if maximum is not None and tokens > maximum:
            ahead = Usage(completion_tokens=maximum)
        await self._charge(self.used + ahead)

    async def charge(self, usage: Usage) -> None:
        """Adds the reported usage of a response or transcription."""
        self.used = self.used + usage
        if usage.completion_tokens:
            self.next_response = usage
        await self._charge(self.used)

    async def _charge(self, usage: Usage) -> None:
        tokens, nano_usd = usage.total_tokens, self._cost(usage)
        if tokens <= self._held_tokens and nano_usd <= self._held_nano_usd:
            return
        self._held_tokens, self._held_nano_usd = max(tokens, self._held_tokens), max(nano_usd, self._held_nano_usd)
        tokens, nano_usd = self._held_tokens, self._held_nano_usd
        # Should Redis lose the lease, this much is taken again.
        self._reservation.estimate = Estimate(tokens=(tokens, 0, tokens), cost=(nano_usd, 0, nano_usd))
        request_id, account_id = self._reservation.request_id, self._reservation.record.account_id
        self._begun.update(request_id, account_id, self._reservation.estimate, self._reservation.note)
        if not self._reservation.is_leased:
            return
        try:
            await self._counters.charge(account_id, request_id, tokens=tokens, nano_usd=nano_usd)
        except (RedisUnavailable, ScriptFailed) as exc:
            # The next one is cumulative, and the end settles all.
            log.warning("session_not_charged", cause=str(exc))

    def _cost(self, usage: Usage) -> int:
        price: Price | None = self._reservation.grant.price
        return 0 if price is None or not price.is_known else cost_nano_usd(price, usage)


def _half_of_smallest_bucket(limits: tuple[Limit, ...]) -> int | None:
    buckets = (limit for limit in limits if limit.is_bucket and not limit.shadow)
    return min((one.capacity // 2 for one in buckets if LIMIT_KINDS[one.kind].counts == "tokens"), default=None)
