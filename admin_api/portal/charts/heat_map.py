"""Hours of the week as cells, the darker the more."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from admin_api.portal.charts.scales import Mark, width_of

HOURS: Final = 24
ROW: Final = 22
GAP: Final = 2
# Classes of colours; 0 is nothing.
LEVELS: Final = 5


@dataclass(frozen=True, slots=True)
class Cell:
    """One hour of one day; `level` is the number of a class."""

    x: float
    y: int
    width: float
    height: int
    level: int
    label: str


@dataclass(frozen=True, slots=True)
class HeatMap:
    """A row for each day; hours with nothing have no cell. `description` is for those who cannot see it."""

    title: str
    description: str
    cells: Sequence[Cell]
    days: Sequence[Mark]
    hours: Sequence[Mark]
    height: int

    @property
    def axis_width(self) -> int:
        """In pixels."""
        return width_of(self.days)


def draw(
    title: str,
    description: str,
    days: Sequence[str],
    hours: Sequence[str],
    values: Sequence[Sequence[int]],
    write: Callable[[int], str],
) -> HeatMap:
    """`values` are by day and hour."""
    highest = max((value for row in values for value in row), default=0)
    width = 100 / HOURS
    cells = [
        Cell(
            x=round(hour * width, 3),
            y=day * ROW,
            width=round(width * 0.92, 3),
            height=ROW - GAP,
            level=1 + (LEVELS - 1) * value // highest,
            label=f"{days[day]} {hours[hour]}: {write(value)}",
        )
        for day, row in enumerate(values)
        for hour, value in enumerate(row)
        if value > 0
    ]
    marks = [Mark(round((hour + 0.5) * width, 3), hours[hour]) for hour in range(0, HOURS, 6)]
    rows = [Mark(day * ROW + ROW * 0.65, text) for day, text in enumerate(days)]
    return HeatMap(title, description, cells, rows, marks, len(days) * ROW)
