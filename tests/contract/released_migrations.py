"""The migrations that a release had, with their hashes: `released_migrations.txt`, a line for each.

`make tables` adds those of a release, when the changelog's first section is that version, and never changes a line.
"""

import re
from typing import Final, NamedTuple

from admin_api.storage.migrate import migrations_folder, read_migrations
from tests.contract.places import ROOT

FILE: Final = ROOT / "tests" / "contract" / "released_migrations.txt"
SECTION: Final = re.compile(r"^## (?:(\d+\.\d+\.\d+) \(|Unreleased)", re.MULTILINE)


class Released(NamedTuple):
    """`version` is the first that had it."""

    version: str
    sha256: str
    name: str


def released() -> list[Released]:
    """In the order of the files."""
    return [Released(*line.split()) for line in FILE.read_text().splitlines()]


def versions() -> list[str]:
    """Of the changelog, newest first; without what is not released."""
    return [version for version in SECTION.findall((ROOT / "CHANGELOG.md").read_text()) if version]


def released_text() -> str:
    """The file as it should be."""
    lines = released()
    first = SECTION.search((ROOT / "CHANGELOG.md").read_text())
    assert first, "CHANGELOG.md has no section"
    if version := first[1]:
        known = {one.name for one in lines}
        files = read_migrations(migrations_folder())
        lines += [Released(version, one.sha256, one.name) for one in files if one.name not in known]
    return "".join(f"{' '.join(line)}\n" for line in lines)
