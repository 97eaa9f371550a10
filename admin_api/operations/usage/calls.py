"""Usage as single calls: rows of the ledger, newest first, and their totals."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from admin_api.operations.actors import Actor, require_reader
from admin_api.operations.lookups import get_key
from admin_api.operations.pagination import check_limit, page
from admin_api.operations.validation import invalid
from admin_api.storage.usage import calls
from admin_api.storage.usage.calls import UsageTotals
from gateway.domain.ids import MAX_CLIENT_ID, read_client_request_id
from gateway.domain.usage_rows import UsageRow

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool


@dataclass(frozen=True, slots=True)
class UsagePage:
    """A page of rows, and the totals of all pages."""

    rows: Sequence[UsageRow]
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
    return UsagePage(shown.rows, totals, shown.next_cursor)


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
        raise invalid("cursor", "This is not a cursor of this list. Use next_cursor of the previous page.") from None
