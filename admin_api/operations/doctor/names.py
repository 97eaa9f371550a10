"""Lists of names in findings."""

from collections.abc import Sequence
from typing import Final

MAX_NAMED: Final = 5


def some(names: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more
