"""Keeps calls away from an address that does not serve: open after failures in a row, tried again by one call."""

from typing import Final

# So many in a row: a single one may be chance.
FAILURES_TO_OPEN: Final = 5
FIRST_PAUSE_S: Final = 1.0
MAX_PAUSE_S: Final = 30.0


class Breaker:
    """Of one address. Times are seconds of a clock that only goes forward."""

    __slots__ = ("_failures", "_open_until", "_pause_s", "_probe_until")

    def __init__(self) -> None:
        self._failures = 0
        self._open_until = 0.0
        self._pause_s = FIRST_PAUSE_S
        self._probe_until = 0.0

    @property
    def is_open(self) -> bool:
        """Whether it has failed too often since it last served."""
        return self._failures >= FAILURES_TO_OPEN

    def admits(self, now_s: float) -> bool:
        """Whether a call may be sent now; while open, one at a time after each pause. The sender calls `sent`."""
        return not self.is_open or (now_s >= self._open_until and now_s >= self._probe_until)

    def sent(self, now_s: float) -> None:
        """A call was sent: while open, it is the only one until it has ended or a pause is over."""
        if self.is_open:
            self._probe_until = now_s + MAX_PAUSE_S

    def served(self) -> None:
        """The address answered, whatever it said."""
        self._failures = 0
        self._pause_s = FIRST_PAUSE_S
        self._probe_until = 0.0

    def failed(self, now_s: float) -> None:
        """It could not be reached, or broke off before it answered."""
        self._failures += 1
        self._probe_until = 0.0
        if self.is_open:
            self._open_until = now_s + self._pause_s
            self._pause_s = min(2 * self._pause_s, MAX_PAUSE_S)
