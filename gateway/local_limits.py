"""The limits of one worker while Redis is away: its share of what was left when it last saw each counter.

A share is floor(remaining / workers). Calls take what Redis would have them take, from every share or from none, and
what they really used replaces it at their end. So all workers together use at most what was left, and what calls in
flight use beyond their reservations, as with Redis; where workers saw a counter at different times, each still uses at
most its own share. Kept until the account's counters are seeded from the ledger: an outage gives one share.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from time import monotonic
from typing import Final, NamedTuple, Protocol
from uuid import UUID

from gateway.domain.limits import BUCKET_UNITS, LIMIT_KINDS, Kind, Limit
from gateway.domain.reservation_plan import Entry, ReservationPlan
from gateway.domain.usage_rows import UsageRow
from gateway.reservation import Reservation
from gateway.storage.counters.scripts import Estimate, ReserveReply

# Replies that are kept: the newest of each key and model, about 1 KiB each; then accounts are dropped, the one that
# called longest ago first.
MAX_SEEN: Final = 20_000
MAX_OF_ACCOUNT: Final = 1000
# An account of which nothing was taken yet is begun again from newer replies after this.
BEGIN_S: Final = 1.0


class StateUnknown(Exception):
    """A counter that the call needs, or the number of workers, was never seen."""


class ShareUsed(Exception):
    """The call does not fit into this worker's share of `limit`."""

    def __init__(self, limit: Limit) -> None:
        super().__init__(limit.label)
        self.limit = limit


class OpenCalls(Protocol):
    """The worker's calls under way."""

    def count(self, account_id: int, scope: str, *, is_leased: bool | None = None) -> int:
        """Those that a limit with this scope counts."""
        ...


class _Seen(NamedTuple):
    plan: ReservationPlan
    reply: ReserveReply
    at_s: float


@dataclass(slots=True)
class _Counter:
    """One counter as it was seen, and what this worker took since. `used` is in 1/60000 units for a bucket, where it is
    what is owed of this worker's share, at `at_s`; `own` are calls of this worker among those that were open."""

    used: int
    ends_ms: int
    at_s: float
    own: int = 0
    spent: int = 0

    def room(self, limit: Limit, entry: Entry, workers: int) -> int:
        """What is left of the share of a window or of slots; below 0 when more was used."""
        return max(0, limit.amount - self.used) // workers - self.spent

    def refill(self, limit: Limit, entry: Entry, workers: int, now_s: float) -> int:
        """What is left of the share of a bucket, in 1/60000 units."""
        passed_ms = max(0, int((now_s - self.at_s) * 1000))
        self.used = max(0, self.used - passed_ms * limit.amount // workers)
        self.at_s += passed_ms / 1000
        return entry.a * BUCKET_UNITS // workers - self.used


class _Part(NamedTuple):
    """What a call took from a counter, in whole units."""

    counter: _Counter
    kind: Kind
    ends_ms: int
    taken: int


@dataclass(slots=True)
class _Account:
    workers: int
    began_s: float
    counters: dict[str, _Counter]
    calls: dict[UUID, list[_Part]] = field(default_factory=dict)
    has_taken: bool = False


class LocalLimits:
    """`workers` says how many there are, None: not known."""

    def __init__(
        self, workers: Callable[[], int | None], open_calls: OpenCalls, *, clock: Callable[[], float] = monotonic
    ) -> None:
        self._workers = workers
        self._open_calls = open_calls
        self._clock = clock
        # By account, then by key, model and whether it counts tokens; the newest are last.
        self._seen: dict[int, dict[tuple[int, int, bool], _Seen]] = {}
        self._kept = 0
        self._accounts: dict[int, _Account] = {}

    def saw(self, reservation: Reservation, plan: ReservationPlan, reply: ReserveReply) -> None:
        """What Redis said of the counters of a call; on the path of each, so it only keeps it."""
        account_id = reservation.record.account_id
        replies = self._seen.pop(account_id, None) or {}
        self._seen[account_id] = replies
        place = reservation.record.key_id, reservation.grant.model_id, reservation.counts_tokens
        if replies.pop(place, None) is None:
            self._kept += 1
            if len(replies) >= MAX_OF_ACCOUNT:
                del replies[next(iter(replies))]
                self._kept -= 1
            elif self._kept > MAX_SEEN and len(self._seen) > 1:
                self._kept -= len(self._seen.pop(next(iter(self._seen))))
        replies[place] = _Seen(plan, reply, self._clock())

    def forget(self, account_ids: Collection[int]) -> None:
        """Their counters are seeded again with what was used here: what was seen before gives no second share."""
        for account_id in account_ids:
            self._kept -= len(self._seen.pop(account_id, ()))
            self._accounts.pop(account_id, None)

    def take(self, reservation: Reservation, plan: ReservationPlan, start_ms: int) -> None:
        """From every share or from none; raises StateUnknown, ShareUsed. Shadow limits take no part."""
        account_id, now_s = reservation.record.account_id, self._clock()
        limits = [(limit, entry) for limit, entry in zip(plan.limits, plan.entries, strict=True) if not limit.shadow]
        if not limits:
            return
        account = self._account(account_id, now_s)
        parts: dict[str, _Part] = {}
        for limit, entry in limits:
            counter = account.counters.get(entry.field)
            if counter is None:
                raise StateUnknown(entry.field)
            if limit.window and counter.ends_ms <= start_ms < entry.b:
                # A new window: a share of all of it.
                counter.used = counter.spent = 0
                counter.ends_ms = entry.b
            room = self._room(account_id, account, counter, limit, entry, now_s)
            want = _want(reservation.estimate, limit, _whole(limit, entry, room, account.workers))
            if want > 0 and want * (BUCKET_UNITS if limit.is_bucket else 1) > room:
                raise ShareUsed(limit)
            before = parts.get(entry.field)
            if before is None or want > before.taken:
                # Limits that share a counter: it gives the largest part, once.
                parts[entry.field] = _Part(counter, limit.kind, counter.ends_ms, want)
        for part in parts.values():
            _add(part, part.taken)
        account.has_taken = True
        account.calls[reservation.request_id] = list(parts.values())

    def ended(self, row: UsageRow) -> None:
        """What a call really used replaces what it took, also where that is more."""
        account = self._accounts.get(row.account_id)
        for part in account.calls.pop(row.request_id, ()) if account else ():
            _add(part, _used(part.kind, row) - part.taken)

    def _room(
        self, account_id: int, account: _Account, counter: _Counter, limit: Limit, entry: Entry, now_s: float
    ) -> int:
        if limit.is_bucket:
            return counter.refill(limit, entry, account.workers, now_s)
        if limit.window:
            return counter.room(limit, entry, account.workers)
        # Slots of its own calls stay this worker's when they end.
        slots = min(limit.amount, counter.own + counter.room(limit, entry, account.workers))
        return slots - self._open_calls.count(account_id, limit.scope)

    def _account(self, account_id: int, now_s: float) -> _Account:
        account = self._accounts.get(account_id)
        if account is not None and (account.has_taken or now_s - account.began_s < BEGIN_S):
            return account
        workers, seen = self._workers(), self._seen.get(account_id)
        if not workers or not seen:
            raise StateUnknown("nothing was seen")
        counters = self._begin(account_id, sorted(seen.values(), key=lambda one: one.at_s), workers, now_s)
        account = self._accounts[account_id] = _Account(workers, now_s, counters)
        return account

    def _begin(self, account_id: int, seen: Iterable[_Seen], workers: int, now_s: float) -> dict[str, _Counter]:
        counters: dict[str, _Counter] = {}
        for plan, reply, at_s in seen:
            of_reply: dict[str, _Counter] = {}
            for limit, entry, taking in zip(plan.limits, plan.entries, reply.takings, strict=True):
                unit = BUCKET_UNITS if limit.is_bucket else 1
                used = limit.capacity * unit - taking.left + (taking.want * unit if reply.status == "taken" else 0)
                if limit.is_bucket:
                    owed = max(0, used - int((now_s - at_s) * 1000) * limit.amount)
                    # Rounded up: shares together are never more than is left.
                    of_reply[entry.field] = _Counter(-(-owed // workers), 0, now_s)
                    continue
                counter = of_reply.setdefault(entry.field, _Counter(used, entry.b, at_s))
                counter.used = max(counter.used, used)
                if not limit.window:
                    counter.own = self._open_calls.count(account_id, limit.scope, is_leased=True)
            counters.update(of_reply)
        return counters


def _whole(limit: Limit, entry: Entry, room: int, workers: int) -> int:
    """To what the answer's part of an estimate is cut, as reserve.lua does: what a bucket holds, what is left of a
    window; here of the share."""
    return entry.a * BUCKET_UNITS // workers // BUCKET_UNITS if limit.is_bucket else room


def _want(estimate: Estimate, limit: Limit, whole: int) -> int:
    counts = LIMIT_KINDS[limit.kind].counts
    if counts == "requests":
        return 1
    prompt, completion, most = estimate.tokens if counts == "tokens" else estimate.cost
    if limit.reserve == "maximum":
        return most
    if prompt + completion <= whole:
        return prompt + completion
    return max(min(1, prompt + completion), prompt + min(completion, max(0, whole - prompt)))


def _used(kind: Kind, row: UsageRow) -> int:
    counts = LIMIT_KINDS[kind].counts
    if counts == "tokens":
        return row.counted_tokens
    if counts == "nano_usd":
        return row.counted_nano_usd
    return row.counted_requests if LIMIT_KINDS[kind].counter == "window" else row.counted_rate_requests


def _add(part: _Part, number: int) -> None:
    counter, kind = part.counter, LIMIT_KINDS[part.kind].counter
    if kind == "bucket":
        counter.used = max(0, counter.used + number * BUCKET_UNITS)
    elif kind == "window" and counter.ends_ms == part.ends_ms:
        # A window that is over is left alone.
        counter.spent += number
