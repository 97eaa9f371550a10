"""When a refused caller should retry: each gets a time of its own, so that they do not all come at once.

Each gateway keeps a clock per limit. A refused caller gets the later of "it may fit then" and "after those refused
before it", and the clock moves on by the time one admission takes here lately: 1.5 refusals per admitted call instead
of the 24 where all get the exact time (64 callers, docs/limits.md).
"""

import random
from collections.abc import Callable
from typing import Final

# The rate of admissions is that of the last 15 to 30 s.
HALF_S: Final = 15.0
MAX_S: Final = 60.0
SPREAD: Final = 0.1
MAX_LIMITS: Final = 50_000


class _Clock:
    __slots__ = ("before", "half_at", "next_at", "now")

    def __init__(self, now_s: float) -> None:
        self.next_at = 0.0
        self.half_at = now_s
        self.now = self.before = 0

    def turn_over(self, now_s: float) -> None:
        if now_s - self.half_at >= HALF_S:
            self.before = self.now if now_s - self.half_at < 2 * HALF_S else 0
            self.now, self.half_at = 0, now_s


class Turns:
    """One gateway's clocks, by limit id. Times are seconds of a clock that only goes forward."""

    def __init__(self, spread: Callable[[float, float], float] = random.uniform) -> None:
        self._clocks: dict[int, _Clock] = {}
        self._spread = spread

    def admitted(self, limit_id: int, now_s: float) -> None:
        """A call took from this limit."""
        clock = self._clocks.get(limit_id)
        if clock is None:
            if len(self._clocks) >= MAX_LIMITS:
                self._clocks.clear()
            clock = self._clocks[limit_id] = _Clock(now_s)
        clock.turn_over(now_s)
        clock.now += 1

    def wait_s(self, limit_id: int, now_s: float, least_s: float, alone_s: float) -> float:
        """Seconds for one refused caller, at least `least_s`. `alone_s` is what one call takes of the limit in time:
        the step where nothing was admitted lately."""
        if least_s >= MAX_S:
            return least_s
        clock = self._clocks.get(limit_id)
        if clock is None:
            clock = self._clocks[limit_id] = _Clock(now_s)
        clock.turn_over(now_s)
        count = clock.now + clock.before
        step_s = (now_s - clock.half_at + (HALF_S if clock.before else 0.0)) / count if count else alone_s
        turn_at = min(max(clock.next_at, now_s + least_s), now_s + MAX_S)
        clock.next_at = turn_at + min(step_s, MAX_S)
        return max(least_s, min((turn_at - now_s) * self._spread(1 - SPREAD, 1 + SPREAD), MAX_S))
