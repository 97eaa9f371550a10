"""What the pages say is what the code does, and what they name exists."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.domain.errors import CODES
from tests.contract.tables import ROOT, TABLES, admin_metrics_table, metrics_table, settings_table, with_table

# The changelog is history: it may name what a later version renamed.
PAGES = [
    "README.md",
    "loadtests/README.md",
    "tests/README.md",
    *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
]
FOLDERS = "gateway|admin_api|tests|loadtests|deploy|migrations|docs"
A_PATH = re.compile(rf"(?<![\w./])(?:{FOLDERS})/[\w./*-]*[\w*/]")
# `reserve.lua`, `web/errors.py`: the end of a path.
A_MODULE = re.compile(r"(?<![\w/.*])[\w/]+\.(?:py|lua)\b")
# `path.py::name`, a module, or a function; a name may be cut off by an ellipsis.
A_TEST = re.compile(r"(?:(?P<path>tests/[\w/]+\.py)::)?(?<!/)\b(?P<name>test_\w+)(?P<end>\.py|…|_…)?")
# Written by deploy/make_env.sh, and by operators.
MADE_LATER = {"deploy/.env", "deploy/admin.env", "deploy/gateway.env"}
# Of the demo and of the tests, which read the environment themselves.
OTHER_PREFIXES = ("LITEMAAS_DEMO_", "LITEMAAS_TEST_")


@pytest.mark.parametrize(("path", "name", "table"), TABLES, ids=[name for _, name, _ in TABLES])
def test_tables_in_the_pages_are_those_of_the_code(path: Path, name: str, table: object) -> None:
    text = path.read_text()

    assert callable(table)
    assert with_table(text, name, table()) == text, "run python -m tests.contract.tables"


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md"])
def test_links_to_files_and_headings_resolve(page: str) -> None:
    path = ROOT / page

    for file, heading in re.findall(r"\]\((?!https?:)([^)#:]*)(?:#([^)]*))?\)", path.read_text()):
        target = path.parent / file if file else path
        assert target.exists(), f"{page} links to {file}"
        assert not heading or heading in headings_of(target), f"{page} links to {file}#{heading}"


def headings_of(page: Path) -> set[str]:
    """The anchors GitHub gives its headings."""
    found = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", PAGES)
def test_files_named_in_the_pages_exist(page: str) -> None:
    text = (ROOT / page).read_text()

    named = set(A_PATH.findall(text)) - MADE_LATER
    assert [name for name in sorted(named) if not any(ROOT.glob(name.rstrip("/")))] == []
    files = [f"/{path.relative_to(ROOT)}" for folder in FOLDERS.split("|") for path in (ROOT / folder).rglob("*.*")]
    modules = set(A_MODULE.findall(text))
    assert [name for name in sorted(modules) if not any(file.endswith(f"/{name}") for file in files)] == []


def names_in(path: Path) -> set[str]:
    return {path.stem, *re.findall(r"def (test_\w+)", path.read_text())}


@pytest.fixture(scope="module")
def all_tests() -> set[str]:
    return {name for path in (ROOT / "tests").rglob("*.py") for name in names_in(path)}


@pytest.mark.parametrize("page", PAGES)
def test_tests_named_in_the_pages_exist(page: str, all_tests: set[str]) -> None:
    missing = []
    for match in A_TEST.finditer((ROOT / page).read_text()):
        path, name, end = match["path"], match["name"], match["end"]
        known = names_in(ROOT / path) if path else all_tests
        found = any(one.startswith(name) for one in known) if end in ("…", "_…") else name in known
        if not found:
            missing.append(match[0])

    assert missing == []


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_every_make_target_is_described_for_developers() -> None:
    text = (ROOT / "docs/development.md").read_text()

    assert [
        name for name in sorted(make_targets()) if f"`make {name}" not in text and f"\nmake {name} " not in text
    ] == []


@pytest.mark.parametrize("page", PAGES)
def test_make_targets_named_in_the_pages_exist(page: str) -> None:
    targets = make_targets()

    text = (ROOT / page).read_text()
    named = {
        name
        for block in re.findall(r"```.*?```", text, re.DOTALL)
        for name in re.findall(r"^make ([\w-]+)", block, re.M)
    }
    assert named | set(re.findall(r"`make ([a-z][\w-]*)", text)) <= targets


@pytest.mark.parametrize("page", PAGES)
def test_settings_metrics_and_codes_named_in_the_pages_exist(page: str) -> None:
    text = (ROOT / page).read_text()

    assert [name for name in settings_in(text) if f"`{name}" not in settings_table()] == []
    metrics = metrics_table() + admin_metrics_table()
    assert [name for name in re.findall(r"`(litemaas_\w+)", text) if f"`{name}" not in metrics] == []
    assert set(re.findall(r"[1-5]\d\d `([a-z_]+)`", text)) <= set(CODES)


def settings_in(text: str) -> Iterator[str]:
    """Names of settings; `LITEMAAS_OIDC_*` is a part of several."""
    for name in re.findall(r"\bLITEMAAS_[A-Z_]+", text):
        if not name.startswith(OTHER_PREFIXES):
            yield name


# A table of facts -> the section of docs/architecture.md that says where a new member goes.
FACTS = [
    ("gateway/domain/limits.py", "LIMIT_KINDS", 1),
    ("gateway/domain/limits.py", "LIMIT_LEVELS", 3),
    ("gateway/domain/prices.py", "PRICE_UNITS", 2),
    ("gateway/domain/usage_rows.py", "LEDGER_COLUMNS", 9),
    ("admin_api/storage/deliveries.py", "RECEIVERS", 7),
]


@pytest.mark.parametrize(("module", "table", "number"), FACTS, ids=[table for _, table, _ in FACTS])
def test_places_named_beside_a_table_are_named_in_the_architecture_page(module: str, table: str, number: int) -> None:
    comment = re.search(rf"((?:^# .*\n)+){table}: Final", (ROOT / module).read_text(), re.MULTILINE)
    section = re.search(
        rf"^### {number}\. .*?(?=^##)", (ROOT / "docs/architecture.md").read_text(), re.MULTILINE | re.DOTALL
    )
    assert comment is not None
    assert section is not None

    named = {module, *re.findall(r"[\w/]+\.(?:py|md)", comment[1])}
    assert len(named) > 3
    assert [name for name in sorted(named) if name not in section[0]] == []
