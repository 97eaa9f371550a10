"""A level that is added to gateway/domain/limits.py is named wherever levels have to be named."""

from dataclasses import fields
from typing import get_args

import asyncpg
from conftest import Database

from admin_api.operations.notifications import email_phrases
from admin_api.schemas.limits import LimitView
from admin_api.storage import limit_pages
from admin_api.storage import limits as limit_rows
from admin_api.storage.users import LOCALES
from gateway.domain.limits import LEVELS, LIMIT_LEVELS, Level, LevelFacts, ScopeIds, parse_scope
from tests.contract.places import Places, read_checks, read_columns, words_of

SHARES_COUNTER = "SELECT prosrc FROM pg_proc WHERE proname = 'shares_counter'"
INDEXES = "SELECT string_agg(indexdef, ' ') FROM pg_indexes WHERE tablename = 'limits'"


async def test_every_level_is_named_in_all_its_places(database: Database) -> None:
    places = Places("limit levels")
    places.need_same(get_args(Level), LEVELS, "gateway/domain/limits.py, Level")
    for level, facts in LIMIT_LEVELS.items():
        check_storage(places, level, facts)
        places.need_words("admin_api/operations/limits/targets.py", level, rf'"{level}"', rf"\n\| {level} \|")
        places.need_words("docs/limits.md", level, rf"`{level}`")
        for name in facts.ids:
            # The model is shown by its name.
            shown = "model" if name == "model_id" else name
            places.need(shown in LimitView.model_fields, f"admin_api/schemas/limits.py, LimitView.{shown}", level)
    for locale in LOCALES:
        where = f"admin_api/operations/notifications/email_phrases.py, LEVELS[{locale!r}]"
        places.need_same(email_phrases.LEVELS.get(locale, ()), LEVELS, where)
    await check_schema(places, database)
    places.report()


def check_storage(places: Places, level: Level, facts: LevelFacts) -> None:
    known = ScopeIds.__dataclass_fields__
    named = [rf"\bl\.{name}\b" for name in facts.ids] or [rf"'{level}'"]
    passed = [rf"ScopeIds\([^)]*\b{name}=" for name in facts.ids]
    for name in facts.ids:
        places.need(name in known, f"gateway/domain/limits.py, ScopeIds.{name}", level)
        for cls in (limit_rows.Target, limit_rows.LimitRow):
            is_there = name in {field.name for field in fields(cls)}
            places.need(is_there, f"admin_api/storage/limits.py, {cls.__name__}.{name}", level)
        places.need(name in limit_rows.UPSERT_LIMIT, "admin_api/storage/limits.py, UPSERT_LIMIT", level)
        places.need(name in limit_pages.LIST_LIMITS, "admin_api/storage/limit_pages.py, LIST_LIMITS", level)
    places.need_words("gateway/storage/key_records.py", level, *named, *passed)
    places.need_words(
        "gateway/storage/ledger/sums.py", level, *passed, rf"\nSELECT '{level}'", rf'named\("{level}"|\["{level}"\]'
    )
    numbered = ScopeIds(**{name: n for n, name in enumerate(facts.ids, start=1)})
    is_parsed = parse_scope(numbered.scope(level)) == (level, numbered)
    places.need(is_parsed, "gateway/domain/limits.py, parse_scope", level)
    places.need_words("admin_api/storage/alerts.py", level, *(named if facts.ids else ()), *passed)


async def check_schema(places: Places, database: Database) -> None:
    connection = await asyncpg.connect(database.owner_url)
    limits, alerts = [await read_checks(connection, table) for table in ("limits", "alerts")]
    columns, indexes = await read_columns(connection, "limits"), await connection.fetchval(INDEXES)
    shares_counter = await connection.fetchval(SHARES_COUNTER)
    await connection.close()
    places.need_same(words_of(limits, "level"), LEVELS, "a migration: CHECK of limits.level")
    places.need_same(words_of(alerts, "level"), LEVELS, "a migration: CHECK of alerts.level")
    for level, facts in LIMIT_LEVELS.items():
        for name in facts.ids:
            places.need(name in columns, f"a migration: limits.{name}", level)
            places.need(f"one.{name}, 0)" in shares_counter, f"a migration: {name} in function shares_counter", level)
            places.need(f"COALESCE({name}" in indexes, f"a migration: {name} in limits_one_of_a_kind", level)
            is_checked = any(f"'{level}'" in check and f"({name} IS NOT NULL)" in check for check in limits)
            places.need(is_checked, f"a migration: CHECK of limits.level with {name}", level)


def test_no_two_levels_share_a_scope() -> None:
    ids = ScopeIds(**dict.fromkeys(ScopeIds.__dataclass_fields__, 1))

    scopes = ids.scopes()

    assert set(scopes) == set(LEVELS)
    assert len(set(scopes.values())) == len(LEVELS)
    assert not any(" " in scope or "|" in scope for scope in scopes.values())


def test_what_is_no_scope_is_of_no_level() -> None:
    assert [parse_scope(scope)[0] for scope in ("", "x1", "k", "k1s2", "k1m2 ", "t1", "k01")] == [None] * 7
