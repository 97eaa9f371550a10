"""Step 2: estimate what the call takes, and reserve it from every limit at once."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from time import monotonic
from typing import Final
from uuid import UUID
from weakref import WeakKeyDictionary

import msgspec
import structlog

from gateway import metrics
from gateway.domain.cost_bounds import NO_BOUNDS, CostBounds
from gateway.domain.errors import GatewayError
from gateway.domain.grants import Grant, KeyRecord
from gateway.domain.ids import RequestIds, milliseconds_of
from gateway.domain.limits import BUCKET_KINDS
from gateway.domain.ratelimit_headers import RateLimitHeaders
from gateway.domain.refusals import Taken, decisive, pair, refusal
from gateway.domain.reservation_plan import ReservationPlan, make_reservation_plan
from gateway.domain.retry_pacing import Turns
from gateway.domain.token_counting import counting_bounds
from gateway.endpoints.requests import Call
from gateway.estimate import Estimator
from gateway.reservation import Reservation
from gateway.storage.counters.layout import pack_entries
from gateway.storage.counters.scripts import Counters, ReserveReply
from gateway.storage.redis.link import NotRun, RedisUnavailable, ScriptFailed
from gateway.web.background import Background
from gateway.without_redis import DENY, WithoutRedis

log = structlog.get_logger(__name__)

# A seed answers all but a race with another loss; a late window needs one new id.
MAX_TRIES: Final = 5
# Before a concurrency limit refuses, it is asked once more.
SLOT_WAIT_S: Final = 0.05
# Reapers forget an account that nobody names for ten minutes.
ANNOUNCE_S: Final = 60.0
MAX_ANNOUNCED: Final = 50_000


class LimitExceeded(Exception):
    """Refused by a limit: `error` for the caller, the rest for who counts."""

    def __init__(
        self, error: GatewayError, by: Taken, reservation: Reservation, headers: list[tuple[bytes, bytes]]
    ) -> None:
        super().__init__(error.message)
        self.error = error
        self.by = by
        self.reservation = reservation
        self.headers = headers


class _PreparedPlan:
    """A plan, and what is the same for every call that it is good for. `buckets` are ids of limits, `shadows` places of
    those that refuse nobody."""

    __slots__ = ("buckets", "headers", "packed", "plan", "shadows")

    def __init__(self, plan: ReservationPlan) -> None:
        self.plan = plan
        self.packed = pack_entries(plan.entries)
        self.headers = RateLimitHeaders(plan.limits, plan.entries)
        self.buckets = tuple(limit.id for limit in plan.limits if limit.is_bucket)
        self.shadows = tuple(n for n, limit in enumerate(plan.limits) if limit.shadow)


class Admission:
    """Estimates and reserves for one worker, and learns from what calls really used."""

    def __init__(
        self,
        counters: Counters,
        ids: RequestIds,
        *,
        seed: Callable[[KeyRecord, ReservationPlan, tuple[int, ...]], Awaitable[None]],
        sweep_due: Callable[[int], None],
        free: Callable[[int, UUID], None],
        background: Background,
        token_counts_per_minute: int = 0,
        clock: Callable[[], float] = monotonic,
        turns: Turns | None = None,
        bounds: CostBounds = NO_BOUNDS,
        without_redis: WithoutRedis = DENY,
    ) -> None:
        self._counters = counters
        self._ids = ids
        self._seed = seed
        self._sweep_due = sweep_due
        self._free = free
        self._background = background
        self._turns = turns or Turns()
        self._announced: dict[int, float] = {}
        self._without_redis, self._local = without_redis, without_redis.local
        self._token_counts_per_minute = token_counts_per_minute
        self._clock = clock
        self._plans: WeakKeyDictionary[Grant, _PreparedPlan] = WeakKeyDictionary()
        self.estimator = Estimator(bounds)

    async def admit(
        self,
        request_id: UUID,
        record: KeyRecord,
        grant: Grant,
        call: Call,
        endpoint: str,
        *,
        client_request_id: str | None = None,
    ) -> Reservation:
        """Raises LimitExceeded, or GatewayError: `model_has_no_price`, `cost_not_bounded`, `limits_unavailable`,
        `clock_skew`."""
        plan = self._plan(grant, record, milliseconds_of(request_id), counts_tokens=call.counts_tokens)
        estimate, expected, is_estimate = self.estimator.admissible(record, grant, call, plan.plan)
        reservation = Reservation(
            request_id=request_id,
            client_request_id=client_request_id,
            record=record,
            grant=grant,
            expected=expected,
            expected_is_estimate=is_estimate,
            raw_prompt_tokens=0.0 if call.hides_prompt else call.prompt_tokens,
            choices=call.choices,
            is_leased=True,
            counts_tokens=call.counts_tokens,
            estimate=estimate,
            note=_note(record, grant, call, endpoint, client_request_id),
            headers=[],
        )
        try:
            return await self._reserve(reservation, call)
        except (RedisUnavailable, ScriptFailed) as exc:
            if isinstance(exc, ScriptFailed):
                # A full Redis, or another's value under our name.
                log.error("limits_not_checked", account_id=record.account_id, cause=str(exc))
            # Under another id: this one's reservation may have reached Redis, and is given back then.
            reservation.request_id = self._ids.new()
            self._without_redis.admit(reservation, plan.plan, milliseconds_of(reservation.request_id))
            return reservation

    async def _reserve(self, reservation: Reservation, call: Call) -> Reservation:
        record, grant = reservation.record, reservation.grant
        request_id = reservation.request_id
        self._announce(record.account_id)
        has_waited, is_learned = False, True
        for _ in range(MAX_TRIES):
            start_ms = milliseconds_of(request_id)
            plan = self._plan(grant, record, start_ms, counts_tokens=reservation.counts_tokens)
            try:
                reply = await self._counters.reserve(
                    record.account_id,
                    request_id,
                    plan.packed,
                    reservation.estimate,
                    start_ms=start_ms,
                    scopes=reservation.scopes,
                    note=reservation.note,
                )
            except BaseException as exc:
                # No answer, or a stop of the server while waiting for it. The script may have run: whatever it took
                # is given back as soon as Redis answers.
                if not isinstance(exc, NotRun):
                    self._free(record.account_id, request_id)
                raise
            if self._local is not None and reply.takings:
                self._local.saw(reservation, plan.plan, reply)
            if reply.is_sweep_due:
                self._sweep_due(record.account_id)
            if reply.status in ("taken", "repeated"):
                reservation.request_id = request_id
                if reply.takings:
                    self._note_admitted(plan, reply)
                    reservation.headers = plan.headers.of(reply.takings, reply.now_ms, is_admitted=True)
                return reservation
            if reply.status == "seed":
                # Redis may have lost the account's name, too.
                self._announced.pop(record.account_id, None)
                self._announce(record.account_id)
                await self._seed(record, plan.plan, reply.seed)
            elif reply.status in ("late", "clock_skew"):
                request_id = await self._new_id(reply)
            else:
                by = decisive(pair(plan.plan, reply.takings))
                if is_learned and by.never_fits:
                    # That a call can never fit is not said on the strength of what was learned.
                    is_learned = False
                    learned = reservation.estimate
                    reservation.estimate, reservation.expected, _ = self.estimator.unlearned(grant, call, plan.plan)
                    if reservation.estimate != learned:
                        continue
                if not has_waited and by.limit.kind == "concurrency":
                    # Slots may be held by leases of a crashed gateway, which are being reaped, or by the caller's last
                    # call, whose answer they have received and which is being settled.
                    has_waited = True
                    await asyncio.sleep(SLOT_WAIT_S)
                    continue
                raise self._refuse(by, plan, reply, reservation)
        raise GatewayError("clock_skew", "The gateway's clock is off. Try again.", headers={"retry-after": "1"})

    def forget_announced(self) -> None:
        """Of a Redis that is gone: the one that answers now may know none of the accounts."""
        self._announced.clear()

    def _announce(self, account_id: int) -> None:
        now = self._clock()
        if now - self._announced.get(account_id, -ANNOUNCE_S) >= ANNOUNCE_S:
            if len(self._announced) >= MAX_ANNOUNCED:
                self._announced.clear()
            self._announced[account_id] = now
            # In the same write as the reserve that follows; the caller does not wait for it.
            self._background.start(self._name_account(account_id), "announce-account")

    async def _name_account(self, account_id: int) -> None:
        try:
            await self._counters.announce(account_id)
        except (RedisUnavailable, ScriptFailed):
            # The reserve that goes with it fails too, and says so; the next call names the account again.
            self._announced.pop(account_id, None)

    async def take_again(self, reservation: Reservation, is_open: Callable[[], bool]) -> None:
        """Reserves without refusing: the call is under way, and Redis lost its lease. Windows that are over by now
        are left out. Not once it has ended, which may be while its counters are seeded: nobody would settle the lease.
        Raises RedisUnavailable."""
        record, grant = reservation.record, reservation.grant
        now_ms = milliseconds_of(self._ids.new())
        for _ in range(MAX_TRIES):
            plan = self._plan(grant, record, now_ms, counts_tokens=reservation.counts_tokens)
            start_ms = milliseconds_of(reservation.request_id)
            entries = [e for e in plan.plan.entries if e.b == 0 or e.a <= start_ms < e.b]
            if not is_open():
                return
            reply = await self._counters.reserve(
                record.account_id,
                reservation.request_id,
                pack_entries(entries),
                reservation.estimate,
                start_ms=start_ms,
                scopes=reservation.scopes,
                note=reservation.note,
                mode="force",
            )
            if reply.status != "seed":
                return
            kept = [n for n, e in enumerate(plan.plan.entries) if e in entries]
            await self._seed(record, plan.plan, tuple(kept[n] for n in reply.seed))

    async def _new_id(self, reply: ReserveReply) -> UUID:
        # Another gateway was the first in a new window: this call is a moment behind it, or the clock is off.
        self._ids.offset_ms += reply.now_ms - milliseconds_of(self._ids.new())
        await asyncio.sleep(0.005)
        return self._ids.new()

    def _refuse(self, by: Taken, plan: _PreparedPlan, reply: ReserveReply, reservation: Reservation) -> LimitExceeded:
        wait_s = by.wait_s()
        if by.limit.kind in BUCKET_KINDS and by.limit.amount:
            alone_s = 60 * by.want / by.limit.amount
            wait_s = self._turns.wait_s(by.limit.id, self._clock(), wait_s, alone_s)
        headers = plan.headers.of(reply.takings, reply.now_ms, is_admitted=False)
        return LimitExceeded(refusal(by, wait_s), by, reservation, headers)

    def _note_admitted(self, plan: _PreparedPlan, reply: ReserveReply) -> None:
        now_s = self._clock()
        for limit_id in plan.buckets:
            self._turns.admitted(limit_id, now_s)
        if plan.shadows:
            taken = pair(plan.plan, reply.takings)
            for limit in [taken[n].limit for n in plan.shadows if taken[n].refuses]:
                metrics.SHADOW_REFUSALS.labels(limit.level, limit.kind).inc()

    def _plan(self, grant: Grant, record: KeyRecord, at_ms: int, *, counts_tokens: bool) -> _PreparedPlan:
        if counts_tokens:
            bounds = counting_bounds(record.key_id, self._token_counts_per_minute)
            plan = make_reservation_plan(replace(grant, limits=bounds), record.time_zone, record.epoch, at_ms)
            return _PreparedPlan(plan)
        known = self._plans.get(grant)
        if known is None or not known.plan.from_ms <= at_ms < known.plan.until_ms:
            plan = make_reservation_plan(grant, record.time_zone, record.epoch, at_ms)
            known = self._plans[grant] = _PreparedPlan(plan)
        return known


def _note(record: KeyRecord, grant: Grant, call: Call, endpoint: str, client_request_id: str | None) -> bytes:
    """What a reaper needs for the ledger row, beside the lease's own numbers."""
    note = {
        "user_id": record.user_id,
        "api_key_id": record.key_id,
        "subscription_id": grant.subscription_id,
        "model_id": grant.model_id,
        "model": grant.model_name,
        "price_id": grant.price.id if grant.price else None,
        "endpoint": endpoint,
        "streamed": call.is_streamed,
    }
    if call.counts_tokens:
        note["counted_requests"] = 0
    if client_request_id is not None:
        note["client_request_id"] = client_request_id
    return msgspec.json.encode(note)
