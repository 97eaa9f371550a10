"""How much of a limit is used, as a whole number."""

from typing import Final

PER_MILLE: Final = 1000


def share_of(amount: int, left: int) -> int:
    """How much of the amount is gone, in thousandths; all of a limit that allows nothing."""
    return PER_MILLE if amount <= 0 else max(0, (amount - left) * PER_MILLE // amount)
