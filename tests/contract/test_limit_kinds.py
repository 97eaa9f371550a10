"""A kind of limit that is added to gateway/domain/limits.py is named wherever kinds have to be named."""

from dataclasses import fields
from typing import Final, get_args

import asyncpg
import msgspec
from conftest import Database

from admin_api.operations.notifications import email_phrases
from admin_api.routes.limits import LimitBody
from admin_api.storage.users import LOCALES
from gateway.domain.limits import (
    BUCKET_KINDS,
    KINDS,
    LIMIT_KINDS,
    WINDOWED_KINDS,
    Counted,
    CounterType,
    Kind,
    KindFacts,
)
from gateway.domain.usage_rows import LEDGER_COLUMNS
from gateway.storage.counters.layout import Lease
from gateway.storage.counters.scripts import Estimate, Settlement
from gateway.storage.ledger.rollups import SUMS
from tests.contract.places import Places, read_checks, words_of

LUA: Final = "gateway/storage/counters/lua"
# What is counted -> its field of an Estimate, a Lease (None: each call is one) and a Settlement, if named otherwise.
UNITS: Final[dict[str, tuple[str | None, str | None, str]]] = {
    "requests": (None, None, "requests_window"),
    "tokens": ("tokens", "prompt_tokens", "tokens"),
    "nano_usd": ("cost", "nano_usd", "nano_usd"),
}
# And how leases.lua calls its place in a lease.
LEASED: Final = {"tokens": "PROMPT", "nano_usd": "COST"}


async def test_every_kind_is_named_in_all_its_places(database: Database) -> None:
    places = Places("limit kinds")
    places.need_same(get_args(Kind), KINDS, "gateway/domain/limits.py, Kind")
    places.need_same(get_args(CounterType), {facts.counter for facts in LIMIT_KINDS.values()}, "CounterType")
    places.need_same(get_args(Counted), {facts.counts for facts in LIMIT_KINDS.values()}, "Counted")
    for kind, facts in LIMIT_KINDS.items():
        check_counted(places, kind, facts)
        check_scripts(places, kind, facts)
        places.need_words("docs/limits.md", kind, rf"\| `{kind}` \|")
    for field, named in (("window", WINDOWED_KINDS), ("burst", BUCKET_KINDS)):
        description = LimitBody.model_fields[field].description or ""
        for kind in named:
            places.need(kind in description, f"admin_api/routes/limits.py, description of {field}", kind)
    for locale in LOCALES:
        where = f"admin_api/operations/notifications/email_phrases.py, KINDS[{locale!r}]"
        places.need_same(email_phrases.KINDS.get(locale, ()), WINDOWED_KINDS, where)
    await check_schema(places, database)
    places.report()


def check_counted(places: Places, kind: Kind, facts: KindFacts) -> None:
    in_estimate, in_lease, in_settlement = UNITS.get(facts.counts, (facts.counts,) * 3)
    for module, cls, name in (
        ("scripts.py", Estimate, in_estimate),
        ("layout.py", Lease, in_lease),
        ("scripts.py", Settlement, in_settlement),
    ):
        named = msgspec.structs.fields(cls) if issubclass(cls, msgspec.Struct) else fields(cls)
        is_there = name is None or name in {field.name for field in named}
        places.need(is_there, f"gateway/storage/counters/{module}, {cls.__name__}.{name}", kind)
    if facts.counts != "requests":
        places.need_words("tests/limits/model.py", kind, rf'"{kind}"')
    if facts.counter == "window":
        column = facts.ledger_column
        places.need(column in LEDGER_COLUMNS, f"gateway/domain/usage_rows.py, LEDGER_COLUMNS[{column!r}]", kind)
        places.need(column in SUMS, f"gateway/storage/ledger/rollups.py, SUMS[{column!r}]", kind)


def check_scripts(places: Places, kind: Kind, facts: KindFacts) -> None:
    """The code in quotes, as a name in a table, or in the layout that counters.lua describes."""
    code, quoted = facts.code, rf"'{facts.code}'"
    places.need_words(f"{LUA}/counters.lua", kind, rf"\b{code}\|scope")
    places.need_words(f"{LUA}/settle.lua", kind, rf"[{{ ]{code} = ")
    places.need_words(f"{LUA}/reap.lua", kind, rf"(?:[{{ ]|is\.){code} = ")
    if facts.counter != "open":
        places.need_words(f"{LUA}/sweep.lua", kind, rf"'{code}\|'")
    if facts.counter != "window":
        places.need_words(f"{LUA}/reserve.lua", kind, quoted)
        places.need_words(f"{LUA}/leases.lua", kind, quoted)
    if facts.counter == "open":
        places.need_words(f"{LUA}/seed.lua", kind, quoted)
    if facts.counts != "requests":
        places.need_words(f"{LUA}/reserve.lua", kind, quoted)
        places.need_words(f"{LUA}/leases.lua", kind, rf"\b{LEASED.get(facts.counts, facts.counts.upper())}\b")
        places.need_words(f"{LUA}/charge.lua", kind, rf"(?:[{{ ]|is\.){code} = ")
        if facts.counter == "window":
            places.need_words(f"{LUA}/seed.lua", kind, quoted)


async def check_schema(places: Places, database: Database) -> None:
    connection = await asyncpg.connect(database.owner_url)
    limits, alerts = [await read_checks(connection, table) for table in ("limits", "alerts")]
    await connection.close()
    places.need_same(words_of(limits, "kind"), KINDS, "a migration: CHECK of limits.kind")
    places.need_same(words_of(alerts, "kind"), WINDOWED_KINDS, "a migration: CHECK of alerts.kind")
    for column, kinds in (("window_kind IS NOT NULL", WINDOWED_KINDS), ("burst", BUCKET_KINDS)):
        check = " ".join(check for check in limits if "kind = ANY" in check and column in check)
        for kind in kinds:
            places.need(f"'{kind}'" in check, f"a migration: CHECK of limits.kind with {column}", kind)


def test_codes_and_names_of_fields_differ() -> None:
    assert len({facts.code for facts in LIMIT_KINDS.values()}) == len(LIMIT_KINDS)
    # `l|…` is a lease, and `due` stands beside them; 's' and 'd' are words of the scripts' own.
    assert not {facts.code for facts in LIMIT_KINDS.values()} & {"l", "d", "s"}
