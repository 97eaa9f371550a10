"""Requests for more than a limit allows: a person asks with a reason, an admin decides, and the limit follows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from admin_api.operations.actors import Actor, note, require_admin, require_reader
from admin_api.operations.decisions import (
    DECISIONS,
    MAX_DECISIONS,
    Decided,
    Decision,
    check_decision_reason,
    decide_each,
)
from admin_api.operations.limits.limits import audited_amount, get_seen_limit, set_amount
from admin_api.operations.limits.parsing import AmountInput, check_amount
from admin_api.operations.notifications.events import notify
from admin_api.operations.pagination import MAX_ID, Page, check_limit, page, parse_id_cursor
from admin_api.operations.people.users import changing_own_id, own_id
from admin_api.operations.validation import check_reason, check_word, invalid, invalid_now
from admin_api.storage import accounts
from admin_api.storage import limit_requests as rows
from admin_api.storage import limits as limit_rows
from admin_api.storage.limit_requests import REQUEST_STATUSES, LimitRequest, RequestStatus
from admin_api.storage.limits import LimitRow
from gateway.domain.errors import GatewayError
from gateway.domain.limits import amount_fields

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor, Pool

STATUS_OF: Final[dict[Decision, RequestStatus]] = {"approve": "approved", "deny": "denied"}


@dataclass(frozen=True, slots=True)
class RequestedLimit:
    """A request, and the limit that it is about as it is now."""

    request: LimitRequest
    limit: LimitRow


async def ask_for_more(
    pool: "Pool", actor: Actor, limit_id: int, *, amount: AmountInput, reason: str
) -> RequestedLimit:
    """A request of the actor about a limit that holds for them. Admins hear of it by the e-mail about what waits.

    Raises GatewayError `not_found`, also for a limit they may not see; `conflict` for a limit that they set themselves,
    that is temporary, or about which a request waits; `validation_failed` for an amount that is not more.
    """
    user_id = changing_own_id(actor)
    checked = check_reason(reason, required=True, use="An admin reads it.") or ""
    async with pool.acquire() as connection, connection.transaction():
        limit = await get_seen_limit(connection, limit_id, viewer_id=user_id)
        await accounts.lock_account(connection, limit.account_id)
        limit = await get_seen_limit(connection, limit_id, viewer_id=user_id)
        _check_can_be_raised(limit)
        wanted = amount.of_stored_kind(limit.kind)
        if wanted is None or wanted <= limit.amount:
            raise invalid_now("amount", "Ask for more than the limit allows now.")
        check_amount(limit.kind, wanted, limit.burst)
        try:
            request_id = await rows.insert_request(
                connection, limit_id=limit_id, user_id=user_id, amount=wanted, reason=checked
            )
        except rows.IsPending:
            raise GatewayError("conflict", "A request for more of this limit waits for a decision.") from None
        made = RequestedLimit(await _get(connection, request_id), limit)
        new = audited_amount(limit.kind, {"amount": wanted, "request_id": request_id, "reason": checked})
        await note(connection, actor, "limit.request", "limit", limit_id, new=new)
        about = _event(made) | {"reason": checked}
        await notify(connection, "limit.requested", about, account_id=limit.account_id, by_user_id=user_id)
    return made


async def decide_request(
    pool: "Pool",
    actor: Actor,
    request_id: int,
    decision: str,
    *,
    amount: AmountInput | None = None,
    reason: str | None = None,
    confirmed: bool = False,
) -> RequestedLimit:
    """Approving sets the limit to `amount`, by default what was asked for; the person gets an e-mail either way.

    Raises GatewayError `not_found`, `conflict` for one that does not wait any more, or `validation_failed`.
    """
    require_admin(actor)
    known = cast("Decision", check_word("decision", decision, DECISIONS))
    answer = check_decision_reason(known, reason)
    if amount is not None:
        amount.check()
    async with pool.acquire() as connection, connection.transaction():
        found = await _lock(connection, request_id)
        granted = None
        if known == "approve":
            granted = found.request.amount if amount is None else amount.of_stored_kind(found.limit.kind)
            if granted is None:
                raise invalid("amount", "Approve an amount; to lift a limit for good, remove it.")
            await set_amount(connection, actor, found.limit, granted, reason=found.limit.reason, confirmed=confirmed)
        await _end(connection, actor, found, STATUS_OF[known], granted=granted, answer=answer)
        return await _find(connection, request_id)


async def decide_requests(
    pool: "Pool",
    actor: Actor,
    request_ids: Sequence[int],
    decision: Decision,
    *,
    reason: str | None = None,
    amounts: Mapping[int, AmountInput] | None = None,
    confirmed: bool = False,
) -> list[Decided[RequestStatus]]:
    """In the order given, each id once. Approving sets each limit to its own of `amounts`, else to what was asked for.
    An error for one request does not affect the others.

    Raises GatewayError `forbidden`, or `validation_failed` if the reason is missing or there are too many ids.
    """
    require_admin(actor)
    checked = check_decision_reason(decision, reason)
    if not 1 <= len(request_ids) <= MAX_DECISIONS:
        raise invalid("request_ids", f"Name 1 to {MAX_DECISIONS} requests.")

    async def decide(request_id: int) -> RequestStatus:
        amount = (amounts or {}).get(request_id) if decision == "approve" else None
        done = await decide_request(
            pool, actor, request_id, decision, amount=amount, reason=checked, confirmed=confirmed
        )
        return done.request.status

    return await decide_each(request_ids, decide)


async def withdraw_request(pool: "Pool", actor: Actor, request_id: int) -> None:
    """By who asked. Raises GatewayError `not_found`, or `conflict` for one that does not wait any more."""
    user_id = own_id(actor)
    async with pool.acquire() as connection, connection.transaction():
        found = await _lock(connection, request_id, user_id=user_id)
        await _end(connection, actor, found, "withdrawn", granted=None, answer=None)


async def list_own_requests(
    pool: "Pool", actor: Actor, *, status: str | None = None, limit: int = 100, cursor: str | None = None
) -> Page[RequestedLimit]:
    """By id. Raises GatewayError `not_found` for logins without a user."""
    return await _list(pool, own_id(actor), status, limit, cursor)


async def list_requests(
    pool: "Pool", actor: Actor, *, status: str | None = None, limit: int = 100, cursor: str | None = None
) -> Page[RequestedLimit]:
    """By id, those of all users, for admins. Raises GatewayError `forbidden`."""
    require_reader(actor)
    return await _list(pool, None, status, limit, cursor)


async def _list(
    pool: "Pool", user_id: int | None, status: str | None, limit: int, cursor: str | None
) -> Page[RequestedLimit]:
    check_limit(limit)
    known = None if status is None else cast("RequestStatus", check_word("status", status, REQUEST_STATUSES))
    async with pool.acquire() as connection:
        found = await rows.list_requests(
            connection, after_id=parse_id_cursor(cursor), limit=limit + 1, status=known, user_id=user_id
        )
        limits = await limit_rows.find_limits(connection, [one.limit_id for one in found])
    # Removing a limit removes its requests, meanwhile too.
    both = [RequestedLimit(one, limits[one.limit_id]) for one in found if one.limit_id in limits]
    return page(both, limit, lambda one: one.request.id)


def _check_can_be_raised(limit: LimitRow) -> None:
    if limit.set_by != "admin":
        raise GatewayError("conflict", "This limit was set by the owner of the key, who can change it.")
    if limit.expires_at is not None:
        raise GatewayError("conflict", "This limit is temporary. Ask for more of the lasting one.")


async def _get(executor: "Executor", request_id: int) -> LimitRequest:
    request = await rows.find_request(executor, request_id) if 0 < request_id <= MAX_ID else None
    if request is None:
        raise GatewayError("not_found", f"There is no request {request_id}.")
    return request


async def _find(executor: "Executor", request_id: int) -> RequestedLimit:
    request = await _get(executor, request_id)
    limit = await limit_rows.find_limit(executor, request.limit_id)
    if limit is None:
        raise GatewayError("not_found", f"There is no request {request_id}.")
    return RequestedLimit(request, limit)


async def _lock(executor: "Executor", request_id: int, *, user_id: int | None = None) -> RequestedLimit:
    """One that waits, under the lock of its account: removing the limit removes the request. Raises GatewayError
    `not_found`, also for another's, or `conflict`."""
    request = await _get(executor, request_id)
    if user_id not in (None, request.user_id):
        raise GatewayError("not_found", f"There is no request {request_id}.")
    await accounts.lock_account(executor, request.account_id)
    found = await _find(executor, request_id)
    if found.request.status != "pending":
        status = found.request.status
        raise GatewayError("conflict", f"Request {request_id} is {status}.", details={"status": status})
    return found


async def _end(
    executor: "Executor",
    actor: Actor,
    found: RequestedLimit,
    status: RequestStatus,
    *,
    granted: int | None,
    answer: str | None,
) -> None:
    request, limit = found.request, found.limit
    is_ended = await rows.update_decided(
        executor, request.id, status=status, granted=granted, answer=answer, decided_by=actor.name
    )
    if not is_ended:
        raise RuntimeError("a request that is locked does not wait any more")
    old = audited_amount(limit.kind, {"amount": request.amount, "request_id": request.id, "status": "pending"})
    new = {"status": status} | ({"reason": answer} if answer else {})
    await note(executor, actor, "limit.decide_request", "limit", limit.id, old=old, new=new)
    if status != "withdrawn":
        about = _event(found) | {"status": status, "reason": answer, **amount_fields("granted", limit.kind, granted)}
        await notify(executor, "limit.request_decided", about, account_id=limit.account_id, user_id=request.user_id)


def _event(found: RequestedLimit) -> dict[str, Any]:
    """What a message says of the request and its limit."""
    request, limit = found.request, found.limit
    return {
        "limit_request_id": request.id,
        "limit_id": limit.id,
        "account_id": limit.account_id,
        "account": limit.account_name,
        "user": request.user_email,
        "level": limit.level,
        "kind": limit.kind,
        "window": limit.window,
        "model": limit.model_name,
        "key": limit.key_name,
        "key_last_four": limit.key_last_four,
        **amount_fields("limit", limit.kind, limit.amount),
        **amount_fields("requested", limit.kind, request.amount),
    }
