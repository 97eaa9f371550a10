"""Subscriptions: create, list, change the status. `gateway.domain.subscriptions` defines the allowed transitions."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, cast

from admin_api.operations.access import get_one_account, get_seen_model, is_seen, viewer_of
from admin_api.operations.actors import Actor, changing_party, note, require_admin
from admin_api.operations.decisions import MAX_DECISIONS, Decided, Decision, check_decision_reason, decide_each
from admin_api.operations.limits.limits import LimitInput, apply_limit
from admin_api.operations.lookups import get_model, get_user
from admin_api.operations.notifications.events import notify_subscription
from admin_api.operations.pagination import MAX_ID, Page, check_limit, page, parse_id_cursor
from admin_api.operations.preconditions import check_version, version_of
from admin_api.operations.runtime_settings import read_settings
from admin_api.operations.validation import check_future, check_reason, check_word, invalid, invalid_now
from admin_api.storage import accounts
from admin_api.storage import subscriptions as rows
from admin_api.storage.limits import Target
from admin_api.storage.subscriptions import HistoryRow, Subscription
from gateway.domain.errors import GatewayError
from gateway.domain.model_status import check_offered
from gateway.domain.subscriptions import (
    NEEDS_REASON,
    STATUSES,
    Action,
    Party,
    Status,
    allowed_actions,
    first_status,
    target_of,
)

if TYPE_CHECKING:
    from admin_api.storage.models import Model
    from gateway.storage.postgres import Executor, Pool

# Bounds one run of the background task; the next run continues.
MAX_DUE: Final = 500
SYSTEM: Final = Actor(name="system", role="program", via="expiry of subscriptions")


async def create_subscription(
    pool: "Pool",
    actor: Actor,
    *,
    model: str,
    user: str | None = None,
    team: str | None = None,
    expires_at: datetime | None = None,
) -> Subscription:
    """For the user's personal account, the team's, or the actor's own if none is named. Active at once, or pending if
    the model is restricted.

    A cancelled or expired subscription is renewed as the same row, with its limits and counters. Raises GatewayError
    `conflict` if a subscription with another status exists, or the model is not offered.
    """
    expires_at = check_future("expires_at", expires_at)
    async with pool.acquire() as connection, connection.transaction():
        account = await get_one_account(connection, actor, user=user, team=team)
        party = await changing_party(connection, actor, account)
        offered = await get_model(connection, model)
        if offered.hidden and actor.role == "user":
            # The same message as for a model that does not exist.
            raise GatewayError("not_found", f"There is no model '{model}'.", param="model")
        await _check_offer(connection, account, offered)
        subscription_id = await rows.insert_subscription(
            connection,
            account_id=account.id,
            model_id=offered.id,
            status=first_status(is_restricted=offered.restricted),
            expires_at=expires_at,
        )
        if subscription_id is not None:
            return await _begin(connection, actor, subscription_id)
        existing = await rows.lock_subscription(connection, account_id=account.id, model_id=offered.id)
        if existing is None:
            raise RuntimeError("a subscription that exists was not found; rows are never deleted")
        if "renew" not in allowed_actions(existing.status, party):
            raise _already_exists(existing, party)
        return await _move(connection, actor, existing, "renew", party, reason=None, expires_at=expires_at)


async def change_subscription(
    pool: "Pool",
    actor: Actor,
    subscription_id: int,
    action: Action,
    *,
    reason: str | None = None,
    as_of: str | None = None,
) -> Subscription:
    """Performs a transition. Concurrent ones run one after the other: the second sees the result of the first.

    Raises GatewayError `not_found`, `conflict` with the status and the allowed actions, `forbidden`,
    `validation_failed` if a reason is missing, or `precondition_failed` if `as_of` does not match.
    """
    reason = check_reason(reason, required=action in NEEDS_REASON, use="It is shown to the user.")
    async with pool.acquire() as connection, connection.transaction():
        subscription = None
        if 0 < subscription_id <= MAX_ID:
            subscription = await rows.lock_subscription(connection, subscription_id=subscription_id)
        if subscription is None or not await is_seen(connection, actor, subscription.account_id):
            raise GatewayError("not_found", f"There is no subscription {subscription_id}.")
        account = await accounts.find_account(connection, subscription.account_id)
        if account is None:
            raise RuntimeError("a subscription has no account, in spite of the foreign key")
        party = await changing_party(connection, actor, account)
        check_version(version_of(subscription), as_of)
        return await _move(connection, actor, subscription, action, party, reason=reason, expires_at=None)


async def expire_subscriptions(pool: "Pool", now: datetime | None = None) -> int:
    """Expires the subscriptions whose time is over; returns their number. Several replicas may run this at once."""
    now = now or datetime.now(UTC)
    ended = 0
    async with pool.acquire() as connection:
        for subscription_id in await rows.list_due(connection, now=now, limit=MAX_DUE):
            async with connection.transaction():
                row = await rows.lock_subscription(connection, subscription_id=subscription_id)
                # Another replica may have expired it, or an admin may have extended it.
                is_due = row is not None and row.expires_at is not None and row.expires_at <= now
                if row is None or not is_due or row.status not in ("active", "suspended"):
                    continue
                await _move(connection, SYSTEM, row, "expire", "system", reason=None, expires_at=row.expires_at)
                ended += 1
    return ended


async def find_subscription(pool: "Pool", actor: Actor, subscription_id: int) -> tuple[Subscription, list[HistoryRow]]:
    """With its history, oldest first. Raises GatewayError `not_found`."""
    async with pool.acquire() as connection:
        row = await rows.find_subscription(connection, subscription_id) if 0 < subscription_id <= MAX_ID else None
        if row is None or not await is_seen(connection, actor, row.account_id):
            raise GatewayError("not_found", f"There is no subscription {subscription_id}.")
        return row, await rows.list_history(connection, subscription_id)


async def decide_subscriptions(
    pool: "Pool", actor: Actor, subscription_ids: Sequence[int], decision: Decision, *, reason: str | None = None
) -> list[Decided[Status]]:
    """Approves or denies many, in the order given, each id once. An error for one does not affect the others.

    Raises GatewayError `forbidden`, or `validation_failed` if the reason is missing or there are too many ids.
    """
    require_admin(actor)
    checked = check_decision_reason(decision, reason)
    if not 1 <= len(subscription_ids) <= MAX_DECISIONS:
        raise invalid("subscription_ids", f"Name 1 to {MAX_DECISIONS} subscriptions.")

    async def decide(subscription_id: int) -> Status:
        return (await change_subscription(pool, actor, subscription_id, decision, reason=checked)).status

    return await decide_each(subscription_ids, decide)


async def list_subscriptions(
    pool: "Pool",
    actor: Actor,
    *,
    account: int | None = None,
    user: str | None = None,
    team: str | None = None,
    model: str | None = None,
    status: str | None = None,
    limit: int = 100,
    cursor: str | None = None,
) -> Page[Subscription]:
    """By id: all subscriptions the actor may see, or those of one account, model or status."""
    viewer = viewer_of(actor)
    check_limit(limit)
    known = None if status is None else cast("Status", check_word("status", status, STATUSES))
    async with pool.acquire() as connection:
        account_id = account
        if user is not None or team is not None:
            named = (await get_one_account(connection, actor, user=user, team=team)).id
            if account is not None and account != named:
                raise invalid_now("account", "account is not the account of the user or team.")
            account_id = named
        about = None if model is None else await get_seen_model(connection, actor, model)
        found = await rows.list_subscriptions(
            connection,
            after_id=parse_id_cursor(cursor),
            limit=limit + 1,
            account_id=account_id,
            status=known,
            model_id=about.id if about else None,
            viewer_id=viewer,
        )
    return page(found, limit, lambda row: row.id)


def _already_exists(existing: Subscription, party: Party) -> GatewayError:
    allowed = list(allowed_actions(existing.status, party))
    return GatewayError(
        "conflict",
        f"'{existing.account_name}' already has subscription {existing.id} to '{existing.model_name}', "
        f"which is {existing.status}. Allowed actions: {', '.join(allowed) or 'none'}.",
        details={"id": existing.id, "status": existing.status, "allowed": allowed},
    )


async def _check_offer(executor: "Executor", account: accounts.Account, model: "Model") -> None:
    check_offered(model.name, model.status)
    if account.status != "active":
        raise GatewayError("conflict", f"Account '{account.name}' is suspended.")
    if account.owner_user_id is not None:
        owner = await get_user(executor, str(account.owner_user_id))
        if owner.status != "active":
            raise GatewayError("conflict", f"'{owner.email}' is deactivated.")


async def _begin(executor: "Executor", actor: Actor, subscription_id: int) -> Subscription:
    """Completes a new subscription: its first history row, the default limits, the audit row."""
    row = await _get(executor, subscription_id)
    await rows.insert_history(executor, row.id, from_status=None, to_status=row.status, actor=actor.name, reason=None)
    target = Target(account_id=row.account_id, level="subscription", subscription_id=row.id)
    settings = await read_settings(executor)
    for kind, amount in (
        ("requests", settings.subscription_default_monthly_requests),
        ("tokens", settings.subscription_default_monthly_tokens),
    ):
        if amount is not None:
            await apply_limit(executor, actor, target, LimitInput(kind=kind, window="month", amount=amount))
    new = {"account_id": row.account_id, "model": row.model_name, "status": row.status, "expires_at": row.expires_at}
    await note(executor, actor, "subscription.create", "subscription", row.id, new=new)
    await notify_subscription(executor, row, actor)
    return row


async def _move(
    executor: "Executor",
    actor: Actor,
    row: Subscription,
    action: Action,
    party: Party,
    *,
    reason: str | None,
    expires_at: datetime | None,
) -> Subscription:
    """Performs a transition of a locked row. `expires_at` is for `renew` only: other actions leave it as it was."""
    is_over = row.expires_at is not None and row.expires_at <= datetime.now(UTC)
    target = target_of(
        row.status,
        action,
        party,
        is_restricted=row.is_restricted,
        cancelled_active=row.cancelled_active and not is_over,
    )
    if action != "renew":
        expires_at = row.expires_at
    elif target == "active" and row.expires_at is not None:
        # Cancelling and renewing must not extend the time.
        expires_at = row.expires_at if expires_at is None else min(expires_at, row.expires_at)
    await rows.update_status(
        executor,
        row.id,
        status=target,
        reason=reason,
        cancelled_active=action == "cancel" and party == "owner" and row.status == "active",
        expires_at=expires_at,
    )
    await rows.insert_history(
        executor, row.id, from_status=row.status, to_status=target, actor=actor.name, reason=reason
    )
    old: dict[str, object] = {"status": row.status}
    new: dict[str, object] = {"status": target, "reason": reason}
    if expires_at != row.expires_at:
        old["expires_at"], new["expires_at"] = row.expires_at, expires_at
    await note(executor, actor, f"subscription.{action}", "subscription", row.id, old=old, new=new)
    moved = await _get(executor, row.id)
    await notify_subscription(executor, moved, actor)
    return moved


async def _get(executor: "Executor", subscription_id: int) -> Subscription:
    row = await rows.find_subscription(executor, subscription_id)
    if row is None:
        raise RuntimeError("a subscription written in this transaction was not found")
    return row
