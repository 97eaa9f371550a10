"""Reads the audit log, as pages or as a whole for a file, and verifies its hash chain."""

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from admin_api.operations.actors import Actor, require_reader
from admin_api.operations.audit_rows import AuditEntry, name_rows
from admin_api.operations.lookups import get_model, get_team, get_user
from admin_api.operations.pagination import Page, check_limit, page, parse_id_cursor
from admin_api.operations.validation import check_moment, invalid
from admin_api.storage.audit_chain import Anchor, AuditCheck, check_chain
from admin_api.storage.audit_targets import TARGETS
from gateway.storage import audit
from gateway.storage.audit import AuditFilter, AuditRow

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor, Pool

ROWS_A_PART: Final = 1000
# At least. The same period as in the database schema, which enforces it.
KEPT: Final = timedelta(days=90)
# Before the name of who ran a command.
COMMANDS_OF: Final = "cli:"
# What rows can be about: targets with an id, and those whose id is their name. An account is named by its user or team.
ABOUT: Final = (
    *(kind for kind in TARGETS if kind != "account"),
    "provider_key",
    "models",
    "call",
    "ledger",
    "settings",
)
ANCHOR: Final = re.compile(r"([1-9][0-9]{0,17}):([0-9a-f]{64})")


async def list_audit(
    pool: "Pool", actor: Actor, only: AuditFilter, *, limit: int = 100, cursor: str | None = None
) -> Page[AuditEntry]:
    """Newest first. `only.about` may name a user, team, key or model by name: `user:ana@example.org`. Raises
    GatewayError `not_found` if it is not there, or `validation_failed`."""
    require_reader(actor)
    return await _list(pool, _by_all_names(await _check(pool, only)), limit=limit, cursor=cursor)


async def list_activity(pool: "Pool", actor: Actor, *, limit: int = 100, cursor: str | None = None) -> Page[AuditEntry]:
    """The actor's own changes, newest first."""
    return await _list(pool, [AuditFilter(actor=actor.name)], limit=limit, cursor=cursor)


async def read_parts(pool: "Pool", actor: Actor, only: AuditFilter) -> AsyncIterator[Sequence[AuditEntry]]:
    """All matching rows, newest first, in parts. No connection is held while a slow client reads a part."""
    require_reader(actor)
    filters = _by_all_names(await _check(pool, only))
    before: int | None = None
    while True:
        async with pool.acquire() as connection:
            rows = await _read(connection, filters, before=before, limit=ROWS_A_PART)
            entries = await name_rows(connection, rows)
        yield entries
        if len(rows) < ROWS_A_PART:
            return
        before = rows[-1].id


async def verify_audit(pool: "Pool", actor: Actor, *, anchor: str | None = None) -> AuditCheck:
    """Computes the hash chain again from all rows. `anchor` is POSITION:HASH of the head that a check returned.
    Raises GatewayError `validation_failed`."""
    require_reader(actor)
    expected = None if anchor is None else _parse_anchor(anchor)
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        return await check_chain(connection, expected)


def _parse_anchor(text: str) -> Anchor:
    found = ANCHOR.fullmatch(text)
    if found is None:
        raise invalid("anchor", "anchor must be POSITION:HASH, as `litemaas audit verify` prints it.")
    return Anchor(int(found[1]), bytes.fromhex(found[2]))


async def _list(pool: "Pool", filters: Sequence[AuditFilter], *, limit: int, cursor: str | None) -> Page[AuditEntry]:
    check_limit(limit)
    before = None if cursor is None else parse_id_cursor(cursor)
    async with pool.acquire() as connection:
        rows = await _read(connection, filters, before=before, limit=limit + 1)
        entries = await name_rows(connection, rows)
    return page(entries, limit, lambda entry: entry.row.id)


def _by_all_names(only: AuditFilter) -> list[AuditFilter]:
    """Of a person also what they did by commands, whose rows name them `cli:root` or `cli:ana@example.org`."""
    if only.actor is None or only.actor.startswith(COMMANDS_OF):
        return [only]
    return [only, replace(only, actor=COMMANDS_OF + only.actor)]


async def _read(
    executor: "Executor", filters: Sequence[AuditFilter], *, before: int | None, limit: int
) -> list[AuditRow]:
    """The newest rows of all filters, of which no row passes two. Each is read by the index of its actor."""
    rows = [
        row for only in filters for row in await audit.list_audit(executor, before_id=before, limit=limit, only=only)
    ]
    return sorted(rows, key=lambda row: (row.at, row.id), reverse=True)[:limit]


async def _check(pool: "Pool", only: AuditFilter) -> AuditFilter:
    for name in ("about", "actor", "action", "target_kind", "target_id"):
        value = getattr(only, name)
        # Postgres accepts neither NUL nor lone surrogates, so no row contains them.
        if value is not None and not value.isprintable():
            raise invalid(name, f"{name} contains characters that cannot be displayed.")
    since = None if only.since is None else check_moment("since", only.since)
    until = None if only.until is None else check_moment("until", only.until)
    if since is not None and until is not None and since >= until:
        raise invalid("until", "until must be later than since.")
    about = only.about
    if about is not None:
        async with pool.acquire() as connection:
            about = await _resolve(connection, about)
    return replace(only, about=about, since=since, until=until)


async def _resolve(executor: "Executor", about: str) -> str:
    """As audit rows name it: `kind:id`."""
    kind, _, reference = about.partition(":")
    if kind not in ABOUT or not reference:
        raise invalid("about", f"about must be KIND:NAME or KIND:ID, with the kind {', '.join(ABOUT)}.")
    if kind == "user":
        return f"user:{(await get_user(executor, reference)).id}"
    if kind == "team":
        return f"team:{(await get_team(executor, reference)).id}"
    if kind == "model" and not reference.isdigit():
        return f"model:{(await get_model(executor, reference)).id}"
    return f"{kind}:{reference}"
