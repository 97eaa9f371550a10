"""Bar charts as SVG, for light and for dark pages: a bar a target and figure, with its number at the end."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

from loadtests.bench.results import Key, Results
from loadtests.bench.tables import ENVOY, MAIN_JSON_LOAD, MAIN_STREAMS_LOAD, NGINX, ONE, number
from loadtests.bench.targets import DIRECT

WIDTH: Final = 760
LABELS: Final = 210
NUMBERS: Final = 70
BAR: Final = 16
GAP: Final = 10
TOP: Final = 56
# Text and two colours of bars that are readable on white; and on black, where the system asks for it.
STYLE: Final = """
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600; font-size: 15px }
.note { fill: #57606a }
.first { fill: #0969da }
.second { fill: #bf8700 }
.line { stroke: #57606a; stroke-dasharray: 3 3 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .note { fill: #9198a1 }
  .first { fill: #4493f8 }
  .second { fill: #d29922 }
  .line { stroke: #9198a1 }
}
"""
CLASSES: Final = ("first", "second")


@dataclass(frozen=True, slots=True)
class Chart:
    """A row for each target with one value, or two. `mark` is a value with a dashed line."""

    title: str
    note: str
    rows: Sequence[tuple[str, Sequence[float]]]
    mark: float | None = None


def scale(values: Sequence[float]) -> tuple[float, float]:
    """The ends of a logarithmic axis: powers of ten around the values above 0."""
    known = [value for value in values if value > 0]
    if not known:
        return 0.1, 1.0
    low, high = math.floor(math.log10(min(known))), math.ceil(math.log10(max(known)))
    return 10.0**low, 10.0 ** max(high, low + 1)


def width_of(value: float, low: float, high: float) -> float:
    """Pixels of a bar; a value at or below the begin of the axis has a thin one."""
    room = WIDTH - LABELS - NUMBERS
    share = math.log(value / low) / math.log(high / low) if value > low else 0.0
    return max(1.0, room * min(1.0, share))


def svg(chart: Chart) -> str:
    """The whole document."""
    values = [value for _, row in chart.rows for value in row]
    low, high = scale([*values, *([chart.mark] if chart.mark else [])])
    lines, y = [], float(TOP)
    for name, row in chart.rows:
        middle = y + BAR * len(row) / 2 + 4
        lines.append(f'<text x="{LABELS - 8}" y="{middle:.0f}" text-anchor="end">{escape(name)}</text>')
        for css, value in zip(CLASSES, row, strict=False):
            wide = width_of(value, low, high)
            lines.append(f'<rect class="{css}" x="{LABELS}" y="{y:.0f}" width="{wide:.1f}" height="{BAR - 2}" rx="2"/>')
            lines.append(f'<text x="{LABELS + wide + 6:.1f}" y="{y + BAR - 4:.0f}">{number(value)}</text>')
            y += BAR
        y += GAP
    if chart.mark:
        x = LABELS + width_of(chart.mark, low, high)
        lines.insert(0, f'<line class="line" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 6}" y2="{y:.0f}"/>')
    size = f'width="{WIDTH}" height="{y:.0f}" viewBox="0 0 {WIDTH} {y:.0f}"'
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        f"<title>{escape(chart.title)}</title>",
        f"<style>{STYLE}</style>",
        f'<text class="title" x="8" y="20">{escape(chart.title)}</text>',
        f'<text class="note" x="8" y="40">{escape(chart.note)}</text>',
    ]
    return "\n".join([*head, *lines, "</svg>"]) + "\n"


def _ratio_rows(results: Results, stage: str, load: str, to: str) -> list[tuple[str, Sequence[float]]]:
    found = [(name, results.ratio(Key(stage, name, load), to, "cpu_us")) for name in results.targets(stage)]
    return [(name, [statistics.median(values)]) for name, values in found if values]


def _latency_rows(results: Results) -> list[tuple[str, Sequence[float]]]:
    rows: list[tuple[str, Sequence[float]]] = []
    for name in results.targets("latency"):
        key = Key("latency", name, ONE)
        row = [results.median(key, figure) for figure in ("added_p50_ms", "added_p99_ms")]
        if name != DIRECT:
            rows.append((name, [value for value in row if value is not None]))
    return rows


def charts(results: Results) -> dict[str, str]:
    """SVG documents by the names of their files; one for which nothing was measured is left out."""
    found = {
        "cpu-call": Chart(
            f"CPU time of a call ÷ Envoy's ({MAIN_JSON_LOAD})",
            "less is better; logarithmic; dashed: the bar",
            _ratio_rows(results, "json", MAIN_JSON_LOAD, ENVOY),
            2.0,
        ),
        "cpu-event": Chart(
            f"CPU time of a streamed event ÷ nginx's ({MAIN_STREAMS_LOAD})",
            "less is better; logarithmic; dashed: the bar",
            _ratio_rows(results, "streams", MAIN_STREAMS_LOAD, NGINX),
            2.0,
        ),
        "latency": Chart(
            "Added latency of one call at a time, ms",
            "via the proxy less without it; p50 above, p99 below; less is better; logarithmic",
            _latency_rows(results),
        ),
    }
    return {name: svg(chart) for name, chart in found.items() if chart.rows}
