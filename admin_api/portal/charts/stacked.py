"""Bars side by side, each of which is stacked of several series."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from admin_api.portal.charts.scales import HEIGHT, Mark, marks_across, marks_up, top_of, width_of

GAP_SHARE: Final = 0.2
# Classes of colours; the last one is for all others.
COLOURS: Final = 8


@dataclass(frozen=True, slots=True)
class Series:
    """A value for each bar. `colour` is the number of a class."""

    name: str
    values: Sequence[int]
    colour: int


@dataclass(frozen=True, slots=True)
class Segment:
    """One rectangle of a bar; `label` says what it stands for and its number."""

    y: float
    height: float
    colour: int
    label: str


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar; `label` says what it stands for and its number, `path` leads to what is behind it."""

    x: float
    width: float
    label: str
    path: str | None
    segments: Sequence[Segment]


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars, axes and legend. `description` is for those who cannot see it."""

    title: str
    description: str
    bars: Sequence[Bar]
    up: Sequence[Mark]
    across: Sequence[Mark]
    legend: Sequence[tuple[str, int]]
    height: int = HEIGHT

    @property
    def axis_width(self) -> int:
        """In pixels: exact amounts are long."""
        return width_of(self.up)


def stack(
    title: str,
    description: str,
    texts: Sequence[str],
    series: Sequence[Series],
    write: Callable[[int], str],
    paths: Sequence[str | None] = (),
    write_axis: Callable[[int], str] | None = None,
) -> Chart:
    """A bar for each of `texts` that has something; every series has as many values as there are texts. Values below 0
    are shown as nothing."""
    columns = list(zip(*(one.values for one in series), strict=True)) if series else [() for _ in texts]
    top = top_of(max((sum(max(value, 0) for value in column) for column in columns), default=0))
    slot = 100 / max(len(texts), 1)
    bars = [
        Bar(
            x=round(number * slot + slot * GAP_SHARE / 2, 3),
            width=round(slot * (1 - GAP_SHARE), 3),
            label=f"{text}: {write(sum(column))}",
            path=paths[number] if paths else None,
            segments=_segments(text, column, series, top, write),
        )
        for number, (text, column) in enumerate(zip(texts, columns, strict=True))
        if any(value > 0 for value in column)
    ]
    legend = [(one.name, one.colour) for one in series if len(series) > 1]
    return Chart(title, description, bars, marks_up(top, write_axis or write), marks_across(texts), legend)


def _segments(
    text: str, column: Sequence[int], series: Sequence[Series], top: int, write: Callable[[int], str]
) -> list[Segment]:
    segments, below = [], 0
    for value, one in zip(column, series, strict=True):
        if value <= 0:
            continue
        height = HEIGHT * value / top
        y = HEIGHT - HEIGHT * below / top - height
        segments.append(Segment(round(y, 2), round(height, 2), one.colour, f"{text}, {one.name}: {write(value)}"))
        below += value
    return segments
