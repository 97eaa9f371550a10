"""A database's schema as a list of facts, and the changes that a program of the version before would not survive."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import asyncpg


class Fact(NamedTuple):
    """`name` is unique within its kind."""

    kind: str
    name: str


Facts = Mapping[Fact, dict[str, Any]]

# Partitions have the names of months, so only their parents are read.
READ: Final = """
WITH tables AS (
    SELECT oid, relname, relacl FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition)
SELECT 'table' AS kind, relname AS name, jsonb_build_object('rights', coalesce(relacl::text[], '{}')) AS about
    FROM tables
UNION ALL SELECT 'column', relname || '.' || attname, jsonb_build_object(
    'table', relname, 'type', format_type(atttypid, atttypmod), 'required', attnotnull,
    'filled', atthasdef OR attidentity <> '' OR attgenerated <> '', 'rights', coalesce(attacl::text[], '{}'),
    'default', pg_get_expr(d.adbin, d.adrelid))
    FROM tables JOIN pg_attribute ON attrelid = tables.oid AND attnum > 0 AND NOT attisdropped
    LEFT JOIN pg_attrdef AS d ON d.adrelid = attrelid AND d.adnum = attnum
UNION ALL SELECT 'constraint', relname || '.' || conname, jsonb_build_object('table', relname,
    'means', pg_get_constraintdef(c.oid), 'columns', (SELECT jsonb_agg(relname || '.' || attname) FROM pg_attribute
        WHERE attrelid = conrelid AND attnum = ANY (conkey)))
    FROM tables JOIN pg_constraint AS c ON conrelid = tables.oid
UNION ALL SELECT 'index', relname || '.' || indexrelid::regclass, jsonb_build_object('table', relname,
    'means', pg_get_indexdef(indexrelid), 'unique', indisunique,
    'constraint', EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid))
    FROM tables JOIN pg_index ON indrelid = tables.oid
UNION ALL SELECT 'trigger', relname || '.' || tgname, jsonb_build_object('table', relname,
    'means', pg_get_triggerdef(t.oid))
    FROM tables JOIN pg_trigger AS t ON tgrelid = tables.oid AND NOT tgisinternal
UNION ALL SELECT 'function', p.oid::regprocedure::text, jsonb_build_object('means', pg_get_functiondef(p.oid),
    'result', pg_get_function_result(p.oid), 'rights', coalesce(proacl::text[], '{}'))
    FROM pg_proc AS p WHERE pronamespace = 'public'::regnamespace AND prokind = 'f'
UNION ALL SELECT 'view', relname, jsonb_build_object('means', pg_get_viewdef(oid),
    'rights', coalesce(relacl::text[], '{}'), 'columns', (
        SELECT jsonb_agg(attname || ' ' || format_type(atttypid, atttypmod)) FROM pg_attribute
        WHERE attrelid = pg_class.oid AND attnum > 0))
    FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('v', 'm')
"""


async def read_facts(connection: asyncpg.Connection) -> Facts:
    """All of the schema."""
    return {Fact(row["kind"], row["name"]): json.loads(row["about"]) for row in await connection.fetch(READ)}


def breaking(before: Facts, after: Facts) -> Iterator[str]:
    """What statements of a program that knows `before` may fail at, or be refused for, in `after`."""
    yield from (
        f"no {fact.kind} {fact.name}"
        for fact in before
        if fact not in after and fact.kind not in ("index", "constraint")
    )
    for fact, now in after.items():
        was = before.get(fact)
        if was is not None:
            yield from _changed(fact, was, now)
        elif Fact("table", now.get("table", "")) in before:
            yield from _added(fact, now, before)


def _changed(fact: Fact, was: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """Of what both have."""
    now_may = _rights(now)
    for role, rights in _rights(was).items():
        if lost := rights - now_may.get(role, set()):
            yield f"{fact.kind} {fact.name}: {role} had the rights {''.join(sorted(lost))}"
    if fact.kind == "column" and was["type"] != now["type"]:
        yield f"column {fact.name} was {was['type']}"
    if fact.kind == "column" and is_demanded(now) and not is_demanded(was):
        yield f"column {fact.name} must be given"
    if fact.kind == "function" and was["result"] != now["result"]:
        yield f"function {fact.name} returned {was['result']}"
    if fact.kind == "view" and not set(was["columns"]) <= set(now["columns"]):
        yield f"view {fact.name} had other columns"
    if (fact.kind == "constraint" or now.get("unique")) and was["means"] != now["means"]:
        yield f"{fact.kind} {fact.name} was another"


def _rights(about: dict[str, Any]) -> dict[str, set[str]]:
    """Of each role, as Postgres writes them: `app=arw/owner` is INSERT, SELECT and UPDATE."""
    given = (right.partition("/")[0].partition("=") for right in about.get("rights", ()))
    return {role: set(rights) for role, _, rights in given}


def _added(fact: Fact, now: dict[str, Any], before: Facts) -> Iterator[str]:
    """To a table that was there; what concerns only columns that were not is not met by programs of before."""
    if fact.kind == "column" and is_demanded(now):
        yield f"column {fact.name} must be given"
    if fact.kind == "constraint" and any(Fact("column", name) in before for name in now["columns"] or ()):
        yield f"constraint {fact.name} is new"
    if fact.kind == "index" and now["unique"] and not now["constraint"]:
        yield f"unique index {fact.name} is new"


def is_demanded(column: dict[str, Any]) -> bool:
    """An INSERT that does not name it fails."""
    return bool(column["required"] and not column["filled"])
