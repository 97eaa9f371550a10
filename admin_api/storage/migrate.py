"""Applies migrations/NNNN_{pre|post}_verb_what.sql, each once, in order, one transaction a file.

Any number of runners may start at once: an advisory lock lets one work, the others find nothing left to do. A file
whose text changed after it was applied stops the run: migrations are never edited. A first line `-- no transaction`
is for CREATE INDEX CONCURRENTLY.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.storage.postgres import Connection

FILE_NAME: Final = re.compile(r"(\d{4})_(pre|post)_[a-z0-9]+(_[a-z0-9]+)+\.sql")
# Waiting for a lock blocks all who come after: better to fail and be run again (warehouse's figures).
LOCK_TIMEOUT: Final = "4s"
STATEMENT_TIMEOUT: Final = "60s"
ADVISORY_LOCK: Final = 0x6C6D_6D69_6772  # "lmmigr"

# Of texts that differ from the file's in a comment alone, as commits between releases applied them.
EQUIVALENT: Final = {
    "0037_pre_seal_days_of_the_ledger.sql": "09c02f3f710b1dfbcd6e6a9f03217d8e87e423953c8a2a88765ee35a38450497",
    "0049_pre_keep_refused_calls_and_reasons.sql": "f27d37804e0c640ed1ec32a8f0b4503ca95a2e82adcf174bf60d944393e3d035",
    "0054_pre_chain_many_audit_rows.sql": "508e3601516b78ef9741303ba46370fd1e59e9ccde476368161dc7a7195ffb61",
}

CREATE_TABLE: Final = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    name text PRIMARY KEY, sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())
"""


class MigrationError(Exception):
    """A set of migrations that cannot be applied; the message says which file and what to do."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file."""

    name: str
    text: str

    @property
    def sha256(self) -> str:
        """Of the text, as it was when first applied."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def is_same_as(self, applied: str) -> bool:
        """Whether what was applied, by its hash, has made what this would make."""
        return applied in (self.sha256, EQUIVALENT.get(self.name))

    @property
    def phase(self) -> str:
        """`pre`: suits the code now running; `post`: the code just deployed."""
        return self.name[5:].split("_", 1)[0]


def migrations_folder() -> Path:
    """Beside the packages: in a wheel under a name of its own, in the checkout as it is."""
    top = Path(__file__).parents[2]
    packaged = top / "litemaas_migrations"
    return packaged if packaged.is_dir() else top / "migrations"


def read_migrations(folder: Path) -> list[Migration]:
    """All files in order; raises MigrationError for a wrong name or a gap in the numbers."""
    files = sorted(folder.glob("*.sql"))
    for number, path in enumerate(files, start=1):
        match = FILE_NAME.fullmatch(path.name)
        if not match:
            raise MigrationError(f"{path.name}: name it NNNN_pre_verb_what.sql or NNNN_post_verb_what.sql.")
        if int(match[1]) != number:
            raise MigrationError(f"{path.name}: number {number:04d} is expected here; numbers have no gaps.")
    return [Migration(path.name, path.read_text()) for path in files]


async def migrate(
    connection: "Connection",
    *,
    app_role: str,
    folder: Path | None = None,
    phase: str | None = None,
) -> list[str]:
    """Applies what is missing and returns the names applied. `phase` limits it to `pre` or `post`."""
    migrations = read_migrations(folder or migrations_folder())
    await connection.execute("SELECT pg_advisory_lock($1)", ADVISORY_LOCK)
    try:
        await connection.execute("SELECT set_config('litemaas.app_role', $1, false)", app_role)
        await connection.execute(CREATE_TABLE)
        rows = await connection.fetch("SELECT name, sha256 FROM schema_migrations")
        applied = {row["name"]: row["sha256"] for row in rows}
        for migration in migrations:
            if not migration.is_same_as(applied.get(migration.name, migration.sha256)):
                raise MigrationError(
                    f"{migration.name} was changed after it was applied; write a new migration instead."
                )
        missing = [m for m in migrations if m.name not in applied]
        if phase == "post" and (before := [m.name for m in missing if m.phase == "pre"]):
            raise MigrationError(
                f"{before[0]} comes before those of the phase post: run 'litemaas migrate --phase pre', then replace "
                "all programs."
            )
        todo = [m for m in missing if phase in (None, m.phase)]
        for migration in todo:
            await _apply(connection, migration)
        return [m.name for m in todo]
    finally:
        await connection.execute("SELECT pg_advisory_unlock($1)", ADVISORY_LOCK)


async def _apply(connection: "Connection", migration: Migration) -> None:
    record = "INSERT INTO schema_migrations (name, sha256) VALUES ($1, $2)"
    if migration.text.startswith("-- no transaction"):
        await connection.execute(migration.text)
        await connection.execute(record, migration.name, migration.sha256)
        return
    async with connection.transaction():
        await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        await connection.execute(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'")
        await connection.execute(migration.text)
        await connection.execute(record, migration.name, migration.sha256)
