"""What a check of a deployment reads from Postgres. Nothing is changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

import asyncpg

from admin_api.storage.migrate import Migration
from admin_api.storage.table_rights import TABLES

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor

# Such rights of a role as would let it do what only the owner or a superuser is to do.
POWERS: Final[Mapping[str, str]] = {
    "rolsuper": "SUPERUSER",
    "rolcreaterole": "CREATEROLE",
    "rolcreatedb": "CREATEDB",
    "rolreplication": "REPLICATION",
    "rolbypassrls": "BYPASSRLS",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """`version` as Postgres writes it, such as 160004; `is_replica`: it takes no writes."""

    version: int
    is_replica: bool
    max_connections: int
    time: datetime


READ_SERVER: Final = """
SELECT current_setting('server_version_num')::integer AS version, pg_is_in_recovery() AS is_replica,
    current_setting('max_connections')::integer AS max_connections, clock_timestamp() AS time
"""


async def read_server(executor: "Executor") -> Server:
    """Of this connection."""
    (row,) = await executor.fetch(READ_SERVER)
    return Server(**row)


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """The role of a connection. `powers` as in CREATE ROLE; `owns` counts its tables in the schema, also those of
    roles that it is a member of."""

    name: str
    powers: Sequence[str]
    owns: int
    may_create: bool
    may_make_temporary: bool


READ_ROLE: Final = """
SELECT current_user::text AS name, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls,
    (SELECT count(*) FROM pg_class
     WHERE relkind IN ('r', 'p') AND relnamespace = to_regnamespace(current_schema()) AND pg_has_role(relowner, 'USAGE')
    ) AS owns,
    coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) AS may_create,
    has_database_privilege(current_database(), 'TEMPORARY') AS may_make_temporary
FROM pg_roles WHERE rolname = current_user
"""


async def read_role(executor: "Executor") -> Role:
    """Of this connection."""
    (row,) = await executor.fetch(READ_ROLE)
    return Role(
        name=row["name"],
        powers=[power for column, power in POWERS.items() if row[column]],
        owns=row["owns"],
        may_create=row["may_create"],
        may_make_temporary=row["may_make_temporary"],
    )


@dataclass(frozen=True, slots=True)
class Rights:
    """Tables on which a role lacks rights or has too many, as `table: RIGHT, RIGHT`."""

    missing: Sequence[str]
    forbidden: Sequence[str]


READ_RIGHTS: Final = """
SELECT name, has_any_column_privilege(name::regclass, 'SELECT') AS may_read,
    has_any_column_privilege(name::regclass, 'INSERT') AS may_add,
    has_any_column_privilege(name::regclass, 'UPDATE') AS may_change,
    has_table_privilege(name::regclass, 'DELETE') AS may_delete,
    has_table_privilege(name::regclass, 'TRUNCATE') AS may_empty
FROM unnest($1::text[]) AS name WHERE to_regclass(name) IS NOT NULL
"""
_RIGHTS: Final = {
    "may_read": "SELECT",
    "may_add": "INSERT",
    "may_change": "UPDATE",
    "may_delete": "DELETE",
    "may_empty": "TRUNCATE",
}
_NEEDED: Final = {"added": ("may_read", "may_add"), "owner": (), "sums": ("may_read",), "state": ("may_read",)}
_FORBIDDEN: Final = {
    "added": ("may_change", "may_delete", "may_empty"),
    "owner": ("may_add", "may_change", "may_delete", "may_empty"),
    "sums": ("may_empty",),
    "state": ("may_empty",),
}


async def read_rights(executor: "Executor") -> Rights:
    """Of the role of this connection; tables that are not there are the business of migrations."""
    missing, forbidden = [], []
    for row in await executor.fetch(READ_RIGHTS, list(TABLES)):
        kind = TABLES[row["name"]]
        if lacks := [_RIGHTS[right] for right in _NEEDED[kind] if not row[right]]:
            missing.append(f"{row['name']}: {', '.join(lacks)}")
        if excess := [_RIGHTS[right] for right in _FORBIDDEN[kind] if row[right]]:
            forbidden.append(f"{row['name']}: {', '.join(excess)}")
    return Rights(missing, forbidden)


READ_APPLIED: Final = """
SELECT name, sha256 FROM schema_migrations
"""


@dataclass(frozen=True, slots=True)
class MigrationState:
    """Names of migrations: `missing` by phase, `changed` since they were applied, and `unknown` to this version."""

    missing: Mapping[str, Sequence[str]]
    changed: Sequence[str]
    unknown: Sequence[str]


async def read_migration_state(executor: "Executor", known: Sequence[Migration]) -> MigrationState:
    """Compares what was applied with the files of this version. A role that may not read what was applied meets a
    database of a version before it could: what it lacks is missing."""
    try:
        applied = {row["name"]: row["sha256"] for row in await executor.fetch(READ_APPLIED)}
    except (asyncpg.UndefinedTableError, asyncpg.InsufficientPrivilegeError):
        applied = {}
    missing: dict[str, list[str]] = {"pre": [], "post": []}
    for migration in known:
        if migration.name not in applied:
            missing[migration.phase].append(migration.name)
    names = {migration.name: migration for migration in known}
    changed = [name for name, sha256 in applied.items() if name in names and not names[name].is_same_as(sha256)]
    return MigrationState(missing, sorted(changed), sorted(set(applied) - set(names)))


COUNT_PEPPERS: Final = """
SELECT version, sum(number)::bigint AS number FROM (
    SELECT pepper_version AS version, count(*) AS number FROM api_keys WHERE revoked_at IS NULL GROUP BY 1
    UNION ALL
    SELECT previous_pepper_version, count(*) FROM api_keys
    WHERE revoked_at IS NULL AND previous_pepper_version IS NOT NULL GROUP BY 1
    UNION ALL
    SELECT pepper_version, count(*) FROM personal_tokens WHERE revoked_at IS NULL GROUP BY 1
) AS counted GROUP BY version ORDER BY version
"""


async def count_peppers(executor: "Executor") -> dict[int, int]:
    """How many keys and personal access tokens that still work were made with each version of the peppers."""
    return {row["version"]: row["number"] for row in await executor.fetch(COUNT_PEPPERS)}


UNKNOWN_ZONES: Final = """
SELECT DISTINCT time_zone FROM accounts
WHERE time_zone NOT IN (SELECT name FROM pg_timezone_names) ORDER BY time_zone LIMIT 10
"""
LIST_ZONES: Final = """
SELECT DISTINCT time_zone FROM accounts ORDER BY time_zone
"""


async def unknown_zones(executor: "Executor") -> list[str]:
    """Time zones of accounts that Postgres does not know."""
    return [row["time_zone"] for row in await executor.fetch(UNKNOWN_ZONES)]


async def list_zones(executor: "Executor") -> list[str]:
    """Time zones of accounts."""
    return [row["time_zone"] for row in await executor.fetch(LIST_ZONES)]
