"""What a period will cost at the rate of what has passed of it."""

from datetime import datetime, timedelta
from typing import Final

# Before, a single call would make a forecast of anything.
LEAST: Final = timedelta(days=1)
SECOND: Final = timedelta(seconds=1)


def cost_at_this_rate(cost_nano_usd: int, *, since: datetime, until: datetime, now: datetime) -> int | None:
    """Of the whole period, in nano-USD, rounded down; None if less than a day of it has passed."""
    passed = min(now, until) - since
    return None if passed < LEAST else cost_nano_usd * ((until - since) // SECOND) // (passed // SECOND)
