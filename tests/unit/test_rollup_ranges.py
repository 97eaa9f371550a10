"""Time ranges split over rollups: every quarter hour inside counts once, and none outside."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.rollup_ranges import QUARTER, Grain, bounds_of_steps, ceiling, cut, floor, units_of

BEGIN = datetime(2026, 1, 25, tzinfo=UTC)
MOMENTS = st.integers(0, 100 * 96).map(lambda n: BEGIN + n * QUARTER)
ALL_GRAINS: tuple[Grain, ...] = ("month", "ten_days", "day", "six_hours", "quarter")
GRAINS = st.sampled_from([ALL_GRAINS, ("month", "day", "quarter"), ("day", "quarter"), ("quarter",)])


@given(MOMENTS, MOMENTS, GRAINS, st.booleans())
def test_every_quarter_hour_of_the_range_counts_once(
    start: datetime, end: datetime, grains: tuple, is_open: bool
) -> None:
    ranges = cut(start, end, grains, is_open=is_open)

    counts: Counter[datetime] = Counter()
    for range_ in ranges:
        assert floor(range_.start, range_.grain) == range_.start
        assert floor(range_.end, range_.grain) == range_.end
        units = [*units_of(range_), range_.end]
        assert units[0] == range_.start
        assert all(ceiling(a + QUARTER, range_.grain) == b for a, b in pairwise(units))
        quarters = (range_.end - range_.start) // QUARTER
        for n in range(quarters):
            counts[range_.start + n * QUARTER] += range_.sign
    inside = {moment for moment, n in counts.items() if n and (not is_open or moment < end)}
    assert inside == {start + n * QUARTER for n in range(max(0, (end - start) // QUARTER))}
    assert all(counts[moment] == 1 for moment in inside)


@given(MOMENTS, MOMENTS)
def test_an_edge_of_a_range_has_at_most_half_a_coarser_grain_of_finer_ranges(start: datetime, end: datetime) -> None:
    ranges = cut(start, end, ALL_GRAINS)

    # Half of the longest month, ten days that are eleven, and so on; rounded to the grain itself.
    longest_edges = {
        "ten_days": timedelta(days=21),
        "day": timedelta(days=6),
        "six_hours": timedelta(hours=12),
        "quarter": timedelta(hours=3),
    }
    for grain, longest in longest_edges.items():
        coarser = ALL_GRAINS[: ALL_GRAINS.index(grain)]
        edges = [range_.end - range_.start for range_ in ranges if range_.grain == grain]
        if any(range_.grain in coarser for range_ in ranges):
            assert all(edge <= longest for edge in edges)
            assert len(edges) <= 2


@pytest.mark.parametrize("is_open", [False, True])
def test_a_day_is_read_alone_wherever_it_is_in_its_month(is_open: bool) -> None:
    for n in range(365):
        day = BEGIN + timedelta(days=n)
        (range_,) = cut(day, day + timedelta(days=1), ALL_GRAINS, is_open=is_open)
        assert len(units_of(range_)) == 1
        assert range_.start == day


@pytest.mark.parametrize("month", range(1, 13))
def test_ten_day_ranges_begin_on_three_days_of_a_month(month: int) -> None:
    moment = datetime(2027, month, 1, 5, 15, tzinfo=UTC)
    days = [moment + timedelta(days=n) for n in range(40)]

    floors = [floor(day, "ten_days") for day in days]

    assert {one.day for one in floors} == {1, 11, 21}
    assert all(a <= b and (b - a).days < 11 for a, b in zip(floors, days, strict=True))
    assert all(ceiling(day, "ten_days") == min(f for f in [*floors, ceiling(days[-1], "month")] if f >= day)
               for day in days[:30])  # fmt: skip


@given(MOMENTS, MOMENTS, st.sampled_from(["hour", "day", "week", "month"]),
       st.sampled_from(["UTC", "Europe/Madrid", "Asia/Kolkata", "America/St_Johns", "Pacific/Chatham",
                        "Australia/Lord_Howe"]))  # fmt: skip
def test_steps_are_contiguous_from_start_to_end(start: datetime, end: datetime, step: str, zone: str) -> None:
    if start >= end:
        return
    bounds = bounds_of_steps(start, end, step, ZoneInfo(zone), maximum=10_000)

    assert bounds is not None
    assert (bounds[0], bounds[-1]) == (start, end)
    assert all(a < b and ceiling(b, "quarter") == b for a, b in pairwise(bounds))
    for bound in bounds[1:-1]:
        local = bound.astimezone(ZoneInfo(zone))
        assert local.minute == 0
        assert step == "hour" or local.hour == 0
        assert step != "week" or local.weekday() == 0
        assert step != "month" or local.day == 1


def test_days_with_a_clock_change_have_23_or_25_hours() -> None:
    madrid = ZoneInfo("Europe/Madrid")
    lengths = {}
    for month, day in ((3, 29), (10, 25)):
        start = datetime(2026, month, day, tzinfo=madrid).astimezone(UTC)
        end = datetime(2026, month, day + 1, tzinfo=madrid).astimezone(UTC)
        bounds = bounds_of_steps(start, end, "day", madrid, maximum=10)
        lengths[day] = [b - a for a, b in pairwise(bounds or [])]
        hours = bounds_of_steps(start, end, "hour", madrid, maximum=30)
        assert len(hours or []) - 1 == (end - start) // timedelta(hours=1)
    assert lengths == {29: [timedelta(hours=23)], 25: [timedelta(hours=25)]}


@pytest.mark.parametrize(("month", "day"), [(4, 5), (10, 4)])
def test_hours_stay_aligned_where_summer_time_is_half_an_hour(month: int, day: int) -> None:
    zone = ZoneInfo("Australia/Lord_Howe")
    start = datetime(2026, month, day - 1, 12, 30, tzinfo=zone).astimezone(UTC)
    end = datetime(2026, month, day + 1, 12, 15, tzinfo=zone).astimezone(UTC)

    bounds = bounds_of_steps(start, end, "hour", zone, maximum=100)

    assert bounds is not None
    assert {bound.astimezone(zone).minute for bound in bounds[1:-1]} == {0}
    lengths = Counter(b - a for a, b in pairwise(bounds[1:-1]))
    assert {length: n for length, n in lengths.items() if length != timedelta(hours=1)} == {timedelta(minutes=90): 1}


@pytest.mark.parametrize(("step", "maximum", "is_some"), [("hour", 24, True), ("hour", 23, False), ("day", 1, True)])
def test_more_steps_than_permitted_give_none(step: str, maximum: int, is_some: bool) -> None:
    bounds = bounds_of_steps(BEGIN, BEGIN + timedelta(days=1), step, ZoneInfo("UTC"), maximum=maximum)

    assert (bounds is not None) == is_some
