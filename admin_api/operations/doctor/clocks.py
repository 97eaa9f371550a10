"""How far another machine's clock is from this one's."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final

from admin_api.operations.doctor.findings import Findings

MAX_APART_S: Final = 1.0
# The header Date has whole seconds: its clock is up to one further.
HALF_SECOND: Final = 0.5
CURE: Final = "Let all machines keep their clocks by NTP (chrony, systemd-timesyncd), and look which of them is wrong."


@dataclass(frozen=True, slots=True)
class Clock:
    """A reading of another clock between two of ours: it was taken at some time in between."""

    before_s: float
    theirs_s: float
    after_s: float
    rounding_s: float = 0.0

    @property
    def apart_s(self) -> float:
        """By how much it is surely ahead (positive) or behind; 0 while it may be equal."""
        earliest, latest = self.theirs_s - self.rounding_s, self.theirs_s + self.rounding_s
        if earliest > self.after_s:
            return earliest - self.after_s
        return min(latest - self.before_s, 0.0)


def clock_of_header(date: str | None, before_s: float, after_s: float) -> Clock | None:
    """Of the header Date of an answer; None without a valid one."""
    try:
        theirs = parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return None
    return Clock(before_s, theirs + HALF_SECOND, after_s, HALF_SECOND)


def compare(found: Findings, whose: str, clock: Clock | None) -> None:
    """A clock that is more than MAX_APART_S from ours is a problem: windows of limits, tokens and signatures depend on
    them."""
    if clock is not None and abs(clock.apart_s) > MAX_APART_S:
        which = "ahead of" if clock.apart_s > 0 else "behind"
        found.problem(f"The clock of {whose} is {abs(clock.apart_s):.1f} s {which} that of this machine.", CURE)


now_s: Callable[[], float] = time.time
