"""Puts the results into docs/performance.md, the charts into docs/performance/, the figures into its bench.json."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from loadtests.bench import charts, tables
from loadtests.bench.results import Results

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "performance.md"
FOLDER: Final = PAGE.with_suffix("")
FIGURES: Final = "bench.json"
MARK: Final = "bench"
CAPTIONS: Final = {
    "cpu-call": "CPU time of a call by that of Envoy",
    "cpu-event": "CPU time of a streamed event by that of nginx",
    "latency": "Added latency of one call at a time",
}


def about(results: Results) -> str:
    """Where and when it was measured, with what; what is missing and what failed."""
    found: Mapping[str, Any] = results.about
    plan, versions = found["plan"], found["versions"]
    loads = (", ".join(f"{one:.1f}" for one in found.get(f"load_average_{when}", ())) for when in ("before", "after"))
    before, after = loads
    lines = [
        f"Measured on {found['date']}: {found['processor']}, {found['cores']} cores, {found['system']}; load average "
        f"{before} before and {after or 'unknown'} after; {plan['runs']} "
        f"{'run' if plan['runs'] == 1 else 'runs'}, {plan['seconds']:g} s of each load.",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in versions.items()) + ".",
    ]
    lines += [f"Not measured: {name}. {why}" for name, why in results.missing.items()]
    lines += [f"Failed: {problem}" for problem in dict.fromkeys(results.failed)]
    return "\n\n".join(lines)


def body(results: Results, drawn: Mapping[str, str]) -> str:
    """The generated part of the page."""
    found = [about(results)]
    found += [f"![{CAPTIONS[name]}]({FOLDER.name}/{name}.svg)" for name in drawn]
    found += [f"### {title}\n\n{table}" for title, table in tables.sections(results)]
    return "\n\n".join(found)


def write(results: Results) -> None:
    """Replaces what an earlier run has written."""
    from tests.contract.tables import with_table

    drawn = charts.charts(results)
    FOLDER.mkdir(exist_ok=True)
    for name, text in drawn.items():
        (FOLDER / f"{name}.svg").write_text(text)
    (FOLDER / FIGURES).write_text(results.to_json())
    PAGE.write_text(with_table(PAGE.read_text(), MARK, body(results, drawn)))
