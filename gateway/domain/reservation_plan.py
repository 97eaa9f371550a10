"""A grant's limits, laid out for the reserve script: the same for every call until a window ends."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from gateway.domain.grants import Grant
from gateway.domain.limits import LIMIT_KINDS, Limit, is_money
from gateway.domain.windows import window_ms

NEVER_MS = 2**53 - 1


class Entry(NamedTuple):
    """One limit as gateway/storage/counters/lua/reserve.lua reads it (ARGV 7 and 8)."""

    field: str
    amount: int
    a: int  # a bucket's capacity, or a window's start in ms
    b: int  # a window's end in ms
    shadow: int
    maximum: int
    epoch: int  # a counter of an older one does not hold what it should


@dataclass(frozen=True, slots=True, kw_only=True)
class ReservationPlan:
    """`limits[n]` is laid out as `entries[n]`. Good for calls that start in [from_ms, until_ms)."""

    limits: tuple[Limit, ...]
    entries: tuple[Entry, ...]
    from_ms: int
    until_ms: int
    # The completion part of an estimate never takes more than half of the smallest TPM bucket.
    max_completion: int | None
    has_cost: bool
    # A cost limit reserves the maximum: a call must have one.
    bounds_cost: bool
    has_maximum: bool


def make_reservation_plan(grant: Grant, time_zone: str, epoch: int, at_ms: int) -> ReservationPlan:
    """The limits in force at `at_ms`, with the windows that moment is in; `epoch` is the account's."""
    in_force = [limit for limit in grant.limits if limit.expires_at is None or at_ms < _ms(limit.expires_at)]
    passing = {_place(limit) for limit in in_force if limit.expires_at is not None}
    # A temporary limit stands in for the lasting one of its kind: that is how an admin raises one for a while.
    limits = tuple(limit for limit in in_force if limit.expires_at is not None or _place(limit) not in passing)
    epochs: dict[str, int] = {}
    for limit in limits:
        # Limits that share a counter: it must be good for all of them.
        epochs[limit.field] = max(epoch, limit.epoch, epochs.get(limit.field, 0))
    entries = []
    from_ms, until_ms = 0, NEVER_MS
    for limit in in_force:
        if limit.expires_at is not None:
            until_ms = min(until_ms, _ms(limit.expires_at))
    for limit in limits:
        a, b = limit.capacity, 0
        if limit.window is not None:
            a, b = window_ms(limit.window, time_zone, at_ms)
            from_ms, until_ms = max(from_ms, a), min(until_ms, b)
        is_shadow, is_maximum = int(limit.shadow), int(limit.reserve == "maximum")
        entries.append(Entry(limit.field, limit.amount, a, b, is_shadow, is_maximum, epochs[limit.field]))
    refusing = [limit for limit in limits if not limit.shadow]
    tpm = [limit.capacity for limit in refusing if limit.is_bucket and LIMIT_KINDS[limit.kind].counts == "tokens"]
    return ReservationPlan(
        limits=limits,
        entries=tuple(entries),
        from_ms=from_ms,
        until_ms=until_ms,
        max_completion=min(tpm) // 2 if tpm else None,
        has_cost=any(is_money(limit.kind) for limit in refusing),
        bounds_cost=any(is_money(limit.kind) and limit.reserve == "maximum" for limit in refusing),
        has_maximum=any(limit.reserve == "maximum" for limit in limits),
    )


def _place(limit: Limit) -> tuple[object, ...]:
    return limit.scope, limit.kind, limit.window, limit.set_by, limit.shadow


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
