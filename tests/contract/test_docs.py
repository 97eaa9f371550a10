"""What the pages say is what the code does."""

import re
from pathlib import Path

import pytest

from tests.contract.tables import ROOT, TABLES, with_table


@pytest.mark.parametrize(("path", "name", "table"), TABLES, ids=[name for _, name, _ in TABLES])
def test_tables_in_the_pages_are_those_of_the_code(path: Path, name: str, table: object) -> None:
    text = path.read_text()

    assert callable(table)
    assert with_table(text, name, table()) == text, "run python -m tests.contract.tables"


@pytest.mark.parametrize(
    "page", ["README.md", "CHANGELOG.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]
)
def test_links_to_files_lead_somewhere(page: str) -> None:
    path = ROOT / page

    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
        assert (path.parent / target).exists(), f"{page} links to {target}"


def test_every_make_target_the_readme_names_is_there() -> None:
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    assert set(re.findall(r"make ([a-z][a-z0-9-]*)", (ROOT / "README.md").read_text())) <= targets
