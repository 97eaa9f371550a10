"""`make clients`: runs every client, counts their tries, and writes the tables of docs/clients.md.

The tests leave each cell as a property in their report; this puts the cells into the tables.
"""

import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from clients.catalogue import CLIENTS, TRIED
from clients.client import Client
from clients.refusals import REFUSALS
from clients.tasks import TASKS

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = ROOT / "docs" / "clients.md"
# What each cell is known by in the tests' report.
PROPERTIES: Final = ("table", "row", "column", "cell")
WORKS: Final = "yes"
HAS_NONE: Final = "–"
APIS: Final = {
    "chat": "chat completions",
    "responses": "responses",
    "messages": "messages",
    "azure": "Azure's paths",
    "rerank": "rerank",
    "rerank_v2": "rerank, version 2",
}

Cells = Mapping[tuple[str, str], str]


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        tests = [str(ROOT / "tests" / "clients" / f"test_{name}.py") for name in ("matrix", "tries")]
        # The page itself may be out of date: that is why this runs.
        command = [sys.executable, "-m", "pytest", *tests, f"--junitxml={report}", "-o", "junit_family=xunit1"]
        done = subprocess.run(command, cwd=ROOT, env=os.environ | {"LITEMAAS_TEST_CLIENTS": "all"})
        if done.returncode != 0:
            return done.returncode
        cells = read_report(report)
    page = PAGE.read_text()
    for name, table in tables(cells["matrix"], cells["tries"]).items():
        before, _, rest = page.partition(_begin(name))
        page = before + _begin(name) + table + _end(name) + rest.partition(_end(name))[2]
    PAGE.write_text(page)
    return 0


def read_report(report: Path) -> Mapping[str, Cells]:
    """The cells of each table by row and column."""
    tables: dict[str, dict[tuple[str, str], str]] = defaultdict(dict)
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314 - written by our own pytest
        reported = {prop.get("name", ""): prop.get("value", "") for prop in case.iter("property")}
        if reported.keys() >= set(PROPERTIES):
            tables[reported["table"]][reported["row"], reported["column"]] = reported["cell"]
    return tables


def tables(matrix: Cells, tries: Cells) -> dict[str, str]:
    """All tables of the page by name, as Markdown."""
    return {
        "configuration": _table(
            ("client", "version", "API", "configured by"),
            [(client.title, client.version, APIS[client.api], client.configured) for client in CLIENTS],
        ),
        "matrix": _table(
            ("client", "API", *TASKS.values()),
            [
                (client.title, APIS[client.api], *(_matrix_cell(matrix, client, task) for task in TASKS))
                for client in CLIENTS
            ],
        ),
        "tries": _table(
            ("refused because of", *(client.column for client in TRIED)),
            [(refusal.row, *(tries[refusal.row, client.name] for client in TRIED)) for refusal in REFUSALS],
        ),
    }


def expected_matrix() -> Cells:
    """What `make clients` finds."""
    refusals = {"refused_by_limit": 429, "unknown_model": 404}
    return {
        (client.name, task): client.refusal_cell(refusals[task]) if task in refusals else WORKS
        for client in CLIENTS
        for task in TASKS
        if client.does(task)
    }


def expected_tries() -> Cells:
    return {
        (refusal.row, client.name): cell(refusal.tries, None if refusal.is_answered else client.errors[refusal.status])
        for client in TRIED
        for refusal in REFUSALS
    }


def cell(tries: int, error: str | None) -> str:
    """What a client makes of a refusal: requests that arrived, and the exception if no answer came."""
    return f"{tries}, then `{error}`" if error else f"{tries}, then the answer"


def table_on_the_page(name: str) -> str:
    return PAGE.read_text().partition(_begin(name))[2].partition(_end(name))[0]


def _matrix_cell(cells: Cells, client: Client, task: str) -> str:
    return cells[client.name, task] if client.does(task) else HAS_NONE


def _begin(name: str) -> str:
    return f"<!-- {name} -->\n"


def _end(name: str) -> str:
    return f"<!-- /{name} -->\n"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "".join(_line(texts) for texts in (columns, ["---"] * len(columns), *rows))


def _line(texts: Iterable[str]) -> str:
    return f"| {' | '.join(texts)} |\n"


if __name__ == "__main__":
    sys.exit(main())
