"""All events of an account's limits in random order: the scripts and the model always agree.

LITEMAAS_TEST_STEPS sets the number of steps (default 2,000). LITEMAAS_TEST_SHRINKS=0 shows a failure without
shrinking it.
"""

import os
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
import redis
from bench import SERVERS, PlainScripts, drive, grant_of, limit_of, read_account, started_server
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from model import LEASE_MS, Account, Bucket, Slots, Window
from msgspec import structs

from gateway.domain.ids import uuid7
from gateway.domain.limits import KINDS, WINDOWED_KINDS, Limit
from gateway.domain.reservation_plan import ReservationPlan, make_reservation_plan
from gateway.domain.windows import WINDOW_KINDS, window_ms
from gateway.storage.counters.layout import pack_entries
from gateway.storage.counters.scripts import HASH_NAME, Counters, Estimate, Mode, SeedEntry, Settlement
from gateway.storage.ledger.rows import InLedger

ACCOUNT = 7
HASH = HASH_NAME % ACCOUNT
HUGE = 2**53 - 1
STEPS_EACH = 50
ZONES = ("Europe/Berlin", "America/Sao_Paulo", "Asia/Kathmandu", "Pacific/Auckland")
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
# A minute before the month ends in Berlin, two days after its clocks changed.
BEGIN_MS = int(datetime(2026, 3, 31, 21, 59, tzinfo=UTC).timestamp() * 1000)
SCOPES = ("k1", "k2", "k1m1", "s1", "s2", "u1", "t")
LEVELS = {"k": "key", "s": "subscription", "u": "user", "t": "team"}

USUAL = (
    limit_of("rpm", 60),
    limit_of("tpm", 6_000, burst=Decimal("1.5")),
    limit_of("concurrency", 6, "subscription"),
    limit_of("requests", 20, "team"),
    limit_of("tokens", 3_000, "key_model", window="day"),
    limit_of("tokens", 5_000, "key_model", window="day", set_by="owner", reserve="maximum"),
    limit_of("cost", 3_000, "user", window="week"),
    limit_of("cost", HUGE, "team", window="lifetime"),
    limit_of("tpm", 600, "user", shadow=True),
    limit_of("tpm", 900, "team", reserve="maximum"),
    limit_of("concurrency", 1, "team", shadow=True),
)

counts = st.integers(0, 400)
# (prompt, expected completion, maximum completion)
triples = st.one_of(
    st.tuples(counts, counts, st.integers(0, 900)),
    st.just((0, 0, 0)),
    st.tuples(st.just(0), counts, counts),
    # Beyond about 10^11 tokens the units of a bucket are not exact; test_scripts has larger amounts for windows.
    st.tuples(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9)),
)
amounts = st.one_of(st.integers(300, 3000), st.sampled_from((HUGE, 10**14, 1000, 900, 800, 700, 600, 500, 1, 0)))
bucket_amounts = st.one_of(st.integers(300, 3000), st.sampled_from((10**8, 10**7, 1000, 900, 800, 700, 600, 60, 1, 0)))
few = st.sampled_from((20, 15, 10, 8, 5, 4, 3, 2, 1, 0, HUGE))


@dataclass(frozen=True, slots=True)
class Record:
    """A gateway's record of the account, current or outdated."""

    limits: tuple[Limit, ...]
    time_zone: str = "Europe/Berlin"
    # As in migrations/0010: each event of the account increments its tick; those that concern all counters raise its
    # epoch to that, and a new limit takes it as its own. Each restart of Redis adds one to all epochs.
    tick: int = 1
    epoch: int = 1
    runs: int = 0

    def put(self, limit: Limit) -> "Record":
        """The record with this limit, new or changed."""
        known = next((one for one in self.limits if is_same_row(one, limit)), None)
        others = tuple(one for one in self.limits if one is not known)
        if known is not None:
            return replace(self, limits=(*others, replace(limit, epoch=known.epoch)))
        kept = max((one.epoch for one in others if shares_counter(one, limit)), default=None)
        tick = self.tick if kept is not None else self.tick + 1
        return replace(self, limits=(*others, replace(limit, epoch=kept or tick)), tick=tick)

    def without(self, limit: Limit) -> "Record":
        """The record without this limit; those that share its counter keep their epoch."""
        others = tuple(
            replace(one, epoch=max(one.epoch, limit.epoch)) if shares_counter(one, limit) else one
            for one in self.limits
            if one is not limit
        )
        return replace(self, limits=others)

    def moved(self, time_zone: str) -> "Record":
        return replace(self, time_zone=time_zone, tick=self.tick + 1, epoch=self.tick + 1)

    def met_run(self) -> "Record":
        return replace(self, runs=self.runs + 1)


@dataclass(frozen=True, slots=True)
class Row:
    """A ledger row, with the columns that sums need."""

    scopes: tuple[str, ...]
    start: int
    counted: dict[str, int]


@dataclass(frozen=True, slots=True)
class Order:
    """A seed in transit."""

    record: Record
    entries: tuple[SeedEntry, ...]
    # What the sums have of calls that Redis knew then.
    known: tuple[InLedger, ...]
    ledger_state: int
    not_kept: int


@st.composite
def new_limits(draw: st.DrawFn) -> Limit:
    kind = draw(st.sampled_from(KINDS))
    scope = draw(st.sampled_from(SCOPES))
    windows = st.sampled_from(WINDOW_KINDS)
    is_bucket = kind in ("rpm", "tpm")
    return Limit(
        id=0,
        level="key_model" if "m" in scope else LEVELS[scope[0]],  # type: ignore[arg-type]  # a Level
        scope=scope,
        kind=kind,
        window=draw(windows) if kind in WINDOWED_KINDS else None,
        amount=draw(few if kind in ("concurrency", "requests") else bucket_amounts if is_bucket else amounts),
        burst=draw(st.sampled_from((Decimal(1), Decimal("1.5"), Decimal(3)))) if is_bucket else Decimal(1),
        reserve=draw(st.sampled_from(("expected", "expected", "maximum"))),
        shadow=draw(st.integers(0, 4)) == 0,
        set_by=draw(st.sampled_from(("admin", "owner"))),
    )


def is_same_row(one: Limit, other: Limit) -> bool:
    """Whether both are the same row of the table of limits."""
    return all(getattr(one, name) == getattr(other, name) for name in ("scope", "kind", "window", "set_by", "shadow"))


def shares_counter(one: Limit, other: Limit) -> bool:
    return all(getattr(one, name) == getattr(other, name) for name in ("scope", "kind", "window"))


def plan_of(record: Record, scopes: tuple[str, ...], at_ms: int) -> ReservationPlan:
    limits = [replace(one, epoch=one.epoch + record.runs) for one in record.limits if one.scope in scopes]
    return make_reservation_plan(
        grant_of(limits, " ".join(scopes)), record.time_zone, record.epoch + record.runs, at_ms
    )


ENDS: dict[str, Any] = {
    "data": st.data(),
    "leased": st.sampled_from((True, True, True, False)),
    "rate": st.integers(0, 1),
    "window": st.integers(0, 1),
    "tokens": st.one_of(st.integers(0, 900), st.integers(0, 10**9)),
    "cost": st.one_of(st.integers(0, 900), st.integers(0, 10**14)),
}
CALLS: dict[str, Any] = {
    "times": st.sampled_from((3, 2, 1)),
    "mode": st.sampled_from(("take", "force", "take", "take", "look", "take")),
    "is_old": st.sampled_from((False, False, False, True)),
    "key": st.sampled_from((1, 1, 2)),
    "model": st.sampled_from((1, 1, 2)),
    "skew": st.sampled_from((*([0] * 15), 300, -300, 5_000, -5_000, 5_001, -6_000)),
    "tokens": triples,
    "cost": triples,
    "seeds": st.sampled_from((True, True, True, False)),
}


class Limits(RuleBasedStateMachine):
    """One account whose limits change, and two gateways: one with the current record, one with an outdated one."""

    client: Any  # its replies have a type that covers every command
    scripts: PlainScripts

    def __init__(self) -> None:
        super().__init__()
        self.client.delete(HASH)
        self.counters = Counters(self.scripts)
        self.model = Account()
        self.now = BEGIN_MS
        self.record = self.old_record = Record(())
        self.ids: list[UUID] = []
        self.rows: dict[UUID, Row] = {}
        self.ledger_state = 0
        # How often something was not kept, or no longer, that a seed in transit may need.
        self.not_kept = 0
        # Calls that were never forwarded: they get no row.
        self.given_back: set[UUID] = set()
        self.taken: dict[UUID, tuple[tuple[str, ...], int, Estimate]] = {}
        self.orders: list[Order] = []
        self.snapshots: list[tuple[bytes, int, Account, bool]] = []
        self.may_lose = self.is_due_known = True
        # Whether `used` equals the ledger's sum and `reserved` the sum of open leases: until a loss.
        self.is_whole = True
        self.is_ledger_exact = True

    # The state in Redis.

    @initialize(
        usual=st.lists(st.sampled_from(USUAL), unique=True).map(
            lambda left_out: [u for u in USUAL if u not in left_out]
        ),
        limits=st.lists(new_limits(), max_size=3),
        may_lose=st.booleans(),
    )
    def set_up(self, usual: list[Limit], limits: list[Limit], may_lose: bool) -> None:
        self.may_lose = may_lose
        for limit in usual + limits:
            self.record = self.record.put(limit)
        self.old_record = self.record

    @rule(
        act=st.sampled_from(("set", "change", "change", "change", "remove", "move", "tell", "tell")),
        limit=new_limits(),
        nth=st.integers(0, 99),
        zone=st.sampled_from(ZONES),
    )
    def administer(self, act: str, limit: Limit, nth: int, zone: str) -> None:
        """Limits are set, changed and removed, the time zone changes, the outdated gateway gets the current record."""
        limits = self.record.limits
        if act == "tell":
            self.old_record = self.record
        elif act == "set" or not limits:
            self.record = self.record.put(limit)
        elif act == "change":
            known = limits[nth % len(limits)]
            amount = limit.amount if limit.kind == known.kind else nth
            self.record = self.record.put(replace(known, amount=amount, reserve=limit.reserve))
        elif act == "remove":
            self.record = self.record.without(limits[nth % len(limits)])
        elif zone != self.record.time_zone:
            self.record = self.record.moved(zone)

    # Time.

    @rule(
        step=st.one_of(
            st.integers(0, 3_000),
            st.sampled_from((20_000, LEASE_MS, LEASE_MS + 1, HOUR_MS, DAY_MS, 8 * DAY_MS, 40 * DAY_MS)),
            st.integers(-90_000, -1),
            st.just(-HOUR_MS),
        ),
        to_midnight=st.sampled_from((True, False)),
    )
    def step(self, step: int, to_midnight: bool) -> None:
        if to_midnight:
            _, ends = window_ms("day", self.record.time_zone, self.now)
            self.now = ends - abs(step) % 4_000
        else:
            self.now += step

    # Calls.

    def reserve(
        self,
        times: int,
        mode: Mode,
        is_old: bool,
        key: int,
        model: int,
        skew: int,
        tokens: tuple[int, int, int],
        cost: tuple[int, int, int],
        seeds: bool,
    ) -> None:
        record = self.old_record if is_old else self.record
        scopes = (f"k{key}", f"k{key}m{model}", f"s{model}", f"u{key}", "t")
        start = self.now + skew
        estimate = Estimate(tokens=tokens, cost=cost)
        for _ in range(times):
            request_id = uuid7(start, len(self.ids).to_bytes(10))
            self.ids.append(request_id)
            unknown = self._reserve(record, request_id, scopes, start, estimate, mode)
            if unknown and seeds:
                self._seed(self._order(record, scopes, start, unknown))
                # One seed is enough for any record.
                assert not self._reserve(record, request_id, scopes, start, estimate, mode)

    # Hypothesis omits rules at random. Most other rules need this one, because most of them end calls.
    reserve_1 = rule(**CALLS)(reserve)
    reserve_2 = rule(**CALLS)(reserve)
    reserve_3 = rule(**CALLS)(reserve)
    reserve_4 = rule(**CALLS)(reserve)
    reserve_5 = rule(**CALLS)(reserve)
    reserve_6 = rule(**CALLS)(reserve)

    def _reserve(
        self, record: Record, request_id: UUID, scopes: tuple[str, ...], start: int, estimate: Estimate, mode: Mode
    ) -> tuple[int, ...]:
        entries = plan_of(record, scopes, start).entries
        due = self._due
        shared: dict[str, Any] = {
            "start_ms": start,
            "scopes": " ".join(scopes),
            "note": request_id.bytes.hex().encode(),
            "mode": mode,
        }
        is_repeated = request_id in self.model.leases
        expected = self.model.reserve(self.now, request_id, entries, estimate, **shared)
        answer = drive(self._counters.reserve(ACCOUNT, request_id, pack_entries(entries), estimate, **shared))

        assert structs.replace(answer, is_sweep_due=False) == expected
        assert answer.is_sweep_due == (due is not None and due <= self.now)
        if answer.status == "taken" and mode != "look" and not is_repeated:
            self.taken[request_id] = (scopes, start, estimate)
            self.is_ledger_exact &= self._is_known(record)
        return answer.seed

    def _is_known(self, record: Record) -> bool:
        """Whether this record has all limits."""
        return (record.tick, record.runs) == (self.record.tick, self.record.runs)

    @property
    def _counters(self) -> Counters:
        self.counters.clock_ms = self.now
        return self.counters

    @property
    def _due(self) -> int | None:
        value = self.client.hget(HASH, "due")
        return None if value is None else int(value)

    @precondition(lambda self: self.model.leases)
    @rule(data=st.data(), tokens=triples)
    def send_the_same_again(self, data: st.DataObject, tokens: tuple[int, int, int]) -> None:
        request_id = data.draw(st.sampled_from(sorted(self.model.leases)))
        estimate = Estimate(tokens=tokens, cost=tokens)
        self._reserve(self.record, request_id, ("k1", "k1m1", "s1", "u1", "t"), self.now, estimate, "take")

    def settle(self, data: st.DataObject, leased: bool, rate: int, window: int, tokens: int, cost: int) -> None:
        """Calls end, including reaped ones and ones that ended before."""
        if not self.ids:
            return
        ids = sorted(self.model.leases) if leased and self.model.leases else self.ids
        request_id = data.draw(st.sampled_from(ids))
        settlement = Settlement(
            account_id=ACCOUNT,
            request_id=request_id,
            requests_rate=rate,
            requests_window=window,
            tokens=tokens,
            nano_usd=cost,
        )
        was_leased = request_id in self.model.leases and request_id not in self.given_back
        assert drive(self._counters.settle(settlement)) == self.model.settle(self.now, settlement)
        if was_leased and request_id in self.taken:
            self._write(request_id, requests=window, tokens=tokens, cost=cost)

    def _write(self, request_id: UUID, **counted: int) -> None:
        """A ledger row, new or in place of an estimate."""
        scopes, start, _ = self.taken[request_id]
        self.rows[request_id] = Row(scopes, start, counted)
        self.ledger_state += 1
        self.not_kept += request_id not in self.model.kept

    settle_1 = rule(**ENDS)(settle)
    settle_2 = rule(**ENDS)(settle)

    @rule(data=st.data(), is_new=st.booleans(), then_arrives=st.booleans(), tokens=triples)
    def forestall(self, data: st.DataObject, is_new: bool, then_arrives: bool, tokens: tuple[int, int, int]) -> None:
        """No reply arrived: the reservation is released, and takes nothing if it arrives later."""
        if is_new or not self.ids:
            self.ids.append(uuid7(self.now, len(self.ids).to_bytes(10)))
        request_id = self.ids[-1] if is_new else data.draw(st.sampled_from(self.ids))
        settlement = Settlement.of_nothing(ACCOUNT, request_id)
        is_lease = request_id in self.model.leases and request_id in self.taken
        was_settled = self.model.settle(self.now, settlement)
        assert drive(self._counters.settle(settlement)) == was_settled
        self.given_back.add(request_id)
        if was_settled and is_lease:
            self._write(request_id, requests=0, tokens=0, cost=0)
        elif then_arrives and not was_settled:
            self._reserve(self.record, request_id, SCOPES, self.now, Estimate(tokens=tokens, cost=tokens), "take")
            assert not self.model.leases[request_id].is_open

    @precondition(lambda self: self.model.leases)
    @rule(data=st.data(), tokens=st.integers(0, 1500), cost=st.integers(0, 1500))
    def charge(self, data: st.DataObject, tokens: int, cost: int) -> None:
        request_id = data.draw(st.sampled_from(sorted(self.model.leases)))
        expected = self.model.charge(self.now, request_id, tokens=tokens, nano_usd=cost)
        for _ in range(data.draw(st.integers(1, 2))):
            assert drive(self._counters.charge(ACCOUNT, request_id, tokens=tokens, nano_usd=cost)) == expected

    @precondition(lambda self: self.ids)
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        ids = data.draw(st.lists(st.sampled_from(self.ids), max_size=5, unique=True))
        assert drive(self._counters.renew(ACCOUNT, ids)) == self.model.renew(self.now, ids)

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def take_again_what_was_lost(self, data: st.DataObject) -> None:
        lost = sorted(i for i in self.taken if i not in self.model.leases and i not in self.rows)
        if lost:
            request_id = data.draw(st.sampled_from(lost))
            scopes, start, estimate = self.taken[request_id]
            unknown = self._reserve(self.record, request_id, scopes, start, estimate, "force")
            if unknown:
                self._seed(self._order(self.record, scopes, start, unknown))
                assert not self._reserve(self.record, request_id, scopes, start, estimate, "force")

    # Reap.

    @rule(waits=st.sampled_from((True, True, False)), then_reaps=st.booleans())
    def sweep(self, waits: bool, then_reaps: bool) -> None:
        if waits and self.model.next_due is not None:
            self.now = max(self.now, self.model.next_due)
        open_leases, claimed = drive(self._counters.sweep(ACCOUNT))
        kept = len(self.model.kept)
        expected_open, expected = self.model.sweep(self.now)
        self.not_kept += len(self.model.kept) < kept

        assert open_leases == expected_open
        assert {lease.request_id: lease for lease in claimed} == {lease.request_id: lease for lease in expected}
        assert self._due == self.model.next_due
        self.is_due_known = True
        if then_reaps:
            for lease in claimed:
                self._reap(lease.request_id)

    @precondition(lambda self: self.ids)
    @rule(data=st.data())
    def reap(self, data: st.DataObject) -> None:
        self._reap(data.draw(st.sampled_from(self.ids)))

    def _reap(self, request_id: UUID) -> None:
        is_reaped = self.model.reap(self.now, request_id)
        assert drive(self._counters.reap(ACCOUNT, request_id)) == is_reaped
        if is_reaped:
            lease = self.model.leases[request_id]
            self._write(request_id, requests=1, tokens=lease.prompt + lease.completion, cost=lease.cost)

    # Seeds.

    @rule(for_ms=st.sampled_from((10, 1000, HOUR_MS, 40 * DAY_MS)))
    def keep_ended(self, for_ms: int) -> None:
        """What calls count that end from now on is kept, for seeds whose ledger was read before."""
        is_known = bool(self.client.exists(HASH))
        assert drive(self._counters.keep_ended(ACCOUNT, for_ms)) == is_known
        if is_known:
            self.model.keep_ended(self.now, for_ms)

    def _order(self, record: Record, scopes: tuple[str, ...], start: int, indexes: tuple[int, ...]) -> Order:
        plan = plan_of(record, scopes, start)
        entries = []
        for n in indexes:
            limit, entry = plan.limits[n], plan.entries[n]
            if limit.window is None:
                entries.append(SeedEntry(entry.field, 0, 0, 0, entry.epoch))
            else:
                total = self._sum(limit, entry.a, entry.b)
                entries.append(SeedEntry(entry.field, entry.a, entry.b, total, entry.epoch))
        calls = self.model.leases.keys() | self.model.kept.keys()
        known = tuple(InLedger(i, *self.rows[i].counted.values()) for i in sorted(calls & self.rows.keys()))
        return Order(record, tuple(entries), known, self.ledger_state, self.not_kept)

    def _sum(self, limit: Limit, start: int, end: int) -> int:
        rows = (row for row in self.rows.values() if limit.scope in row.scopes and start <= row.start < end)
        return sum(row.counted[limit.kind] for row in rows)

    def _seed(self, order: Order) -> None:
        expected = self.model.seed(self.now, order.entries, order.known)
        assert drive(self._counters.seed(ACCOUNT, order.entries, order.known)) == expected

    @precondition(lambda self: self.record.limits)
    @rule(data=st.data(), is_old=st.booleans(), times=st.integers(1, 2))
    def order_seed(self, data: st.DataObject, is_old: bool, times: int) -> None:
        """A gateway reads the ledger; its seed arrives later, or never."""
        record = self.old_record if is_old else self.record
        plan = plan_of(record, SCOPES, self.now)
        able = [n for n, limit in enumerate(plan.limits) if limit.kind not in ("rpm", "tpm")]
        if able:
            indexes = data.draw(st.lists(st.sampled_from(able), min_size=1, unique=True))
            self.orders += [self._order(record, SCOPES, self.now, tuple(indexes))] * times

    @precondition(lambda self: self.orders)
    @rule(data=st.data())
    def deliver_seed(self, data: st.DataObject) -> None:
        order = self.orders.pop(data.draw(st.integers(0, len(self.orders) - 1)))
        self._seed(order)
        # Rows of calls that ended in between are in neither, unless they were kept all the while.
        is_exact = order.ledger_state == self.ledger_state or order.not_kept == self.not_kept
        self.is_ledger_exact &= is_exact and self._is_known(order.record)

    # Losses. Detecting one raises the epoch.

    def _lost(self) -> None:
        self.is_whole = self.is_ledger_exact = False

    @precondition(lambda self: self.may_lose)
    @rule(raises=st.booleans())
    def lose_everything(self, raises: bool) -> None:
        self.client.delete(HASH)
        self.model = Account()
        self.is_ledger_exact = False
        if raises:
            self.record = self.record.met_run()

    @precondition(lambda self: self.may_lose and self.client.exists(HASH))
    @rule(data=st.data())
    def lose_a_field(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.client.hkeys(HASH))))
        self.client.hdel(HASH, name)
        text = name.decode()
        if text == "due":
            self.is_due_known = False
        elif text == "keep":
            self.model.keep = 0
        elif text.startswith("d|"):
            del self.model.kept[UUID(text[2:])]
        elif text.startswith("l|"):
            del self.model.leases[UUID(text[2:])]
        else:
            del self.model.counters[text]
        self._lost()

    @precondition(lambda self: self.may_lose and self.client.exists(HASH))
    @rule()
    def take_a_snapshot(self) -> None:
        dump: bytes = self.client.dump(HASH)
        self.snapshots.append((dump, self.client.pttl(HASH), deepcopy(self.model), self.is_due_known))

    @precondition(lambda self: self.snapshots)
    @rule(data=st.data())
    def restore_a_snapshot(self, data: st.DataObject) -> None:
        dump, ttl, model, self.is_due_known = data.draw(st.sampled_from(self.snapshots))
        self.client.restore(HASH, ttl, dump, replace=True)
        self.model = deepcopy(model)
        self.record = self.record.met_run()
        self._lost()

    # Invariants.

    @invariant()
    def the_hash_is_the_model(self) -> None:
        fields: dict[bytes, bytes] = self.client.hgetall(HASH)
        account, due = read_account(fields)
        assert account.counters == self.model.counters
        assert account.leases == self.model.leases
        assert (account.keep, account.kept) == (self.model.keep, self.model.kept)
        next_due = self.model.next_due
        if self.is_due_known and next_due is not None:
            assert due is not None
            assert due <= next_due
        if fields:
            assert 0 < self.client.pttl(HASH) <= 30 * DAY_MS

    @invariant()
    def what_is_reserved_is_what_open_leases_hold(self) -> None:
        if not self.is_whole:
            return
        held: dict[tuple[str, int], int] = {}
        for lease in self.model.leases.values():
            for part in lease.parts if lease.is_open else ():
                held[part.name, part.ends] = held.get((part.name, part.ends), 0) + part.amount
        # A counter of an older epoch is not checked: a gateway with the current record seeds it before using it.
        epochs = {entry.field: entry.epoch for entry in plan_of(self.record, SCOPES, self.now).entries}
        for name, counter in self.model.counters.items():
            if isinstance(counter, Bucket) or counter.epoch < epochs.get(name, 0):
                continue
            if isinstance(counter, Window):
                assert counter.reserved == held.get((name, counter.ends), 0)
            elif isinstance(counter, Slots):
                assert counter.taken == held.get((name, 0), 0)

    @invariant()
    def what_is_used_is_what_the_ledger_says(self) -> None:
        if not self.is_ledger_exact:
            return
        plan = plan_of(self.record, SCOPES, self.now)
        for limit, entry in zip(plan.limits, plan.entries, strict=True):
            counter = self.model.counters.get(limit.field)
            if isinstance(counter, Window) and counter.epoch == entry.epoch and limit.window is not None:
                start, end = window_ms(limit.window, self.record.time_zone, counter.ends - 1)
                assert end == counter.ends
                assert counter.used == self._sum(limit, start, end)

    @invariant()
    def nothing_is_more_than_full(self) -> None:
        for counter in self.model.counters.values():
            if isinstance(counter, Bucket):
                assert counter.owed >= 0


@pytest.fixture(scope="module", params=[name for name in SERVERS if name != "cluster"])
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis.Redis]:
    with started_server(request.param, tmp_path_factory.mktemp("stateful")) as (_, url):
        connected = redis.Redis.from_url(url)
        yield connected
        connected.close()


@pytest.mark.timeout(3600)
def test_the_scripts_agree_with_the_model_in_any_order_of_events(client: redis.Redis) -> None:
    steps = int(os.environ.get("LITEMAAS_TEST_STEPS", 40 * STEPS_EACH))
    profile = settings(
        max_examples=max(1, steps // STEPS_EACH),
        stateful_step_count=STEPS_EACH,
        database=None,
        # The same steps in every run; `make test-long` tries new ones.
        derandomize="LITEMAAS_TEST_STEPS" not in os.environ,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink) if os.environ.get("LITEMAAS_TEST_SHRINKS") != "0" else (Phase.generate,),
    )

    class Machine(Limits):
        pass

    Machine.client = client
    Machine.scripts = PlainScripts(client)
    run_state_machine_as_test(Machine, settings=profile)
