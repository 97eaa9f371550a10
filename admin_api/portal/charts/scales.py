"""The axes of a chart: round numbers up, a few labels across."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

HEIGHT: Final = 200
TICKS: Final = 4
# As many as fit a phone.
LABELS: Final = 4
# Pixels: of a digit of a label, and of what is left free beside it.
CHARACTER: Final = 7
BESIDE: Final = 16
_STEPS: Final = (1, 2, 5, 10)


@dataclass(frozen=True, slots=True)
class Mark:
    """A label of an axis: at so many pixels from the top, or percent from the left."""

    at: float
    text: str


def top_of(highest: int) -> int:
    """The least round number that is not below `highest`, and is TICKS steps of 1, 2 or 5 times a power of ten."""
    power = 1
    while TICKS * 10 * power < highest:
        power *= 10
    return next(TICKS * step * power for step in _STEPS if TICKS * step * power >= highest)


def marks_up(top: int, write: Callable[[int], str]) -> list[Mark]:
    """From 0 at the bottom to `top`, written by `write`."""
    return [Mark(HEIGHT - HEIGHT * tick / TICKS, write(top * tick // TICKS)) for tick in range(TICKS + 1)]


def width_of(marks: Sequence[Mark]) -> int:
    """Pixels that the labels of an axis up take, with their distance from the chart."""
    return BESIDE + CHARACTER * max(len(mark.text) for mark in marks)


def marks_across(texts: Sequence[str]) -> list[Mark]:
    """Some of the texts, each below the middle of its bar."""
    every = max(1, -(-len(texts) // LABELS))
    return [Mark(_middle(number, len(texts)), texts[number]) for number in range(0, len(texts), every)]


def _middle(number: int, of: int) -> float:
    return round(100 * (number + 0.5) / of, 3)
