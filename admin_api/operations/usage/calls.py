"""Usage as single calls: rows of the ledger, newest first, and their totals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from admin_api.operations.access import get_own_key, viewer_of
from admin_api.operations.actors import Actor, require_reader
from admin_api.operations.lookups import get_key
from admin_api.operations.pagination import Page, check_limit, not_a_cursor, page
from admin_api.operations.usage.scope import UsageFilter, resolve
from admin_api.operations.validation import check_request_id, invalid
from admin_api.storage.usage import calls, queries
from admin_api.storage.usage.calls import UsageTotals
from admin_api.storage.usage.names import KeyNames, name_owned_keys
from admin_api.storage.usage.rollup_tables import WITHIN, tables_for
from gateway.domain.errors import GatewayError
from gateway.domain.ids import MAX_CLIENT_ID, read_client_request_id
from gateway.domain.limits import LIMIT_KINDS, Limit
from gateway.domain.usage_rows import UsageRow
from gateway.storage.key_records import find_key_record_by_id

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool


@dataclass(frozen=True, slots=True)
class UsagePage:
    """A page of rows, the names of their keys, by id, and the totals of all pages."""

    rows: Sequence[UsageRow]
    keys: Mapping[int, KeyNames]
    totals: UsageTotals
    next_cursor: str | None


async def show_usage(
    pool: "Pool",
    actor: Actor,
    *,
    key_id: int | None = None,
    client_request_id: str | None = None,
    limit: int = 100,
    cursor: str | None = None,
) -> UsagePage:
    """Calls of one key, or of all keys; those that carried this id of the caller's own, or all. Raises GatewayError
    `not_found` for an unknown key, `validation_failed`."""
    require_reader(actor)
    check_limit(limit)
    before = _parse_cursor(cursor)
    wanted = None if client_request_id is None else _check_client_id(client_request_id)
    # One snapshot, so that totals and rows are consistent.
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        if wanted is not None:
            if key_id is not None:
                await get_key(connection, key_id)
            rows = await calls.list_usage_by_client_id(
                connection, wanted, key_id=key_id, before=before, limit=limit + 1
            )
            totals = await calls.sum_usage_by_client_id(connection, wanted, key_id=key_id)
        elif key_id is None:
            rows = await calls.list_usage(connection, before=before, limit=limit + 1)
            totals = await calls.sum_usage(connection)
        else:
            key = await get_key(connection, key_id)
            rows = await calls.list_usage_of_key(connection, key_id, before=before, limit=limit + 1)
            totals = await calls.sum_usage_of_key(connection, account_id=key.account_id, key_id=key_id)
        shown = page(rows, limit, lambda row: row.request_id)
        keys = await name_owned_keys(connection, (row.api_key_id for row in shown.rows))
    return UsagePage(shown.rows, keys, totals, shown.next_cursor)


async def show_calls(
    pool: "Pool",
    actor: Actor,
    query: UsageFilter,
    *,
    client_request_id: str | None = None,
    limit: int = 100,
    cursor: str | None = None,
) -> UsagePage:
    """By all filters; for admins `show_usage` answers without any, by key and by an id of the caller's own. Raises
    GatewayError `validation_failed`, `not_found`, `forbidden`."""
    if viewer_of(actor) is None and not any(
        getattr(query, field.name) for field in fields(UsageFilter) if field.name != "key"
    ):
        return await show_usage(
            pool, actor, key_id=query.key, client_request_id=client_request_id, limit=limit, cursor=cursor
        )
    if client_request_id is not None:
        raise invalid("client_request_id", "Beside client_request_id only key selects calls.")
    return await list_selected_calls(pool, actor, query, limit=limit, cursor=cursor)


async def list_selected_calls(
    pool: "Pool", actor: Actor, query: UsageFilter, *, limit: int = 100, cursor: str | None = None
) -> UsagePage:
    """Calls that match all filters; the period is extended to full quarters of an hour, and the last 30 days without
    one. Authorized as usage by key is. Raises GatewayError `validation_failed`, `not_found`, `forbidden`."""
    check_limit(limit)
    before = _parse_cursor(cursor)
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        scope = await resolve(connection, actor, query, now=datetime.now(UTC))
        if not scope.sees_people:
            message = "Only the owners of a team see its calls. Members see their own, with the filter user."
            raise GatewayError("forbidden", message)
        selection = scope.selection
        sums = await queries.sum_up(connection, selection, tables_for(selection) or WITHIN)
        # Of a model that few calls name the ledger is read up to the last of them, not through the whole period.
        most = min(limit + 1, sums.calls)
        rows = await calls.list_selected(connection, selection, before=before, limit=most) if most else []
        shown = page(rows, limit, lambda row: row.request_id)
        keys = await name_owned_keys(connection, (row.api_key_id for row in shown.rows))
    if viewer_of(actor) is not None:
        shown = Page([_without_backend(row) for row in shown.rows], shown.next_cursor)
    totals = UsageTotals(**{field.name: getattr(sums, field.name) for field in fields(UsageTotals)})
    return UsagePage(shown.rows, keys, totals, shown.next_cursor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call, the names of its key, what corrections of its price added, and the limits of today that count such
    calls of its key; none if the key may not call the model any more."""

    row: UsageRow
    key: KeyNames | None
    corrected_nano_usd: int
    limits: Sequence[Limit]

    @property
    def cost_nano_usd(self) -> int:
        """With corrections; 0 of a call without a price."""
        return (self.row.cost_nano_usd or 0) + self.corrected_nano_usd


async def find_call(pool: "Pool", actor: Actor, request_id: str) -> Call:
    """By the id of its answer; open to the key's owner, too. Raises GatewayError `not_found`, `validation_failed`."""
    wanted = check_request_id(request_id)
    async with pool.acquire() as connection:
        row = await calls.find_usage_row(connection, wanted)
        try:
            if row is not None:
                await get_own_key(connection, actor, row.api_key_id)
        except GatewayError:
            row = None
        if row is None:
            raise GatewayError("not_found", f"No call {wanted} was forwarded.")
        names = await name_owned_keys(connection, [row.api_key_id])
        corrected = await calls.sum_corrections(connection, wanted)
        record = await find_key_record_by_id(connection, row.api_key_id)
    grants = record.grants.values() if record is not None else ()
    limits = [limit for grant in grants if grant.model_id == row.model_id for limit in grant.limits]
    shown = row if viewer_of(actor) is None else _without_backend(row)
    return Call(row=shown, key=names.get(row.api_key_id), corrected_nano_usd=corrected, limits=limits)


def counted_of(limit: Limit, row: UsageRow) -> int:
    """What a call of this key added to a limit, in its unit: windows by the ledger's columns; a rate is charged for
    every call that was sent on, and a concurrency limit while it runs."""
    facts = LIMIT_KINDS[limit.kind]
    if facts.counter == "window" or facts.counts != "requests":
        counted: int = getattr(row, facts.ledger_column)
        return counted
    return row.counted_rate_requests


def _without_backend(row: UsageRow) -> UsageRow:
    """`model_served` may name a backend that users must not know."""
    return msgspec.structs.replace(row, model_served=None)


def _check_client_id(text: str) -> str:
    """As the gateway keeps it."""
    kept = read_client_request_id(text.encode())
    if kept is None:
        message = f"An id of a caller's own has 1 to {MAX_CLIENT_ID} printable ASCII characters, and no key in it."
        raise invalid("client_request_id", message)
    return kept


def _parse_cursor(cursor: str | None) -> UUID | None:
    try:
        return None if cursor is None else UUID(cursor)
    except ValueError:
        raise not_a_cursor() from None
