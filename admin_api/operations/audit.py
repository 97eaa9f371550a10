"""Reads the audit log, as pages or as a whole for a file, and verifies its hash chain."""

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from admin_api.operations.actors import Actor, require_reader
from admin_api.operations.pagination import Page, check_limit, page, parse_id_cursor
from admin_api.operations.validation import check_moment, invalid
from admin_api.storage.audit_chain import Anchor, AuditCheck, check_chain
from gateway.storage import audit
from gateway.storage.audit import AuditFilter, AuditRow

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

ROWS_A_PART: Final = 1000
ANCHOR: Final = re.compile(r"([1-9][0-9]{0,17}):([0-9a-f]{64})")


async def list_audit(
    pool: "Pool", actor: Actor, only: AuditFilter, *, limit: int = 100, cursor: str | None = None
) -> Page[AuditRow]:
    """Newest first."""
    require_reader(actor)
    return await _list(pool, _check(only), limit=limit, cursor=cursor)


async def list_activity(pool: "Pool", actor: Actor, *, limit: int = 100, cursor: str | None = None) -> Page[AuditRow]:
    """The actor's own changes, newest first."""
    return await _list(pool, AuditFilter(actor=actor.name), limit=limit, cursor=cursor)


async def read_parts(pool: "Pool", actor: Actor, only: AuditFilter) -> AsyncIterator[Sequence[AuditRow]]:
    """All matching rows, newest first, in parts. No connection is held while a slow client reads a part."""
    require_reader(actor)
    only = _check(only)
    before: int | None = None
    while True:
        async with pool.acquire() as connection:
            rows = await audit.list_audit(connection, before_id=before, limit=ROWS_A_PART, only=only)
        yield rows
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


async def _list(pool: "Pool", only: AuditFilter, *, limit: int, cursor: str | None) -> Page[AuditRow]:
    check_limit(limit)
    before = None if cursor is None else parse_id_cursor(cursor)
    async with pool.acquire() as connection:
        rows = await audit.list_audit(connection, before_id=before, limit=limit + 1, only=only)
    return page(rows, limit, lambda row: row.id)


def _check(only: AuditFilter) -> AuditFilter:
    for name in ("actor", "action", "target_kind", "target_id"):
        value = getattr(only, name)
        # Postgres accepts neither NUL nor lone surrogates, so no row contains them.
        if value is not None and not value.isprintable():
            raise invalid(name, f"{name} contains characters that cannot be displayed.")
    since = None if only.since is None else check_moment("since", only.since)
    until = None if only.until is None else check_moment("until", only.until)
    if since is not None and until is not None and since >= until:
        raise invalid("until", "until must be later than since.")
    return replace(only, since=since, until=until)
