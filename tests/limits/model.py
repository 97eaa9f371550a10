"""A model of the limits in plain Python, written from docs/limits.md.

No Redis, no Lua, no packing. The stateful test compares every reply and every field of the scripts with it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal
from uuid import UUID

from gateway.domain.reservation_plan import Entry
from gateway.storage.counters import layout
from gateway.storage.counters.layout import Kept
from gateway.storage.counters.scripts import Estimate, Lease, Mode, ReserveReply, SeedEntry, Settlement, Taking
from gateway.storage.ledger.rows import InLedger

# Units of a bucket: a rate per minute is a whole number of them per millisecond.
UNITS = 60_000
LEASE_MS = 60_000
CLAIM_MS = 60_000
KEEP_MS = 7 * 24 * 3600 * 1000
MAX_SKEW_MS = 5_000

Kind = Literal["rpm", "tpm", "concurrency", "requests", "tokens", "cost"]
KIND_OF_CODE: dict[str, Kind] = {
    "r": "rpm",
    "t": "tpm",
    "c": "concurrency",
    "R": "requests",
    "T": "tokens",
    "C": "cost",
}


def kind_of(name: str) -> Kind:
    return KIND_OF_CODE[name[0]]


def scope_of(name: str) -> str:
    return name.split("|")[1]


@dataclass(frozen=True, slots=True)
class Bucket:
    """`owed` is what is missing to full at the time `at`; it shrinks by `rate` units a millisecond."""

    owed: int
    at: int
    rate: int

    def at_time(self, now: int, rate: int) -> "Bucket":
        passed = max(0, now - self.at)
        return Bucket(max(0, self.owed - passed * rate), self.at + passed, rate)


@dataclass(frozen=True, slots=True)
class Slots:
    """The number of open leases with a scope."""

    taken: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Window:
    ends: int
    used: int
    reserved: int
    epoch: int


Counter = Bucket | Slots | Window


@dataclass(slots=True)
class Part:
    """What a lease took from one counter; for a window, from the one with that end."""

    name: str
    ends: int
    amount: int


@dataclass(slots=True)
class Held:
    """A lease: open until it is settled or reaped; a reaped one stays as a mark."""

    valid_until: int
    is_open: bool
    start: int
    prompt: int
    completion: int
    cost: int
    parts: list[Part]
    scopes: str
    note: bytes
    claimed_until: int = 0


@dataclass(frozen=True, slots=True)
class _Look:
    """One limit seen by one call. `after` is the counter once the call has taken from it; None: nothing to take."""

    taking: Taking
    refuses: bool = False
    after: Counter | None = None
    ends: int = 0


@dataclass(slots=True)
class Account:
    """All state of one account in Redis."""

    counters: dict[str, Counter] = field(default_factory=dict)
    leases: dict[UUID, Held] = field(default_factory=dict)
    # Until then, what calls count in the end is kept.
    keep: int = 0
    kept: dict[UUID, Kept] = field(default_factory=dict)

    # Reserve.

    def reserve(
        self,
        now: int,
        request_id: UUID,
        entries: Sequence[Entry],
        estimate: Estimate,
        *,
        start_ms: int,
        scopes: str,
        note: bytes,
        mode: Mode,
    ) -> ReserveReply:
        """Takes from all limits or from none. The test checks whether a sweep is due."""
        if mode != "look" and request_id in self.leases:
            return ReserveReply("repeated", now, False)
        if mode == "take" and abs(start_ms - now) > MAX_SKEW_MS:
            return ReserveReply("clock_skew", now, False)
        looks = [self._look(now, e, estimate, start_ms) for e in entries]
        if mode != "force" and "late" in looks:
            return ReserveReply("late", now, False)
        unknown = tuple(n for n, look in enumerate(looks) if look == "seed")
        if unknown:
            return ReserveReply("seed", now, False, seed=unknown)
        over = _Look(Taking(0, 0, 0))
        seen = [replace(over, taking=Taking(0, 0, _want(e, estimate))) if isinstance(look, str) else look
                for e, look in zip(entries, looks, strict=True)]  # fmt: skip
        takings = tuple(look.taking for look in seen)
        if mode != "force" and any(look.refuses for look in seen):
            return ReserveReply("refused", now, False, takings)
        if mode != "look":
            self._take(now, request_id, entries, seen, estimate, start_ms, scopes, note)
        return ReserveReply("taken", now, False, takings)

    def _take(
        self,
        now: int,
        request_id: UUID,
        entries: Sequence[Entry],
        looks: Sequence[_Look],
        estimate: Estimate,
        start: int,
        scopes: str,
        note: bytes,
    ) -> None:
        # Limits that share a counter: the largest amount counts, once.
        largest: dict[str, _Look] = {}
        for entry, look in zip(entries, looks, strict=True):
            known = largest.get(entry.field)
            if look.after is not None and (known is None or look.taking.want > known.taking.want):
                largest[entry.field] = look
        parts = [Part(name, look.ends, look.taking.want) for name, look in largest.items()]
        for name, look in largest.items():
            assert look.after is not None
            self.counters[name] = look.after
        prompt, completion, _ = estimate.tokens
        cost = estimate.cost[0] + estimate.cost[1]
        self.leases[request_id] = Held(now + LEASE_MS, True, start, prompt, completion, cost, parts, scopes, note)

    def _look(self, now: int, entry: Entry, estimate: Estimate, start: int) -> _Look | Literal["late", "seed"]:
        counter = self.counters.get(entry.field)
        match kind_of(entry.field):
            case "rpm" | "tpm":
                return self._look_at_bucket(now, entry, estimate, counter)
            case "concurrency":
                if not isinstance(counter, Slots) or counter.epoch < entry.epoch:
                    return "seed"
                left = entry.amount - counter.taken
                return _Look(
                    Taking(left, counter.taken, 1),
                    refuses=not entry.shadow and left < 1,
                    after=replace(counter, taken=counter.taken + 1),
                )
            case _:
                return self._look_at_window(now, entry, estimate, start, counter)

    @staticmethod
    def _look_at_bucket(now: int, entry: Entry, estimate: Estimate, counter: Counter | None) -> _Look:
        # A missing bucket is full.
        bucket = counter.at_time(now, entry.amount) if isinstance(counter, Bucket) else Bucket(0, now, entry.amount)
        # Not more than a full bucket holds.
        want = _want(entry, estimate, entry.a)
        left = entry.a * UNITS - bucket.owed
        return _Look(
            Taking(left, 0, want),
            refuses=not entry.shadow and want > 0 and left < want * UNITS,
            after=replace(bucket, owed=bucket.owed + want * UNITS),
        )

    @staticmethod
    def _look_at_window(
        now: int, entry: Entry, estimate: Estimate, start: int, counter: Counter | None
    ) -> _Look | Literal["late", "seed"]:
        if not isinstance(counter, Window):
            return "seed"
        is_over = entry.b <= now and counter.ends > entry.b
        epoch = entry.epoch
        new = Window(entry.b, 0, 0, epoch)
        if counter.epoch < epoch:
            # Nothing guarantees the counter; but a call of a past window is late in any case.
            if is_over:
                return "late"
            return "seed"
        if counter.epoch > epoch and not is_over:
            # The gateway has an outdated record, whose windows may differ: the counter's own window holds.
            window = counter if counter.ends > start else new
        elif counter.ends == entry.b:
            window = counter
        elif counter.ends > entry.b:
            return "late"
        elif counter.ends <= entry.a:
            # The previous window was counted to its end, so this one begins at zero.
            window = new
        else:
            return "seed"
        left = entry.amount - window.used - window.reserved
        want = _want(entry, estimate, left)
        return _Look(
            Taking(left, window.reserved, want),
            refuses=not entry.shadow and want > 0 and window.used + window.reserved + want > entry.amount,
            after=replace(window, reserved=window.reserved + want),
            ends=window.ends,
        )

    # Settle, charge, reap.

    def settle(self, now: int, settlement: Settlement) -> bool:
        """By id, once: an open lease or a reaped one."""
        lease = self.leases.get(settlement.request_id)
        if settlement.is_forestalling and (lease is None or (not lease.is_open and not lease.parts)):
            # A late reservation with this id takes nothing.
            if lease is None:
                self.leases[settlement.request_id] = Held(now, False, now, 0, 0, 0, [], "", b"")
            return False
        if lease is None:
            return False
        del self.leases[settlement.request_id]
        real: dict[Kind, int] = {
            "rpm": settlement.requests_rate,
            "tpm": settlement.tokens,
            "concurrency": 0,
            "requests": settlement.requests_window,
            "tokens": settlement.tokens,
            "cost": settlement.nano_usd,
        }
        for part in lease.parts:
            self._give_back(part, lease)
            self._use(now, part, real[kind_of(part.name)])
        if now < self.keep:
            counted = (settlement.requests_window, settlement.tokens, settlement.nano_usd)
            self.kept[settlement.request_id] = Kept(lease.start, *counted, lease.scopes)
        return True

    def keep_ended(self, now: int, for_ms: int) -> None:
        """For so long, calls are kept: never shorter than before."""
        self.keep = max(self.keep, now + for_ms)

    def charge(self, now: int, request_id: UUID, *, tokens: int, nano_usd: int) -> bool:
        """Raises an open lease to the usage so far."""
        lease = self.leases.get(request_id)
        if lease is None or not lease.is_open:
            return False
        so_far: dict[Kind, int] = {"tpm": tokens, "tokens": tokens, "cost": nano_usd}
        for part in lease.parts:
            more = so_far.get(kind_of(part.name), 0) - part.amount
            if more > 0:
                self._reserve_more(now, part, more)
                part.amount += more
        lease.completion = max(lease.completion, tokens - lease.prompt)
        lease.cost = max(lease.cost, nano_usd)
        return True

    def reap(self, now: int, request_id: UUID) -> bool:
        """Charges the estimate as in the ledger's row and frees the slot; the mark stays."""
        lease = self.leases.get(request_id)
        if lease is None or not lease.is_open or lease.valid_until > now:
            return False
        tokens = lease.prompt + lease.completion
        of_row: dict[Kind, int] = {"tpm": tokens, "tokens": tokens, "cost": lease.cost, "concurrency": 0}
        for part in lease.parts:
            amount = of_row.get(kind_of(part.name), 1)
            self._give_back(part, lease)
            self._use(now, part, amount)
            part.amount = amount
        lease.is_open, lease.valid_until = False, now
        if now < self.keep:
            self.kept[request_id] = Kept(lease.start, 1, tokens, lease.cost, lease.scopes)
        return True

    def _give_back(self, part: Part, lease: Held) -> None:
        """Takes a lease's part out of the reserved amount, or out of the used one if it was reaped before."""
        match self.counters.get(part.name):
            case Slots() as slots if lease.is_open:
                self.counters[part.name] = replace(slots, taken=max(0, slots.taken - 1))
            case Window() as window if window.ends == part.ends and lease.is_open:
                self.counters[part.name] = replace(window, reserved=window.reserved - part.amount)
            case Window() as window if window.ends == part.ends:
                self.counters[part.name] = replace(window, used=window.used - part.amount)

    def _use(self, now: int, part: Part, amount: int) -> None:
        match self.counters.get(part.name):
            # Without a difference nothing is written: the refill continues from the last write.
            case Bucket() as bucket if amount != part.amount:
                filled = bucket.at_time(now, bucket.rate)
                owed = max(0, filled.owed + (amount - part.amount) * UNITS)
                self.counters[part.name] = replace(filled, owed=owed)
            case Window() as window if window.ends == part.ends:
                self.counters[part.name] = replace(window, used=window.used + amount)

    def _reserve_more(self, now: int, part: Part, more: int) -> None:
        match self.counters.get(part.name):
            case Bucket() as bucket:
                filled = bucket.at_time(now, bucket.rate)
                self.counters[part.name] = replace(filled, owed=filled.owed + more * UNITS)
            case Window() as window if window.ends == part.ends:
                self.counters[part.name] = replace(window, reserved=window.reserved + more)

    # Renewal and sweep of leases.

    def renew(self, now: int, request_ids: Iterable[UUID]) -> set[UUID]:
        """Makes leases valid again, even expired ones; returns the unknown ids."""
        lost = set()
        for request_id in request_ids:
            lease = self.leases.get(request_id)
            if lease is None:
                lost.add(request_id)
            elif lease.is_open:
                lease.valid_until, lease.claimed_until = max(lease.valid_until, now + LEASE_MS), 0
        return lost

    def sweep(self, now: int) -> tuple[int, list[Lease]]:
        """(open leases, those newly claimed because they expired); drops obsolete fields."""
        claimed = []
        for request_id, lease in list(self.leases.items()):
            if lease.is_open and lease.valid_until <= now and lease.claimed_until <= now:
                lease.claimed_until = now + CLAIM_MS
                claimed.append(
                    Lease(
                        request_id=request_id,
                        start_ms=lease.start,
                        prompt_tokens=lease.prompt,
                        completion_tokens=lease.completion,
                        nano_usd=lease.cost,
                        note=lease.note,
                        expires_ms=lease.valid_until,
                        claimed_ms=lease.claimed_until,
                        parts=tuple(layout.Part(part.name, part.ends, part.amount) for part in lease.parts),
                        scopes=lease.scopes,
                    )
                )
            elif not lease.is_open and lease.valid_until + KEEP_MS <= now:
                del self.leases[request_id]
        if self.keep <= now:
            self.keep, self.kept = 0, {}
        for name, counter in list(self.counters.items()):
            match counter:
                case Window() if counter.ends + KEEP_MS <= now:
                    del self.counters[name]
                case Bucket() if counter.at + KEEP_MS <= now and counter.at_time(now, counter.rate).owed == 0:
                    del self.counters[name]
        return sum(lease.is_open for lease in self.leases.values()), claimed

    @property
    def next_due(self) -> int | None:
        """The time the first open lease can be claimed."""
        return min((max(h.valid_until, h.claimed_until) for h in self.leases.values() if h.is_open), default=None)

    # Seeds.

    def seed(self, now: int, entries: Sequence[SeedEntry], known: Sequence[InLedger] = ()) -> int:
        """Creates the counters that still need it, from the ledger's sums, the kept calls, of which the sums have what
        is `known`, and the open leases."""
        needed = [entry for entry in entries if self._needs_seed(now, entry)]
        for entry in needed:
            is_slots = kind_of(entry.field) == "concurrency"
            # A reaped lease is in the total with its estimate and is marked so: actual usage may still arrive.
            parts = [
                (self._part_of(lease, entry), lease.is_open)
                for lease in self.leases.values()
                if scope_of(entry.field) in lease.scopes.split()
                and (lease.is_open if is_slots else entry.start_ms <= lease.start < entry.end_ms)
            ]
            reserved = sum(part.amount for part, is_open in parts if is_open)
            used = entry.total + sum(
                _counted(call, entry.field) - sum(_counted(row, entry.field) for row in known if row.request_id == i)
                for i, call in self.kept.items()
                if scope_of(entry.field) in call.scopes.split() and entry.start_ms <= call.start_ms < entry.end_ms
            )
            # The estimate of a call that goes on: it is counted when the lease ends.
            used -= sum(
                _counted(row, entry.field)
                for row in known
                for i, lease in self.leases.items()
                if i == row.request_id and lease.is_open and scope_of(entry.field) in lease.scopes.split()
                and entry.start_ms <= lease.start < entry.end_ms
            )  # fmt: skip
            new: Counter = Window(entry.end_ms, 0 if is_slots else used, reserved, entry.epoch)
            self.counters[entry.field] = Slots(reserved, entry.epoch) if is_slots else new
        return len(needed)

    def _needs_seed(self, now: int, entry: SeedEntry) -> bool:
        epoch = entry.epoch
        match self.counters.get(entry.field):
            case Slots() as slots:
                return slots.epoch < epoch
            case Window() as window if window.epoch < epoch:
                # Unless others have moved on and the seed's window is over.
                return not (window.ends > entry.end_ms and entry.end_ms <= now)
            case Window() as window if window.epoch == epoch:
                return entry.start_ms < window.ends < entry.end_ms
            case Window():
                return False
        return True

    @staticmethod
    def _part_of(lease: Held, entry: SeedEntry) -> Part:
        for part in lease.parts:
            if part.name == entry.field and part.ends == entry.end_ms:
                return part
        # The limit is newer than the lease and counts it from now on.
        amounts: dict[Kind, int] = {"tokens": lease.prompt + lease.completion, "cost": lease.cost}
        part = Part(entry.field, entry.end_ms, amounts.get(kind_of(entry.field), 1))
        lease.parts.append(part)
        return part


def _counted(call: Kept | InLedger, name: str) -> int:
    kind = kind_of(name)
    return {"requests": call.counted_requests, "tokens": call.counted_tokens}.get(kind, call.counted_nano_usd)


def _want(entry: Entry, estimate: Estimate, room: int | None = None) -> int:
    """What the call takes from this limit. The completion is cut to what is left; the sum is never 0."""
    kind = kind_of(entry.field)
    if kind not in ("tpm", "tokens", "cost"):
        return 1
    prompt, completion, upper_bound = estimate.cost if kind == "cost" else estimate.tokens
    if entry.maximum:
        return upper_bound
    if room is None or prompt + completion == 0:
        return prompt + completion
    return max(1, prompt + min(completion, max(0, room - prompt)))
