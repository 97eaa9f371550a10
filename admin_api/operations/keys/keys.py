"""API keys: create, find, list, revoke. A key's secret is visible only when it is created."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from admin_api.operations.access import get_listed_key, get_seen_account, get_seen_model, lock_own_key, viewer_of
from admin_api.operations.actors import Actor, check_not_archived, note, party_of
from admin_api.operations.keys.rules import apply_key_limits, check_expiry, check_room
from admin_api.operations.lookups import get_key, get_user
from admin_api.operations.pagination import Page, check_limit, page, parse_id_cursor, parse_time_cursor, time_cursor
from admin_api.operations.preconditions import check_version, version_of
from admin_api.operations.runtime_settings import read_settings
from admin_api.operations.validation import MAX_NAME, check_future, check_moment, check_networks, check_text, invalid
from admin_api.storage import accounts, api_key_changes, api_keys, models, subscriptions
from admin_api.storage import users as user_rows
from admin_api.storage.api_keys import APIKey
from admin_api.storage.limits import LimitRow, Target
from gateway.domain.errors import GatewayError
from gateway.domain.keys import Peppers, new_key
from gateway.domain.model_status import check_offered

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor, Pool


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyInput:
    """A key to create. With `user` alone it is in the user's personal account (by default the actor's), with `team`
    alone it is a service key, and with both it is a member's key in the team. `rpm` and the fields after it are limits
    at level key; None means the default."""

    models: Sequence[str]
    user: str | None = None
    team: str | None = None
    name: str = ""
    allowed_ips: Sequence[str] = ()
    expires_at: datetime | None = None
    rpm: int | None = None
    tpm: int | None = None
    concurrency: int | None = None
    monthly_cost_nano_usd: int | None = None


@dataclass(frozen=True, slots=True)
class NewKey:
    """A new key: its row, its secret, which is shown once and never stored, and the limits that were set on it."""

    row: APIKey
    secret: str
    limits: Sequence[LimitRow] = ()

    def __repr__(self) -> str:
        return f"NewKey(row={self.row!r}, secret='…')"


async def create_key(pool: "Pool", actor: Actor, peppers: Peppers, input_: KeyInput) -> NewKey:
    """Creates a key with its models and limits, in one transaction.

    Raises GatewayError `conflict` for a model that is unlisted, disabled or without an active subscription, or if the
    account has its maximum number of keys; `validation_failed` for a value above a ceiling; `forbidden`.
    """
    name = check_text("name", input_.name, maximum=MAX_NAME)
    networks = check_networks(input_.allowed_ips)
    expires_at = check_future("expires_at", input_.expires_at)
    secret = new_key()
    by_owner = actor.role == "user"
    async with pool.acquire() as connection, connection.transaction():
        account, person = await _find_owner(connection, actor, input_)
        settings = await read_settings(connection)
        if by_owner:
            # Under the account's lock, so that concurrent requests cannot exceed the maximum.
            await check_room(connection, account, settings)
        granted = await check_models(connection, actor, account, input_.models)
        key_id = await api_keys.insert_key(
            connection,
            account_id=account.id,
            user_id=person.id if person else None,
            name=name,
            digest=peppers.digest(secret, peppers.newest),
            pepper_version=peppers.newest,
            last_four=secret[-4:],
            allowed_ips=networks,
            expires_at=check_expiry(settings, expires_at, by_owner=by_owner, is_new=True),
            created_by=actor.name,
        )
        await api_keys.insert_key_models(connection, key_id, [model.id for model in granted])
        target = Target(account_id=account.id, level="key", api_key_id=key_id)
        limits = await apply_key_limits(connection, actor, target, settings, input_, by_owner=by_owner)
        row = await get_key(connection, key_id)
        await note(connection, actor, "key.create", "key", key_id, new=audit_fields(row))
    return NewKey(row, secret, limits)


async def revoke_key(pool: "Pool", actor: Actor, key_id: int, *, as_of: str | None = None) -> APIKey:
    """Every gateway rejects the key within a second. Revoking it again has no effect. Raises GatewayError `not_found`,
    or `precondition_failed` if `as_of` does not match the key."""
    async with pool.acquire() as connection, connection.transaction():
        key = await lock_own_key(connection, actor, key_id)
        check_version(version_of(key), as_of)
        if await api_key_changes.update_revoked(connection, key_id):
            key = await get_key(connection, key_id)
            new = {"revoked_at": key.revoked_at}
            await note(connection, actor, "key.revoke", "key", key_id, old={"revoked_at": None}, new=new)
    return key


async def find_key(pool: "Pool", actor: Actor, key_id: int) -> APIKey:
    """Raises GatewayError `not_found`, also for a key the actor may not see."""
    async with pool.acquire() as connection:
        return await get_listed_key(connection, actor, key_id)


async def list_keys(
    pool: "Pool",
    actor: Actor,
    *,
    user: str | None = None,
    team: str | None = None,
    archived: bool = False,
    last_used_before: datetime | None = None,
    limit: int = 100,
    cursor: str | None = None,
) -> Page[APIKey]:
    """By id, including revoked keys: all keys the actor may see, the keys of a team, or those of a user in all their
    accounts. Archived keys are included with `archived`. With `last_used_before` those that were not used since, or if
    never, are older, without revoked and archived ones, the longest unused first."""
    viewer = viewer_of(actor)
    check_limit(limit)
    before = None if last_used_before is None else check_moment("last_used_before", last_used_before)
    if before is not None and archived:
        raise invalid("archived", "Archived keys are not listed by their last use.")
    async with pool.acquire() as connection:
        account = await get_seen_account(connection, actor, user=None, team=team) if team is not None else None
        person = None
        if user is not None:
            person = await _find_holder(connection, actor, account, user)
        which = {"account_id": account.id if account else None, "user_id": person, "viewer_id": viewer}
        if before is not None:
            after = parse_time_cursor(cursor)
            idle = await api_keys.list_idle_keys(connection, before=before, after=after, limit=limit + 1, **which)
            return page(idle, limit, lambda row: time_cursor(row.idle_since, row.id))
        rows = await api_keys.list_keys(
            connection, after_id=parse_id_cursor(cursor), limit=limit + 1, archived=archived, **which
        )
    return page(rows, limit, lambda row: row.id)


async def _find_holder(executor: "Executor", actor: Actor, account: accounts.Account | None, user: str) -> int | None:
    """The id of the user whose keys are listed: a member of the named team, if the actor owns it, or the actor. Raises
    GatewayError `not_found`, also for users the actor may not see."""
    if account is not None and actor.role == "user":
        members = {member.user_id: member for member in await accounts.list_members(executor, account.id)}
        own_membership = members.get(actor.user_id or 0)
        for member in members.values():
            if (
                own_membership is not None
                and own_membership.role == "owner"
                and user.strip().lower() in (str(member.user_id), member.email)
            ):
                return member.user_id
    return (await get_seen_account(executor, actor, user=user, team=None)).owner_user_id


async def _find_owner(
    executor: "Executor", actor: Actor, input_: KeyInput
) -> tuple[accounts.Account, user_rows.User | None]:
    """The account of the new key, locked, and its user; None for a service key. Raises GatewayError `forbidden` unless
    the key is the actor's own, or the actor owns the team or is an admin."""
    account = await get_seen_account(executor, actor, user=input_.user, team=input_.team)
    # Serializes this with the removal of the member from the team, and with its archiving.
    await accounts.lock_account(executor, account.id)
    account = await get_seen_account(executor, actor, user=input_.user, team=input_.team)
    user = input_.user
    if account.owner_user_id is not None:
        user = str(account.owner_user_id)
    # Before the lookup: a member must not learn whether somebody has an account.
    if actor.role != "user" or user is None:
        await party_of(executor, actor, account)
    elif user.strip().lower() not in (str(actor.user_id), actor.name):
        raise GatewayError("forbidden", "Members create their own keys: nobody else may see them.")
    check_not_archived(account)
    return account, await _find_person(executor, account, user)


async def _find_person(executor: "Executor", account: accounts.Account, user: str | None) -> user_rows.User | None:
    """The user of the new key; None for a service key. Errors about a team name the user as the request did, so that an
    id does not reveal an e-mail address."""
    if user is None:
        return None
    person = await get_user(executor, user)
    if person.status != "active":
        raise GatewayError("conflict", f"'{person.email if account.kind == 'personal' else user}' is deactivated.")
    if account.kind == "personal":
        return person
    if await accounts.find_member(executor, account_id=account.id, user_id=person.id) is None:
        raise GatewayError("conflict", f"'{user}' is not in team '{account.name}'. Add them first.")
    return person


async def check_models(
    executor: "Executor", actor: Actor, account: accounts.Account, names: Sequence[str]
) -> list[models.Model]:
    """The requested models, each with an active subscription. A subscription that ends later does no harm: the gateway
    checks it on each call."""
    if not names:
        raise invalid("models", "Name at least one model: a key without models has no access.")
    found = [await get_seen_model(executor, actor, name) for name in dict.fromkeys(names)]
    statuses = await subscriptions.list_statuses(executor, account.id, [model.id for model in found])
    for model in found:
        check_offered(model.name, model.status, param="models")
        status = statuses.get(model.id)
        if status == "active":
            continue
        if status is None:
            advice = f"'{account.name}' has no subscription to '{model.name}'. Subscribe to it first."
        elif status == "pending":
            advice = f"The subscription of '{account.name}' to '{model.name}' is waiting for an admin's approval."
        else:
            advice = f"The subscription of '{account.name}' to '{model.name}' is {status}. It must be active."
        raise GatewayError("conflict", advice, param="models", details={"model": model.name, "status": status})
    return found


def audit_fields(row: APIKey) -> dict[str, object]:
    """The fields of a key in an audit row."""
    names = ("account_id", "user_id", "name", "last_four", "models", "allowed_ips", "expires_at")
    return {name: getattr(row, name) for name in names}
