"""Refused calls: how many by hour, and one by its request id."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from admin_api.operations.access import get_own_key, viewer_of
from admin_api.operations.actors import Actor
from admin_api.operations.pagination import MAX_ID, Page, check_limit, page
from admin_api.operations.usage.scope import UsageFilter, resolve
from admin_api.operations.validation import invalid
from admin_api.storage.usage import refusals as rows
from admin_api.storage.usage.refusals import KEY, RefusalCount, RefusedCall
from gateway.domain.errors import CODES, GatewayError

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

KEPT: Final = timedelta(days=7)
# Longer texts are like no code.
MAX_CODE: Final = 40
_CURSOR: Final = "This is not a cursor of this list. Use next_cursor of the previous page."


async def list_refusals(
    pool: "Pool",
    actor: Actor,
    query: UsageFilter,
    *,
    code: str | None = None,
    limit: int = 100,
    cursor: str | None = None,
) -> Page[RefusalCount]:
    """Newest hour first, of each key, model, limit and code. Authorized as usage by key is. Raises GatewayError
    `forbidden`, `not_found`, `validation_failed`."""
    check_limit(limit)
    known = None if code is None else _check_code(code)
    after = _parse_cursor(cursor)
    async with pool.acquire() as connection:
        scope = await resolve(connection, actor, query, now=datetime.now(UTC))
        if not scope.sees_people:
            message = "Only the owners of a team see its refusals by key. Members see their own, with the filter user."
            raise GatewayError("forbidden", message)
        found = await rows.list_refusals(connection, scope.selection, code=known, after=after, limit=limit + 1)
    return page(found, limit, _cursor_of)


async def find_refused_call(pool: "Pool", actor: Actor, request_id: str) -> RefusedCall:
    """As the caller was answered, for admins with the cause of model_not_found; open to the key's owner, too. Raises
    GatewayError `not_found`, which says so if the call was admitted."""
    try:
        wanted = UUID(request_id)
    except ValueError:
        raise invalid("request_id", "A request id is a UUID, as in the header x-request-id of the answer.") from None
    async with pool.acquire() as connection:
        found = await rows.find_refused_call(connection, wanted)
        admitted = None if found else await rows.find_admitted_call(connection, wanted)
        key_id = found.api_key_id if found else admitted.api_key_id if admitted else None
        if key_id is not None:
            try:
                await get_own_key(connection, actor, key_id)
            except GatewayError:
                found = admitted = None
    if found is not None:
        # Others must not find out which models there are.
        return found if viewer_of(actor) is None else replace(found, missing_cause=None, renamed_to=None)
    if admitted is not None:
        message = f"Call {wanted} was not refused: it was forwarded and is {admitted.ending}, with {admitted.status}."
        raise GatewayError("not_found", message)
    message = f"No refused call {wanted} is kept. Kept are the first of each account and minute, for {KEPT.days} days."
    raise GatewayError("not_found", message)


async def delete_old_refused_calls(pool: "Pool") -> None:
    """Deletes those older than KEPT; their numbers by hour stay."""
    async with pool.acquire() as connection:
        await rows.delete_old_refused_calls(connection, datetime.now(UTC) - KEPT)


def _check_code(code: str) -> str:
    """Raises GatewayError `validation_failed`, which names the codes that are most like it: all would be a page."""
    if code in CODES:
        return code
    close = get_close_matches(code[:MAX_CODE], CODES, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(close)}? " if close else ""
    raise invalid("code", f"code must be an error code. {hint}All of them: docs/errors.md.")


def _cursor_of(row: RefusalCount) -> str:
    return "|".join((row.hour.isoformat(), *(str(getattr(row, name)) for name in KEY)))


def _parse_cursor(cursor: str | None) -> tuple[Any, ...] | None:
    if cursor is None:
        return None
    try:
        hour, *ids, code = cursor.split("|")
        moment = datetime.fromisoformat(hour)
        numbers = [int(one) for one in ids]
    except ValueError:
        raise invalid("cursor", _CURSOR) from None
    is_whole = len(numbers) == len(KEY) - 1 and all(0 <= one <= MAX_ID for one in numbers)
    if not is_whole or moment.tzinfo is None or code not in CODES:
        raise invalid("cursor", _CURSOR)
    return (moment, *numbers, code)
