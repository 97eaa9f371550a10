"""What callers saw: failed calls by kind, and for how long."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from chaos.load import Attempt

Kinds = Counter[str]


@dataclass(frozen=True, slots=True)
class Seen:
    """`seconds` are from the first failed call's end to the last one's."""

    calls: int
    kinds: Kinds
    seconds: float

    @classmethod
    def of(cls, attempts: Iterable[Attempt]) -> Self:
        made = [attempt for attempt in attempts if attempt.ended_s]
        failed = [(kind, attempt.ended_s) for attempt in made if (kind := kind_of(attempt))]
        ends = [end for _, end in failed]
        return cls(len(made), Counter(kind for kind, _ in failed), max(ends) - min(ends) if ends else 0.0)

    @property
    def text(self) -> str:
        """For a cell of the table."""
        if not self.kinds:
            return f"0 of {self.calls}"
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.kinds.items()))
        return f"{sum(self.kinds.values())} of {self.calls}, {self.seconds:.1f} s: {kinds}"


def kind_of(attempt: Attempt) -> str:
    """Why a call failed; empty for one that did not."""
    if attempt.status == 0:
        return "without answer"
    if attempt.status != 200:
        return f"{attempt.status} `{attempt.code}`"
    if attempt.outcome == "cut":
        return "cut off"
    if attempt.error:
        return "stream ended by an error"
    return ""
