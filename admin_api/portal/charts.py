"""Geometry of charts that templates draw as SVG. Colours are classes, so that themes follow; each chart has a table of
the same numbers beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

WIDTH: Final = 720
HEIGHT: Final = 160
GAP_SHARE: Final = 0.2


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar; `label` says what it stands for and its number."""

    x: float
    y: float
    width: float
    height: float
    label: str


def bars(values: Sequence[int], labels: Sequence[str]) -> list[Bar]:
    """Side by side, the highest as high as the chart; of equal length."""
    if not values:
        return []
    highest, slot = max(*values, 1), WIDTH / len(values)
    return [
        Bar(
            x=round(number * slot + slot * GAP_SHARE / 2, 2),
            y=round(HEIGHT - HEIGHT * value / highest, 2),
            width=round(slot * (1 - GAP_SHARE), 2),
            height=round(HEIGHT * value / highest, 2),
            label=label,
        )
        for number, (value, label) in enumerate(zip(values, labels, strict=True))
    ]
