"""Calendar windows in real time zones, including the days when clocks change."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.windows import LIFETIME_MS, WINDOW_KINDS, WindowKind, window_ms

HOUR_MS = 3_600_000
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "America/Sao_Paulo", "Australia/Lord_Howe")


def ms(text: str) -> int:
    """`2026-03-29T00:00+01:00`; without an offset in UTC."""
    moment = datetime.fromisoformat(text)
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def window(kind: WindowKind, zone: str, at: str) -> tuple[str, str]:
    """The start of the window and of the next one, in local time."""
    start, end = window_ms(kind, zone, ms(at))
    texts = [
        datetime.fromtimestamp(moment / 1000, ZoneInfo(zone)).isoformat(timespec="minutes") for moment in (start, end)
    ]
    return texts[0], texts[1]


def hours(kind: WindowKind, zone: str, at: str) -> float:
    start, end = window_ms(kind, zone, ms(at))
    return (end - start) / HOUR_MS


@pytest.mark.parametrize(
    ("zone", "at", "length"),
    [
        ("Europe/Berlin", "2026-03-29T12:00", 23),
        ("Europe/Berlin", "2026-10-25T12:00", 25),
        ("Europe/Berlin", "2026-03-30T12:00", 24),
        ("America/New_York", "2026-03-08T12:00", 23),
        ("America/New_York", "2026-11-01T12:00", 25),
        ("Australia/Lord_Howe", "2026-04-04T20:00", 24.5),
        ("Australia/Lord_Howe", "2026-10-03T20:00", 23.5),
        ("Asia/Kathmandu", "2026-03-29T12:00", 24),
    ],
)
def test_a_day_with_a_clock_change_has_more_or_fewer_hours(zone: str, at: str, length: float) -> None:
    assert hours("day", zone, at) == length


def test_a_day_begins_at_midnight_in_the_accounts_zone() -> None:
    assert window("day", "Asia/Kathmandu", "2026-05-10T18:14") == ("2026-05-10T00:00+05:45", "2026-05-11T00:00+05:45")
    assert window("day", "Asia/Kathmandu", "2026-05-10T18:15") == ("2026-05-11T00:00+05:45", "2026-05-12T00:00+05:45")
    assert window("day", "America/New_York", "2026-05-11T03:59") == ("2026-05-10T00:00-04:00", "2026-05-11T00:00-04:00")


def test_a_day_without_a_midnight_begins_with_its_first_moment() -> None:
    # In São Paulo clocks went from 23:59:59 to 01:00.
    assert window("day", "America/Sao_Paulo", "2018-11-04T12:00") == (
        "2018-11-04T01:00-02:00",
        "2018-11-05T00:00-02:00",
    )
    assert window("day", "America/Sao_Paulo", "2018-11-03T12:00") == (
        "2018-11-03T00:00-03:00",
        "2018-11-04T01:00-02:00",
    )
    assert hours("day", "America/Sao_Paulo", "2018-11-04T12:00") == 23


def test_a_day_whose_last_hour_repeats_ends_at_the_second_midnight() -> None:
    # In São Paulo clocks went from 23:59:59 back to 23:00.
    assert hours("day", "America/Sao_Paulo", "2018-02-17T12:00") == 25
    assert window("day", "America/Sao_Paulo", "2018-02-18T02:30") == (
        "2018-02-17T00:00-02:00",
        "2018-02-18T00:00-03:00",
    )


def test_a_day_with_two_midnights_begins_at_the_first() -> None:
    # In Havana clocks go from 00:59:59 back to 00:00.
    assert window("day", "America/Havana", "2026-11-01T12:00") == ("2026-11-01T00:00-04:00", "2026-11-02T00:00-05:00")
    assert window("day", "America/Havana", "2026-11-01T05:30") == ("2026-11-01T00:00-04:00", "2026-11-02T00:00-05:00")


def test_a_day_skipped_by_the_calendar_has_no_length() -> None:
    # Samoa had no 30 December 2011.
    assert window("day", "Pacific/Apia", "2011-12-30T09:59") == ("2011-12-29T00:00-10:00", "2011-12-31T00:00+14:00")
    assert window("day", "Pacific/Apia", "2011-12-30T10:00") == ("2011-12-31T00:00+14:00", "2012-01-01T00:00+14:00")


@pytest.mark.parametrize(
    ("at", "first", "following"),
    [
        ("2026-01-31T12:00", "2026-01-01T00:00+01:00", "2026-02-01T00:00+01:00"),
        ("2026-02-28T12:00", "2026-02-01T00:00+01:00", "2026-03-01T00:00+01:00"),
        ("2028-02-29T12:00", "2028-02-01T00:00+01:00", "2028-03-01T00:00+01:00"),
        ("2026-03-31T21:59", "2026-03-01T00:00+01:00", "2026-04-01T00:00+02:00"),
        ("2026-03-31T22:00", "2026-04-01T00:00+02:00", "2026-05-01T00:00+02:00"),
        ("2026-12-31T22:59", "2026-12-01T00:00+01:00", "2027-01-01T00:00+01:00"),
        ("2026-12-31T23:00", "2027-01-01T00:00+01:00", "2027-02-01T00:00+01:00"),
    ],
)
def test_a_month_runs_from_its_first_day_to_the_next_first_day(at: str, first: str, following: str) -> None:
    assert window("month", "Europe/Berlin", at) == (first, following)


def test_february_has_a_29th_in_leap_years_only() -> None:
    assert hours("year", "Europe/Berlin", "2028-02-29T12:00") == 366 * 24
    assert hours("year", "Europe/Berlin", "2026-02-28T12:00") == 365 * 24
    assert window("year", "Asia/Kathmandu", "2026-12-31T18:15")[0] == "2027-01-01T00:00+05:45"


@pytest.mark.parametrize("day", range(9, 16))
def test_a_week_begins_on_monday(day: int) -> None:
    # 9 November 2026 is a Monday.
    assert window("week", "America/New_York", f"2026-11-{day:02}T12:00") == (
        "2026-11-09T00:00-05:00",
        "2026-11-16T00:00-05:00",
    )


def test_a_week_may_begin_in_the_year_before_and_be_an_hour_shorter() -> None:
    assert window("week", "Europe/Berlin", "2027-01-01T12:00") == ("2026-12-28T00:00+01:00", "2027-01-04T00:00+01:00")
    assert hours("week", "Europe/Berlin", "2026-03-29T12:00") == 7 * 24 - 1


def test_a_lifetime_window_covers_all_time() -> None:
    assert window_ms("lifetime", "Asia/Kathmandu", 0) == window_ms("lifetime", "UTC", ms("2999-01-01")) == LIFETIME_MS


@given(
    kind=st.sampled_from([kind for kind in WINDOW_KINDS if kind != "lifetime"]),
    zone=st.sampled_from((*ZONES, "America/Havana", "Pacific/Apia", "Africa/Casablanca", "Asia/Gaza")),
    at_ms=st.integers(ms("1995-01-01"), ms("2090-01-01")),
)
def test_windows_are_contiguous_without_gap_or_overlap(kind: WindowKind, zone: str, at_ms: int) -> None:
    start, end = window_ms(kind, zone, at_ms)

    assert start <= at_ms < end
    assert window_ms(kind, zone, start) == window_ms(kind, zone, end - 1) == (start, end)
    assert window_ms(kind, zone, start - 1)[1] == start
    assert window_ms(kind, zone, end)[0] == end


@given(zone=st.sampled_from(ZONES), at_ms=st.integers(ms("1995-01-01"), ms("2090-01-01")))
def test_a_day_holds_exactly_the_moments_of_its_date(zone: str, at_ms: int) -> None:
    start, end = window_ms("day", zone, at_ms)

    def date_of(moment_ms: int) -> date:
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=moment_ms)).astimezone(ZoneInfo(zone)).date()

    assert date_of(start) == date_of(at_ms) == date_of(end - 1)
    assert date_of(start - 1) < date_of(at_ms) < date_of(end)
