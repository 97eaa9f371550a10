"""A20: dates and periods as people write them, in their time zone."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from admin_api.operations.dates import NAMED, read_moment, read_period
from gateway.domain.errors import GatewayError

MADRID, KATHMANDU = ZoneInfo("Europe/Madrid"), ZoneInfo("Asia/Kathmandu")
# A Saturday; the last day of October in Kathmandu is over already.
NOW = datetime(2026, 10, 31, 20, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        ("2026-11-01", UTC, "2026-11-01T00:00Z"),
        ("2026-11-01", MADRID, "2026-10-31T23:00Z"),
        ("2026-11", MADRID, "2026-10-31T23:00Z"),
        ("2026-07", MADRID, "2026-06-30T22:00Z"),
        ("2026", KATHMANDU, "2025-12-31T18:15Z"),
        ("2026-11-01T12:00", MADRID, "2026-11-01T11:00Z"),
        ("2026-11-01T12:00:00Z", MADRID, "2026-11-01T12:00Z"),
        ("2026-11-01T12:00+05:00", UTC, "2026-11-01T07:00Z"),
        ("today", KATHMANDU, "2026-10-31T18:15Z"),
        ("today", MADRID, "2026-10-30T23:00Z"),
        ("tomorrow", MADRID, "2026-10-31T23:00Z"),
        ("+2d", MADRID, "2026-11-02T20:30Z"),
        ("-12h", MADRID, "2026-10-31T08:30Z"),
        ("now", MADRID, "2026-10-31T20:30Z"),
    ],
)
def test_a20_a_date_is_its_beginning_in_the_zone(text: str, zone: ZoneInfo, expected: str) -> None:
    zone = ZoneInfo("UTC") if zone is UTC else zone
    assert read_moment("since", text, zone, NOW) == datetime.fromisoformat(expected)


@pytest.mark.parametrize(
    "text",
    ["", "x", "2026-13", "2026-02-30", "11/01/2026", "1", "+d", "2026-11-01Z", "9999-12-31T23:59-14:00"],
)
def test_a20_what_is_no_date_is_answered_with_what_is_one(text: str) -> None:
    with pytest.raises(GatewayError) as caught:
        read_moment("since", text, MADRID, NOW)
    assert "2026-11-01" in caught.value.message
    with pytest.raises(GatewayError) as caught:
        read_period(text, MADRID, NOW)
    assert "last-month" in caught.value.message


@pytest.mark.parametrize(
    ("text", "zone", "first", "end"),
    [
        ("last-month", MADRID, "2026-08-31T22:00Z", "2026-09-30T22:00Z"),
        # It is November in Kathmandu.
        ("last-month", KATHMANDU, "2026-09-30T18:15Z", "2026-10-31T18:15Z"),
        # Summer time ends in it: 25 hours more than 30 days.
        ("this-month", MADRID, "2026-09-30T22:00Z", "2026-10-31T23:00Z"),
        ("2026-02", MADRID, "2026-01-31T23:00Z", "2026-02-28T23:00Z"),
        ("2026-10-25", MADRID, "2026-10-24T22:00Z", "2026-10-25T23:00Z"),
        ("last-7-days", MADRID, "2026-10-24T22:00Z", "2026-10-31T23:00Z"),
        ("last-week", MADRID, "2026-10-18T22:00Z", "2026-10-25T23:00Z"),
        ("2025", MADRID, "2024-12-31T23:00Z", "2025-12-31T23:00Z"),
    ],
)
def test_a20_a_period_is_whole_days_of_the_zone(text: str, zone: ZoneInfo, first: str, end: str) -> None:
    expected = (datetime.fromisoformat(first), datetime.fromisoformat(end))
    assert read_period(text, zone, NOW) == expected


@pytest.mark.parametrize("text", NAMED)
def test_a20_periods_meet(text: str) -> None:
    """What is "last" ends where "this" begins, on every day of a year."""
    if not text.startswith("last-"):
        return
    for number in range(366):
        now = datetime.fromtimestamp(NOW.timestamp() + number * 86400, UTC)
        assert read_period(text, MADRID, now)[1] == read_period(text.replace("last", "this"), MADRID, now)[0]
