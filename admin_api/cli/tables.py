"""Tables of text that fit a terminal."""

import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Final
from unicodedata import combining, east_asian_width

WIDTH: Final = 100
GAP: Final = 2
# Cells of the widest columns are cut, never below this.
MIN_WIDTH: Final = 4
MAX_COLUMNS: Final = (WIDTH + GAP) // (MIN_WIDTH + GAP)
CUT: Final = "…"
UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
TIME: Final = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(:\d\d(\.\d+)?)?(Z|\+00:00)")


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Columns as wide as their longest cell, but at most WIDTH together: then names of columns take several lines, and
    long cells are cut. Empty ones are shown as `-`, times to the minute, in UTC."""
    cells = [[cell_text(row[column]) for column in columns] for row in rows]
    # Of a column without rows, the width is 0.
    needed = [max((width_of(line[i]) for line in cells), default=0) for i in range(len(columns))]
    widths = [max(width, len(name)) for width, name in zip(needed, columns, strict=True)]
    heads = [list(columns)]
    if _sum(widths) > WIDTH:
        pieces = [_pieces(name) for name in columns]
        # An id that is cut could not be copied.
        whole = {i for i in range(len(columns)) if any(UUID.fullmatch(line[i]) for line in cells)}
        widths = [max(width, *map(len, parts)) for width, parts in zip(needed, pieces, strict=True)]
        widths = _fit(widths, whole)
        heads = _stack([_joined(parts, width) for parts, width in zip(pieces, widths, strict=True)])
    return "\n".join(
        (" " * GAP).join(_pad(cell, width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in (*heads, *cells)
    )


def details(fields: Mapping[str, Any]) -> str:
    """A line for each field, its value wrapped."""
    width = max(map(len, fields)) + GAP
    lines = []
    for name, value in fields.items():
        text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else cell_text(value)
        wrapped = textwrap.wrap(text, WIDTH - width) or [""]
        lines += [f"{name.ljust(width)}{wrapped[0]}", *(" " * width + line for line in wrapped[1:])]
    return "\n".join(lines)


def cell_text(value: Any) -> str:
    """One line, whatever the value."""
    if value is None or value == [] or value == "":
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    found = TIME.fullmatch(text)
    return f"{found[1]} {found[2]}Z" if found else " ".join(text.split())


def width_of(text: str) -> int:
    """Columns of a terminal: two for a wide character, none for a combining one."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(one) else 2 if east_asian_width(one) in "WF" else 1 for one in text)


def _fit(widths: list[int], whole: set[int]) -> list[int]:
    """Narrows the widest column again and again; those that are to stay whole only when no other is left."""
    fitted = list(widths)
    while _sum(fitted) > WIDTH:
        wide = [i for i, width in enumerate(fitted) if width > MIN_WIDTH]
        if not wide:
            break
        widest = max([i for i in wide if i not in whole] or wide, key=lambda i: fitted[i])
        fitted[widest] -= 1
    return fitted


def _sum(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _pieces(name: str) -> list[str]:
    """Where the name of a column can be broken: `completion_`, `tokens`."""
    first, *rest = name.split("_")
    return [part + "_" for part in (first, *rest[:-1])] + rest[-1:] if rest else [first]


def _joined(pieces: Sequence[str], width: int) -> list[str]:
    """The lines of a name in a column of this width."""
    lines = [pieces[0]]
    for piece in pieces[1:]:
        if len(lines[-1]) + len(piece) <= width:
            lines[-1] += piece
        else:
            lines.append(piece)
    return lines


def _stack(names: Sequence[list[str]]) -> list[list[str]]:
    """The lines of all names, side by side, ending on the same line."""
    height = max(map(len, names))
    filled = [[""] * (height - len(lines)) + lines for lines in names]
    return [list(line) for line in zip(*filled, strict=True)]


def _pad(cell: str, width: int) -> str:
    if width_of(cell) > width:
        while width_of(cell) > width - 1:
            cell = cell[:-1]
        cell += CUT
    return cell + " " * (width - width_of(cell))
