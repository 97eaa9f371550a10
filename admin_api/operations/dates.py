"""Dates and periods as people write them, in a time zone: `2026-11-01`, `2026-11`, `+30d`, `last-month`."""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from admin_api.operations.validation import invalid

DATE: Final = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?")
DISTANCE: Final = re.compile(r"([+-])(\d{1,5})([hdw])")
UNITS: Final = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
LAST_DAYS: Final = re.compile(r"last-(\d{1,4})-days")
MOMENTS: Final = "a date (2026-11-01), a month (2026-11), a time (2026-11-01T12:00), today, or a distance (+30d, -12h)"
# The first day, and the day after the last one, of a period that today is in.
NAMED: Final[dict[str, Callable[[date], tuple[date, date]]]] = {
    "today": lambda day: (day, day + timedelta(days=1)),
    "yesterday": lambda day: (day - timedelta(days=1), day),
    "this-week": lambda day: (_monday(day), _monday(day) + timedelta(weeks=1)),
    "last-week": lambda day: (_monday(day) - timedelta(weeks=1), _monday(day)),
    "this-month": lambda day: (day.replace(day=1), _next_month(day)),
    "last-month": lambda day: ((day.replace(day=1) - timedelta(days=1)).replace(day=1), day.replace(day=1)),
    "this-year": lambda day: (day.replace(month=1, day=1), date(day.year + 1, 1, 1)),
    "last-year": lambda day: (date(day.year - 1, 1, 1), day.replace(month=1, day=1)),
}
PERIODS: Final = (
    f"{', '.join(NAMED)}, last-N-days, a month (2026-11), a day (2026-11-01), a year (2026) or the first and the last "
    "of them (2026-11-01..2026-11-15)"
)


def read_moment(field: str, text: str, zone: ZoneInfo, now: datetime | None = None) -> datetime:
    """A moment in UTC. A date is its beginning in the time zone, and a time without a zone is of it. Raises
    GatewayError `validation_failed`, also for a time outside the years 1 to 9999."""
    now = now or datetime.now(UTC)
    try:
        days = _days(text)
        if days is not None:
            return _begin(days[0], zone)
        if text in ("now", "today", "yesterday", "tomorrow"):
            today = now.astimezone(zone).date()
            moved = {"yesterday": -1, "tomorrow": 1}.get(text, 0)
            return now if text == "now" else _begin(today + timedelta(days=moved), zone)
        distance = DISTANCE.fullmatch(text)
        if distance is not None:
            moved_by = int(distance[2]) * UNITS[distance[3]]
            return now + moved_by if distance[1] == "+" else now - moved_by
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise invalid(field, f"{field} must be {MOMENTS}.") from None


def read_period(text: str, zone: ZoneInfo, now: datetime | None = None) -> tuple[datetime, datetime]:
    """Its beginning and its end, exclusive, in UTC. Raises GatewayError `validation_failed`."""
    today = (now or datetime.now(UTC)).astimezone(zone).date()
    try:
        days = NAMED[text](today) if text in NAMED else _days_between(text) or _days(text)
        last = LAST_DAYS.fullmatch(text)
        if last is not None and int(last[1]) > 0:
            days = (today - timedelta(days=int(last[1]) - 1), today + timedelta(days=1))
        if days is not None:
            return _begin(days[0], zone), _begin(days[1], zone)
    except (ValueError, OverflowError):
        pass
    raise invalid("period", f"period must be {PERIODS}.")


def earlier_period(start: datetime, end: datetime, zone: ZoneInfo, now: datetime) -> tuple[datetime, datetime]:
    """The period before this one, in UTC: as many months of the time zone if it begins and ends with one, else as many
    days. Of a period that has not ended, as much of the one before as has passed of it."""
    first, last = (moment.astimezone(zone).replace(tzinfo=None) for moment in (start, end))
    before = first - (last - first)
    if first == _month(first) and last == _month(last):
        before = _months_later(first, (first.year - last.year) * 12 + first.month - last.month)
    earlier = before.replace(tzinfo=zone).astimezone(UTC)
    if end <= now:
        return earlier, start
    passed = max(now.astimezone(zone).replace(tzinfo=None) - first, timedelta(minutes=15))
    return earlier, min(start, (before + passed).replace(tzinfo=zone).astimezone(UTC))


def _month(local: datetime) -> datetime:
    return local.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _months_later(month: datetime, number: int) -> datetime:
    years, index = divmod(month.month - 1 + number, 12)
    return month.replace(year=month.year + years, month=index + 1)


def _days_between(text: str) -> tuple[date, date] | None:
    """From the first day of the first one to the last day of the last one; None for a text without two dots. Raises
    ValueError."""
    begin, dots, end = text.partition("..")
    if not dots:
        return None
    first, last = _days(begin), _days(end)
    if first is None or last is None or first[0] >= last[1]:
        raise ValueError(text)
    return first[0], last[1]


def _days(text: str) -> tuple[date, date] | None:
    """The first day of a year, month or day, and the day after its last; None for other texts. Raises ValueError."""
    found = DATE.fullmatch(text)
    if found is None or not text.isascii():
        return None
    year, month, day = (None if part is None else int(part) for part in found.groups())
    if year is None or month is None:
        return date(int(text), 1, 1), date(int(text) + 1, 1, 1)
    if day is None:
        return date(year, month, 1), _next_month(date(year, month, 1))
    return date(year, month, day), date(year, month, day) + timedelta(days=1)


def _begin(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time.min, tzinfo=zone).astimezone(UTC)


def _monday(day: date) -> date:
    return day - timedelta(days=day.weekday())


def _next_month(day: date) -> date:
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)
