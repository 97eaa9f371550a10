"""`python -m tests.sdk.table`: counts the tries anew and writes them into docs/sdks.md.

The tests leave each cell as a property in their report; this puts the cells into a table.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = ROOT / "docs" / "sdks.md"
BEGIN: Final = "<!-- tries -->\n"
END: Final = "<!-- /tries -->\n"
# What each cell is known by in the tests' report.
PROPERTIES: Final = ("row", "column", "cell")


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        # The page itself may be out of date: that is why this runs.
        tests = [str(ROOT / "tests" / "sdk" / "test_tries.py"), f"--junitxml={report}", "-o", "junit_family=xunit1"]
        done = subprocess.run([sys.executable, "-m", "pytest", *tests], cwd=ROOT)
        if done.returncode != 0:
            return done.returncode
        cells = read_report(report)
    before, _, rest = PAGE.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(before + BEGIN + table(cells) + END + after)
    return 0


def read_report(report: Path) -> dict[tuple[str, str], str]:
    """The cells by row and column, in the order in which they were counted."""
    cells = {}
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314 - written by our own pytest
        reported = {prop.get("name", ""): prop.get("value", "") for prop in case.iter("property")}
        if reported.keys() >= set(PROPERTIES):
            cells[reported["row"], reported["column"]] = reported["cell"]
    return cells


def cell(tries: int, error: str | None) -> str:
    """What one SDK makes of one refusal: requests that arrived, and the exception if no answer came."""
    return f"{tries}, then `{error}`" if error else f"{tries}, then the answer"


def table(cells: Mapping[tuple[str, str], str]) -> str:
    """As Markdown."""
    rows, columns = (list(dict.fromkeys(names)) for names in zip(*cells, strict=True))
    lines = [_line(["refused because of", *columns]), _line(["---"] * (len(columns) + 1))]
    lines += [_line([row, *(cells[row, column] for column in columns)]) for row in rows]
    return "".join(lines)


def table_on_the_page() -> str:
    return PAGE.read_text().partition(BEGIN)[2].partition(END)[0]


def _line(texts: Iterable[str]) -> str:
    return f"| {' | '.join(texts)} |\n"


if __name__ == "__main__":
    sys.exit(main())
