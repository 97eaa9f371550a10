"""Reads the audit log, as pages or as a whole for a file."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from admin_api.operations.actors import Actor, require_reader
from admin_api.operations.pagination import Page, check_limit, page, parse_id_cursor
from admin_api.operations.validation import check_moment, invalid
from gateway.storage import audit
from gateway.storage.audit import AuditFilter, AuditRow

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

ROWS_A_PART: Final = 1000


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
