"""Cuts a range of time into ranges that rollups have sums of: coarse ones in the middle, quarters at the edges.

A range may be subtracted: all of May without its first three days is cheaper to read than 28 days. So a query reads at
each edge no more of a grain than half of what the next coarser one holds, however long its range is.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple
from zoneinfo import ZoneInfo

Grain = Literal["month", "ten_days", "day", "six_hours", "quarter"]
Step = Literal["hour", "day", "week", "month"]
QUARTER: Final = timedelta(minutes=15)


class Range(NamedTuple):
    """Sums of `grain` from `start` up to `end` (in UTC, on bounds of the grain) count `sign` times for `bucket`."""

    grain: Grain
    start: datetime
    end: datetime
    sign: int
    bucket: int


def floor(moment: datetime, grain: Grain) -> datetime:
    """The last bound of the grain that is not after `moment` (in UTC). Ten days begin on the 1st, 11th and 21st."""
    if grain == "quarter":
        return moment.replace(minute=moment.minute - moment.minute % 15, second=0, microsecond=0)
    if grain == "six_hours":
        return moment.replace(hour=moment.hour - moment.hour % 6, minute=0, second=0, microsecond=0)
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if grain == "ten_days":
        return midnight.replace(day=1 + 10 * min((midnight.day - 1) // 10, 2))
    return midnight if grain == "day" else midnight.replace(day=1)


# So long after a bound the next one has been reached, and the one after that has not.
_LENGTHS: Final[dict[Grain, timedelta]] = {
    "quarter": QUARTER,
    "six_hours": timedelta(hours=6),
    "day": timedelta(days=1),
    "ten_days": timedelta(days=11),
    "month": timedelta(days=32),
}


def ceiling(moment: datetime, grain: Grain) -> datetime:
    """The first bound of the grain that is not before `moment` (in UTC)."""
    below = floor(moment, grain)
    return below if below == moment else floor(below + _LENGTHS[grain], grain)


def cut(
    start: datetime, end: datetime, grains: Sequence[Grain], *, bucket: int = 0, sign: int = 1, is_open: bool = False
) -> list[Range]:
    """From `start` up to `end`, both in UTC and on a quarter of an hour; `grains` from coarse to fine.

    `is_open`: nothing has happened after `end` yet, so that a grain may reach over it.
    """
    grain, *finer = grains
    if not finer:
        return [Range(grain, start, end, sign, bucket)] if start < end else []
    first = _nearest(start, grain)
    last = ceiling(end, grain) if is_open else _nearest(end, grain)
    inside = min(end, last) - max(start, first)
    read = (min(end, last) if is_open else last) - first
    # As much would be subtracted as is left: a day is no month without 29 days.
    if first >= last or 2 * inside <= read:
        return cut(start, end, finer, bucket=bucket, sign=sign, is_open=is_open)
    ranges = [Range(grain, first, last, sign, bucket)]
    if start < first:
        ranges += cut(start, first, finer, bucket=bucket, sign=sign)
    else:
        ranges += cut(first, start, finer, bucket=bucket, sign=-sign)
    if last < end:
        ranges += cut(last, end, finer, bucket=bucket, sign=sign)
    elif not is_open:
        ranges += cut(end, last, finer, bucket=bucket, sign=-sign)
    return ranges


def units_of(range_: Range) -> list[datetime]:
    """Where each sum of the range begins: its quarters, days, months, …"""
    starts, at = [], range_.start
    while at < range_.end:
        starts.append(at)
        at = floor(at + _LENGTHS[range_.grain], range_.grain)
    return starts


def _nearest(moment: datetime, grain: Grain) -> datetime:
    below, above = floor(moment, grain), ceiling(moment, grain)
    return below if moment - below <= above - moment else above


def bounds_of_steps(
    start: datetime, end: datetime, step: Step, zone: ZoneInfo, *, maximum: int
) -> list[datetime] | None:
    """Bounds of the buckets from `start` up to `end`, in UTC: the first is `start`, the last `end`, those between are
    on hours, days, weeks (from Monday) or months of the time zone. None for more than `maximum` buckets."""
    utc = start.tzinfo
    bounds = [start]
    local = _first_step(start.astimezone(zone).replace(tzinfo=None), step)
    moment = start
    while moment < end:
        if step == "hour":
            # Hours of the clock that counts: one that a change of summer time repeats is two. Where summer time is half
            # an hour (Australia/Lord_Howe) the hour of the change is one and a half.
            moment += timedelta(minutes=60 - moment.astimezone(zone).minute)
            moment += timedelta(minutes=-moment.astimezone(zone).minute % 60)
        else:
            local = _next_step(local, step)
            moment = local.replace(tzinfo=zone).astimezone(utc)
        # A day that a zone has skipped is no bucket.
        if moment > bounds[-1]:
            bounds.append(min(moment, end))
        if len(bounds) > maximum + 1:
            return None
    return bounds


def _first_step(local: datetime, step: Step) -> datetime:
    hour = local.replace(minute=0, second=0, microsecond=0)
    if step == "hour":
        return hour
    day = hour.replace(hour=0)
    if step == "week":
        return day - timedelta(days=day.weekday())
    return day if step == "day" else day.replace(day=1)


def _next_step(local: datetime, step: Step) -> datetime:
    if step == "month":
        return (local + timedelta(days=32)).replace(day=1)
    return local + timedelta(days=7 if step == "week" else 1)
