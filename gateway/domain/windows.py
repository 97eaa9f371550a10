"""Calendar windows: a day, week (from Monday), month or year in the account's time zone, or the lifetime.

A boundary is the first moment of a local calendar day, also on days when clocks change: a day may have 23 or 25
hours, and where midnight does not exist the window starts with the first moment that does.
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, Literal, get_args
from zoneinfo import ZoneInfo

WindowKind = Literal["day", "week", "month", "year", "lifetime"]
WINDOW_KINDS: Final = get_args(WindowKind)
# 2^53 - 1 ms would leave datetime's range; the year 9999 does not.
LIFETIME_MS: Final = (0, 253_402_300_800_000)


def window_ms(kind: WindowKind, time_zone: str, at_ms: int) -> tuple[int, int]:
    """The window that `at_ms` is in, as [start, end) in ms since 1970. `time_zone` is an IANA name."""
    if kind == "lifetime":
        return LIFETIME_MS
    zone = ZoneInfo(time_zone)
    local = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(zone)
    return _calendar_window_ms(kind, time_zone, local.year, local.month, local.day)


@lru_cache(maxsize=4096)
def _calendar_window_ms(kind: WindowKind, time_zone: str, year: int, month: int, day: int) -> tuple[int, int]:
    first = datetime(year, month, day)  # noqa: DTZ001  wall-clock time, given its zone in _moment_ms
    if kind == "week":
        first -= timedelta(days=first.weekday())
        following = first + timedelta(days=7)
    elif kind == "month":
        first = first.replace(day=1)
        following = (first + timedelta(days=32)).replace(day=1)
    elif kind == "year":
        first = first.replace(month=1, day=1)
        following = first.replace(year=year + 1)
    else:
        following = first + timedelta(days=1)
    zone = ZoneInfo(time_zone)
    return _moment_ms(first, zone), _moment_ms(following, zone)


def _moment_ms(wall: datetime, zone: ZoneInfo) -> int:
    # fold=0 takes the earlier of two midnights. A midnight that is skipped comes out with the offset from before
    # the gap, which is the very moment the gap begins: the first moment of the new day.
    return round(wall.replace(tzinfo=zone).timestamp() * 1000)


def iso_time(at_ms: int) -> str:
    """A moment in whole seconds, as `2027-01-31T12:00:00Z`."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
