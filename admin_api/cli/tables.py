"""Tables of text that fit the terminal. Nothing is cut: what does not fit one line stands below its row.

A table that is too wide leaves out columns without a value, then breaks headings into two lines, and then puts columns
below each row, with their names: texts first, then what takes more than a third of the line, then from the right.
"""

import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Any, Final

from admin_api.cli.cells import NOTHING, cell_text, width_of, wrap
from admin_api.cli.columns import Column, Kind, columns

# Of a line that no terminal shows.
WIDTH: Final = 100
LEAST_WIDTH: Final = 40
GAP: Final = 2
INDENT: Final = " " * 4


@dataclass(frozen=True, slots=True)
class Layout:
    """Which columns are side by side, with their headings of one or two lines, and which are below each row."""

    shown: Sequence[int]
    headings: Sequence[Sequence[str]]
    widths: Sequence[int]
    below: Sequence[int]


def line_width() -> int:
    """Of the terminal that the output goes to, or else WIDTH."""
    if not sys.stdout.isatty():
        return WIDTH
    return max(LEAST_WIDTH, shutil.get_terminal_size((WIDTH, 0)).columns)


def table(
    rows: Sequence[Mapping[str, Any]], shown: Sequence[Column], *, width: int | None = None, zone: tzinfo = UTC
) -> str:
    """A heading and a line for each row. Empty cells are `-`; times are in the zone."""
    width = width or line_width()
    cells = [[cell_text(row[column.name], column.kind, zone) for column in shown] for row in rows]
    layout = _lay_out(shown, cells, width)
    lines = [_line(shown, layout, heading) for heading in zip(*layout.headings, strict=True)]
    for number, cell in enumerate(cells):
        if layout.shown:
            lines.append(_line(shown, layout, [cell[i] for i in layout.shown]))
        elif number:
            lines.append("")
        indent = INDENT if layout.shown else ""
        fields = [(shown[i], cell[i]) for i in layout.below if cell[i] != NOTHING]
        lines += (indent + line for line in _pack(fields, width - len(indent)))
    return "\n".join(lines)


def details(fields: Mapping[str, Any], *, width: int | None = None, zone: tzinfo = UTC) -> str:
    """A line for each field, its value wrapped; below them objects, without what they do not have, and tables of lists
    of objects."""
    width = width or line_width()
    plain = {name: value for name, value in fields.items() if not isinstance(value, dict) and not are_objects(value)}
    lines = _fields(plain, width, zone)
    for name, value in fields.items():
        if isinstance(value, dict):
            held = {part: one for part, one in value.items() if one not in (None, "", [])}
            inner = details(held, width=width - len(INDENT), zone=zone) if held else NOTHING
            lines += [f"{name}:", *(INDENT + line for line in inner.split("\n"))]
        elif are_objects(value):
            lines += [f"{name}:", table(value, columns(*value[0]), width=width, zone=zone)]
    return "\n".join(lines)


def are_objects(value: Any) -> bool:
    """Whether it is a list of objects, and not empty."""
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)


def _fields(fields: Mapping[str, Any], width: int, zone: tzinfo) -> list[str]:
    before = max(map(len, fields), default=0) + GAP
    lines = []
    for name, value in fields.items():
        first, *rest = wrap(cell_text(value, zone=zone), width - before)
        lines += [f"{name.ljust(before)}{first}", *(" " * before + line for line in rest)]
    return lines


def _lay_out(named: Sequence[Column], cells: Sequence[Sequence[str]], width: int) -> Layout:
    needed = [max((width_of(line[i]) for line in cells), default=0) for i in range(len(named))]
    side_by_side, below = list(range(len(named))), list[int]()
    if _sum([max(needed[i], len(named[i].name)) for i in side_by_side]) > width:
        with_values = [i for i in side_by_side if any(line[i] != NOTHING for line in cells)]
        side_by_side = with_values if cells else side_by_side
    while True:
        headings = _headings([(named[i].name, needed[i]) for i in side_by_side], width)
        widths = [max(needed[i], *map(len, lines)) for i, lines in zip(side_by_side, headings, strict=True)]
        if _sum(widths) <= width:
            return Layout(side_by_side, headings, widths, sorted(below))
        moved = max(side_by_side[1:] or side_by_side, key=lambda i: _moves_first(named[i], i, needed[i], width))
        side_by_side.remove(moved)
        below.append(moved)


def _moves_first(column: Column, index: int, needed: int, width: int) -> tuple[bool, int, int]:
    return column.kind is Kind.TEXT, needed if needed > width // 3 else 0, index


def _headings(named: Sequence[tuple[str, int]], width: int) -> list[list[str]]:
    """The headings in one line, or, as far as the table does not fit, in two: those that win the most first."""
    halves = {i: _halves(name) for i, (name, _) in enumerate(named)}
    widths = [max(needed, len(name)) for name, needed in named]
    narrow = [max(needed, *map(len, halves[i])) for i, (_, needed) in enumerate(named)]
    broken = set[int]()
    for i in sorted(halves, key=lambda i: narrow[i] - widths[i]):
        if _sum(widths) <= width:
            break
        if narrow[i] < widths[i]:
            widths[i] = narrow[i]
            broken.add(i)
    if not broken:
        return [[name] for name, _ in named]
    return [halves[i] if i in broken else ["", name] for i, (name, _) in enumerate(named)]


def _halves(name: str) -> list[str]:
    """A name in two lines, broken at an underscore so that the longer line is as short as can be."""
    breaks = [i + 1 for i, one in enumerate(name) if one == "_"]
    if not breaks:
        return ["", name]
    at = min(breaks, key=lambda i: max(i, len(name) - i))
    return [name[:at], name[at:]]


def _sum(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _line(named: Sequence[Column], layout: Layout, cells: Sequence[str]) -> str:
    """Cells side by side, numbers to the right."""
    padded = []
    for i, cell, width in zip(layout.shown, cells, layout.widths, strict=True):
        space = " " * (width - width_of(cell))
        padded.append(space + cell if named[i].kind is Kind.NUMBER else cell + space)
    return (" " * GAP).join(padded).rstrip()


def _pack(fields: Sequence[tuple[Column, str]], width: int) -> Iterator[str]:
    """`name: value` of several fields in one line, as long as they fit; texts have lines of their own."""
    line = ""
    for column, cell in fields:
        field = f"{column.name}: {cell}"
        is_alone = column.kind is Kind.TEXT or width_of(line) + GAP + width_of(field) > width
        if line and not is_alone:
            line += " " * GAP + field
            continue
        if line:
            yield from wrap(line, width)
        line = field
        if column.kind is Kind.TEXT:
            yield from wrap(line, width)
            line = ""
    if line:
        yield from wrap(line, width)
