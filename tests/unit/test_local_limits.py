"""Without Redis each worker uses its share of what was left, and not one unit more, whatever order calls come in."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from gateway.domain.calls import Usage
from gateway.domain.grants import Grant, KeyRecord
from gateway.domain.limits import BUCKET_UNITS, LIMIT_KINDS, Kind, Limit
from gateway.domain.reservation_plan import ReservationPlan, make_reservation_plan
from gateway.domain.usage_rows import UsageRow
from gateway.local_limits import LocalLimits, ShareUsed, StateUnknown
from gateway.reservation import Reservation
from gateway.storage.counters.scripts import Estimate, ReserveReply, Taking

HISTORIES = 150
# A minute before midnight, so that windows of a day end within a history.
BEGIN_MS = int(datetime(2026, 3, 4, 23, 59, tzinfo=UTC).timestamp() * 1000)
SCOPES = {"key": "k1", "key_model": "k1m1", "subscription": "s1", "user": "u1"}


def new_limit(number: int, kind: Kind, amount: int, **fields: object) -> Limit:
    window = "day" if LIMIT_KINDS[kind].counter == "window" else None
    level = fields.pop("level", "key")
    known = {"id": number, "level": level, "scope": SCOPES[level], "kind": kind, "window": window, "amount": amount}  # type: ignore[index]
    return Limit(**(known | fields))  # type: ignore[arg-type]


def new_grant(limits: list[Limit]) -> Grant:
    return Grant(
        model_id=1, model_name="small", owned_by="x", max_output_tokens=None, subscription_id=1,
        subscription_expires_at=None, price=None, limits=tuple(limits), scopes="k1 k1m1 s1 u1",
    )  # fmt: skip


RECORD = KeyRecord(
    key_id=1, account_id=1, user_id=1, time_zone="UTC", epoch=1, is_account_active=True, is_user_active=True,
    is_revoked=False, expires_at=None, allowed_ips=(), grants={},
)  # fmt: skip


def new_reservation(grant: Grant, number: int, estimate: Estimate, *, is_leased: bool = False) -> Reservation:
    return Reservation(
        request_id=UUID(int=number), record=RECORD, grant=grant, expected=Usage(), expected_is_estimate=False,
        raw_prompt_tokens=1.0, choices=1, is_leased=is_leased, counts_tokens=False, estimate=estimate, note=b"",
        headers=[],
    )  # fmt: skip


def new_row(reservation: Reservation, tokens: int, nano_usd: int) -> UsageRow:
    return UsageRow(
        request_id=reservation.request_id, started_at=datetime.now(UTC), account_id=1, user_id=1, api_key_id=1,
        subscription_id=1, model_id=1, model_asked="small", endpoint="chat", streamed=False, status=200,
        ending="completed", prompt_tokens=tokens, completion_tokens=0, cached_tokens=0, cache_write_tokens=0,
        reasoning_tokens=0, cost_nano_usd=nano_usd, price_id=None, counted_requests=1,
        counted_tokens=tokens, counted_nano_usd=nano_usd, total_ms=1, estimated=False,
    )  # fmt: skip


@dataclass
class Ended:
    start_ms: int
    requests: int
    tokens: int
    nano_usd: int


@dataclass
class Worker:
    """One worker, and what its calls used by the test's own books."""

    limits: LocalLimits = field(init=False)
    workers: int | None
    clock: Callable[[], float]
    leased: int = 0
    open: dict[UUID, tuple[Reservation, int, Estimate]] = field(default_factory=dict)
    ended: list[Ended] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.limits = LocalLimits(lambda: self.workers, self, clock=self.clock)

    def count(self, account_id: int, scope: str, *, is_leased: bool | None = None) -> int:
        return self.leased + (0 if is_leased else len(self.open))

    def sees(self, grant: Grant, used: dict[str, int], at_ms: int) -> None:
        plan = make_reservation_plan(grant, "UTC", 1, at_ms)
        takings = []
        for limit in plan.limits:
            unit = BUCKET_UNITS if limit.is_bucket else 1
            takings.append(Taking(limit.capacity * unit - used[limit.field], 0, 1))
        reply = ReserveReply("refused", at_ms, False, tuple(takings))
        self.limits.saw(new_reservation(grant, 0, NOTHING), plan, reply)

    def used(self, limit: Limit, day: int) -> int:
        """Of calls that have ended, and at least of those under way; of a window those that began in it."""
        counts = LIMIT_KINDS[limit.kind].counts
        is_in = (lambda ms: ms // DAY_MS == day) if limit.window else (lambda ms: True)
        ended = sum(getattr(one, counts) for one in self.ended if is_in(one.start_ms))
        if counts == "requests":
            return ended + sum(is_in(start) for _, start, _ in self.open.values())
        return ended + sum(_least(one, limit) for _, start, one in self.open.values() if is_in(start))


DAY_MS = 86_400_000
NOTHING = Estimate(tokens=(0, 0, 0), cost=(0, 0, 0))


def _least(estimate: Estimate, limit: Limit) -> int:
    """The part of an estimate that is never cut."""
    prompt, _, most = estimate.tokens if LIMIT_KINDS[limit.kind].counts == "tokens" else estimate.cost
    return most if limit.reserve == "maximum" else prompt


class History:
    """Random limits, of which something is used; then workers without Redis, until midnight is over."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.now_ms = BEGIN_MS
        self.is_fresh = self.chance.random() < 0.6
        kinds: list[Kind] = self.chance.sample(list(LIMIT_KINDS), self.chance.randint(1, 4))
        limits = [self._limit(n, kind) for n, kind in enumerate(kinds)]
        if limits[0].window and not limits[0].shadow:
            # An owner's limit on the counter of an admin's.
            limits.append(
                new_limit(99, limits[0].kind, limits[0].amount // 2 + 1, level=limits[0].level, set_by="owner")
            )
        self.grant = new_grant(limits)
        self.workers = [Worker(self.chance.randint(1, 4), lambda: self.now_ms / 1000)]
        number = self.workers[0].workers or 1
        self.workers += [Worker(number, lambda: self.now_ms / 1000) for _ in range(number - 1)]
        held = min((limit.amount for limit in limits if limit.kind == "concurrency"), default=0)
        for _ in range(self.chance.randint(0, held)):
            self.chance.choice(self.workers).leased += 1
        self.known: list[dict[str, int]] = []
        now = {limit.field: self._used(limit) for limit in sorted(limits, key=lambda one: one.amount, reverse=True)}
        for worker in self.workers:
            seen = dict(now)
            if not self.is_fresh:
                seen = {f: number if f[0] == "c" else self.chance.randint(0, number) for f, number in now.items()}
            worker.sees(self.grant, seen, self.now_ms)
            self.known.append(seen)
        self.admitted = 0

    def _limit(self, number: int, kind: Kind) -> Limit:
        chance = self.chance
        amount = {"requests": chance.randint(0, 60), "tokens": chance.randint(0, 20_000)}.get(
            LIMIT_KINDS[kind].counts, chance.randint(0, 10**7)
        )
        return new_limit(
            number, kind, amount, level=chance.choice(list(SCOPES)), reserve=chance.choice(["expected", "maximum"]),
            burst=Decimal(chance.choice([1, 2])), shadow=chance.random() < 0.15,
        )  # fmt: skip

    def _used(self, limit: Limit) -> int:
        if limit.kind == "concurrency":
            return sum(worker.leased for worker in self.workers)
        unit = BUCKET_UNITS if limit.is_bucket else 1
        return self.chance.randint(0, limit.capacity * unit)

    def share(self, n: int, limit: Limit, day: int) -> int:
        """The formula of docs/limits.md, in whole units but for a bucket."""
        worker, known = self.workers[n], self.known[n][limit.field]
        workers = worker.workers or 1
        if limit.is_bucket:
            refilled = (self.now_ms - BEGIN_MS) * limit.amount / workers
            return int((limit.capacity * BUCKET_UNITS - known) / workers + refilled)
        if limit.window and day > BEGIN_MS // DAY_MS:
            known = 0
        return max(0, limit.amount - known) // workers

    def step(self) -> None:
        n = self.chance.randrange(len(self.workers))
        worker = self.workers[n]
        if worker.open and self.chance.random() < 0.45:
            self._end(worker)
        elif worker.leased and self.chance.random() < 0.1:
            worker.leased -= 1
        elif self.chance.random() < 0.2:
            self.now_ms += self.chance.randint(1, 5000)
        else:
            self._call(n, worker)

    def _call(self, n: int, worker: Worker) -> None:
        prompt, completion = self.chance.randint(0, 300), self.chance.randint(0, 500)
        most = prompt + self.chance.randint(completion, 1500)
        estimate = Estimate(tokens=(prompt, completion, most), cost=(prompt * 900, completion * 900, most * 900))
        reservation = new_reservation(self.grant, self.chance.getrandbits(64), estimate)
        plan = make_reservation_plan(self.grant, "UTC", 1, self.now_ms)
        try:
            worker.limits.take(reservation, plan, self.now_ms)
        except ShareUsed:
            return
        worker.open[reservation.request_id] = (reservation, self.now_ms, estimate)
        self.admitted += 1
        self._check(n, plan)

    def _end(self, worker: Worker) -> None:
        reservation, start_ms, estimate = worker.open.pop(self.chance.choice(list(worker.open)))
        # A call uses at most its maximum, and mostly less or more than was expected.
        tokens = self.chance.randint(0, estimate.tokens[2])
        worker.ended.append(Ended(start_ms, 1, tokens, tokens * 900))
        worker.limits.ended(new_row(reservation, tokens, tokens * 900))

    def _check(self, n: int, plan: ReservationPlan) -> None:
        """A call was just admitted: with it, the worker is within each of its shares."""
        worker, day = self.workers[n], self.now_ms // DAY_MS
        for limit in plan.limits:
            if limit.shadow:
                continue
            if limit.kind == "concurrency":
                assert len(worker.open) + worker.leased <= self.own[n] + self.share(n, limit, day), limit
                continue
            used = worker.used(limit, day)
            assert used * (BUCKET_UNITS if limit.is_bucket else 1) <= self.share(n, limit, day) or not _takes(
                limit, worker
            ), (limit, used)

    def run(self) -> None:
        self.own = [worker.leased for worker in self.workers]
        for _ in range(200):
            self.step()
        for worker in self.workers:
            while worker.open:
                self._end(worker)
        self._check_all()

    def _check_all(self) -> None:
        """In the end: where all workers saw the same, nothing that reserves its maximum is above its limit."""
        if not self.is_fresh:
            return
        for limit in self.grant.limits:
            is_bounded = limit.reserve == "maximum" or LIMIT_KINDS[limit.kind].counts == "requests"
            if not limit.window or limit.shadow or not is_bounded:
                continue
            for day in (BEGIN_MS // DAY_MS, BEGIN_MS // DAY_MS + 1):
                known = self.known[0][limit.field] if day == BEGIN_MS // DAY_MS else 0
                used = sum(worker.used(limit, day) for worker in self.workers)
                assert known + used <= max(limit.amount, known), limit


def _takes(limit: Limit, worker: Worker) -> bool:
    """Whether the last call took anything of this limit: one that needs none is not refused by it."""
    if LIMIT_KINDS[limit.kind].counts == "requests":
        return True
    return _least(list(worker.open.values())[-1][2], limit) > 0


def test_in_random_histories_no_worker_uses_more_than_its_share() -> None:
    admitted = 0
    for seed in range(HISTORIES):
        history = History(seed)
        history.run()
        admitted += history.admitted
    assert admitted > 10 * HISTORIES


FEW = Estimate(tokens=(6, 4, 10), cost=(6, 4, 10))


@pytest.mark.parametrize(
    ("kind", "amount", "used", "each"),
    [
        ("requests", 100, 40, 20),
        ("tokens", 1000, 395, 20),
        ("cost", 1000, 400, 20),
        ("rpm", 30, 6 * BUCKET_UNITS, 8),
        ("tpm", 600, 0, 20),
        ("concurrency", 10, 3, 2),
    ],
)
def test_each_of_three_workers_admits_its_share_and_has_it_once(kind: Kind, amount: int, used: int, each: int) -> None:
    limit = new_limit(1, kind, amount)
    grant, plan = new_grant([limit]), make_reservation_plan(new_grant([limit]), "UTC", 1, BEGIN_MS)
    worker = Worker(3, lambda: 5.0)

    def admitted() -> int:
        number = 0
        while number < 1000:
            reservation = new_reservation(grant, number, FEW)
            try:
                worker.limits.take(reservation, plan, BEGIN_MS)
            except (ShareUsed, StateUnknown):
                return number
            worker.open[reservation.request_id] = (reservation, BEGIN_MS, FEW)
            number += 1
        return number

    assert admitted() == 0
    worker.sees(grant, {limit.field: used}, BEGIN_MS)
    assert admitted() == each
    # Redis answers, but what was used here is not counted there yet: no second share.
    worker.sees(grant, {limit.field: used}, BEGIN_MS)
    worker.open.clear()
    assert admitted() == (each if kind == "concurrency" else 0)
    worker.limits.forget([1])
    worker.open.clear()
    assert admitted() == 0
    worker.sees(grant, {limit.field: used}, BEGIN_MS)
    assert admitted() == each


def test_a_worker_that_does_not_know_how_many_there_are_admits_nothing() -> None:
    limit = new_limit(1, "requests", 100)
    grant = new_grant([limit])
    worker = Worker(None, lambda: 5.0)
    worker.sees(grant, {limit.field: 0}, BEGIN_MS)
    with pytest.raises(StateUnknown):
        worker.limits.take(new_reservation(grant, 1, FEW), make_reservation_plan(grant, "UTC", 1, BEGIN_MS), BEGIN_MS)
