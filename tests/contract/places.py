"""Which places a fact is missing from, named so that the person who adds one knows where to go next."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import asyncpg

ROOT: Final = Path(__file__).parents[2]
READ_CHECKS: Final = """
SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'c' AND conrelid = $1::regclass
"""
READ_COLUMNS: Final = """
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped
"""


class Places:
    """Collects what is missing; `report` fails with all of it at once."""

    def __init__(self, fact: str) -> None:
        self._fact = fact
        self._missing: list[str] = []

    def need(self, is_there: bool, place: str, member: str) -> None:
        """`place` has to name `member`."""
        if not is_there:
            self._missing.append(f"{member}: {place}")

    def need_words(self, path: str, member: str, *patterns: str) -> None:
        """The file has to match each of the regular expressions."""
        text = (ROOT / path).read_text()
        for pattern in patterns:
            self.need(re.search(pattern, text) is not None, f"{path} (/{pattern}/)", member)

    def need_same(self, found: Iterable[str], wanted: Iterable[str], place: str) -> None:
        """`place` has to name all that are wanted and no others."""
        known, expected = set(found), set(wanted)
        for member in sorted(expected - known):
            self.need(False, place, member)
        for member in sorted(known - expected):
            self.need(False, f"{place} names it, and the table does not", member)

    def report(self) -> None:
        """Fails if anything is missing."""
        assert not self._missing, "\n".join([f"{self._fact} missing from:", *self._missing])


async def read_checks(connection: "asyncpg.Connection[asyncpg.Record]", table: str) -> list[str]:
    """The CHECKs of a table, as Postgres writes them."""
    return [row[0] for row in await connection.fetch(READ_CHECKS, table)]


async def read_columns(connection: "asyncpg.Connection[asyncpg.Record]", relation: str) -> dict[str, str]:
    """Name and type of each column of a table or view."""
    return {row[0]: row[1] for row in await connection.fetch(READ_COLUMNS, relation)}


def words_of(checks: Iterable[str], column: str) -> set[str]:
    """The words that a CHECK of this column alone allows."""
    lists = [check for check in checks if check.startswith(f"CHECK (({column} = ANY (ARRAY[")]
    return {word for check in lists for word in re.findall(r"'([^']*)'::text", check)}
