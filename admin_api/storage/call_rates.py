"""How often a caller of the admin API calls: one bucket a caller in Redis, the same for every replica."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.storage.redis.link import RedisUnavailable, Script

if TYPE_CHECKING:
    from gateway.storage.redis.link import Scripts

CALL_RATE: Final = Script.load("counters", "call_rate")
BUCKET: Final = "lm1-admin-calls:%s"
Unavailable = RedisUnavailable


@dataclass(frozen=True, slots=True)
class CallRate:
    """What a call found. Times in ms: until the bucket is full again, and until the next call may come."""

    is_taken: bool
    left: int
    full_in_ms: int
    next_in_ms: int


class CallRates:
    """`clock_ms` is for tests only: None is Redis's clock."""

    def __init__(self, scripts: "Scripts") -> None:
        self._scripts = scripts
        self.clock_ms: int | None = None

    async def take(self, caller: str, *, per_minute: int) -> CallRate:
        """Counts one call, atomically; a rejected one is not counted. Raises Unavailable."""
        clock = b"" if self.clock_ms is None else self.clock_ms
        taken, left, full, following = await self._scripts.run(CALL_RATE, BUCKET % caller, clock, per_minute)
        return CallRate(taken == 1, left, full, following)
