"""Refused calls: how many by hour, and one by its request id."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from admin_api.operations.access import get_own_key, viewer_of
from admin_api.operations.actors import Actor
from admin_api.operations.pagination import MAX_ID, Page, check_limit, not_a_cursor, page
from admin_api.operations.usage.scope import Scope, UsageFilter, resolve
from admin_api.operations.validation import check_request_id, invalid
from admin_api.storage.usage import refusals as rows
from admin_api.storage.usage.refusals import KEY, RefusalCount, RefusedCall
from gateway.domain.errors import CODES, GatewayError

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor, Pool

KEPT: Final = timedelta(days=7)
# Longer texts are like no code.
MAX_CODE: Final = 40


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
    known = None if code is None else check_code(code)
    after = _parse_cursor(cursor)
    async with pool.acquire() as connection:
        scope = await resolve_people(connection, actor, query)
        found = await rows.list_refusals(connection, scope.selection, code=known, after=after, limit=limit + 1)
    return page(found, limit, _cursor_of)


async def list_refused_calls(
    pool: "Pool",
    actor: Actor,
    query: UsageFilter,
    *,
    code: str | None = None,
    limit: int = 100,
    cursor: str | None = None,
) -> Page[RefusedCall]:
    """Those that are kept, newest first. Authorized as usage by key is. Raises GatewayError `forbidden`, `not_found`,
    `validation_failed`."""
    check_limit(limit)
    known = None if code is None else check_code(code)
    before = _parse_call_cursor(cursor)
    async with pool.acquire() as connection:
        scope = await resolve_people(connection, actor, query)
        found = await rows.list_refused_calls(
            connection, scope.selection, models=query.models, code=known, before=before, limit=limit + 1
        )
    shown = page(found, limit, lambda call: f"{call.at.isoformat()}|{call.request_id}")
    if viewer_of(actor) is None:
        return shown
    return Page([_without_cause(call) for call in shown.rows], shown.next_cursor)


async def find_refused_call(pool: "Pool", actor: Actor, request_id: str) -> RefusedCall:
    """As the caller was answered, for admins with the cause of model_not_found; open to the key's owner, too. Raises
    GatewayError `not_found`, which says so if the call was admitted."""
    wanted = check_request_id(request_id)
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
        return found if viewer_of(actor) is None else _without_cause(found)
    if admitted is not None:
        message = f"Call {wanted} was not refused: it was forwarded and is {admitted.ending}, with {admitted.status}."
        raise GatewayError("not_found", message)
    message = f"No refused call {wanted} is kept. Kept are the first of each account and minute, for {KEPT.days} days."
    raise GatewayError("not_found", message)


async def delete_old_refused_calls(pool: "Pool") -> None:
    """Deletes those older than KEPT; their numbers by hour stay."""
    async with pool.acquire() as connection:
        await rows.delete_old_refused_calls(connection, datetime.now(UTC) - KEPT)


async def resolve_people(executor: "Executor", actor: Actor, query: UsageFilter) -> Scope:
    """As `resolve`. Raises GatewayError `forbidden` for a member who asks for all of a team."""
    scope = await resolve(executor, actor, query, now=datetime.now(UTC))
    if not scope.sees_people:
        message = "Only the owners of a team see its refusals by key. Members see their own, with the filter user."
        raise GatewayError("forbidden", message)
    return scope


def _without_cause(call: RefusedCall) -> RefusedCall:
    """Others must not find out which models there are."""
    return replace(call, missing_cause=None, renamed_to=None)


def check_code(code: str) -> str:
    """Raises GatewayError `validation_failed`, which names the codes that are most like it: all would be a page."""
    if code in CODES:
        return code
    close = get_close_matches(code[:MAX_CODE], CODES, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(close)}? " if close else ""
    raise invalid("code", f"code must be an error code. {hint}All of them: docs/errors.md.")


def _parse_call_cursor(cursor: str | None) -> tuple[datetime, UUID] | None:
    if cursor is None:
        return None
    at, _, request_id = cursor.partition("|")
    try:
        moment, last = datetime.fromisoformat(at), UUID(request_id)
    except ValueError:
        raise not_a_cursor() from None
    if moment.tzinfo is None:
        raise not_a_cursor()
    return moment, last


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
        raise not_a_cursor() from None
    is_whole = len(numbers) == len(KEY) - 1 and all(0 <= one <= MAX_ID for one in numbers)
    if not is_whole or moment.tzinfo is None or code not in CODES:
        raise not_a_cursor()
    return (moment, *numbers, code)
