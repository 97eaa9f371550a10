"""API keys: made (the only moment anyone sees one), listed, revoked."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from admin_api.operations.actors import Actor, note, party_of, require_reader
from admin_api.operations.checks import MOST_NAME, check_future, check_networks, check_text, invalid
from admin_api.operations.limits import LimitWish, apply_limit
from admin_api.operations.lookups import get_account, get_key, get_model, get_user
from admin_api.operations.pages import Page, check_limit, page, parse_id_cursor
from gateway.domain.errors import GatewayError
from gateway.domain.keys import Peppers, new_key
from gateway.storage import accounts, api_keys, models, subscriptions
from gateway.storage.api_keys import APIKey
from gateway.storage.limits import Target

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor, Pool


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyWish:
    """A key to be made: a user's in his personal account, a team's service key, or, with both, a member's in the
    team. `rpm`, `tpm` and `concurrency` are limits at level key; None is unlimited."""

    models: Sequence[str]
    user: str | None = None
    team: str | None = None
    name: str = ""
    allowed_ips: Sequence[str] = ()
    expires_at: datetime | None = None
    rpm: int | None = None
    tpm: int | None = None
    concurrency: int | None = None


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key and what is stored of it. The key itself is shown once and stored nowhere."""

    row: APIKey
    secret: str

    def __repr__(self) -> str:
        return f"NewKey(row={self.row!r}, secret='…')"


async def create_key(pool: "Pool", actor: Actor, peppers: Peppers, wish: KeyWish) -> NewKey:
    """Makes a key with its models and limits, or nothing of it.

    Raises GatewayError `conflict` for a model without an active subscription, saying what to do.
    """
    name = check_text("name", wish.name, most=MOST_NAME)
    networks = check_networks(wish.allowed_ips)
    expires_at = check_future("expires_at", wish.expires_at)
    secret = new_key()
    async with pool.acquire() as connection, connection.transaction():
        account = await get_account(connection, user=wish.user, team=wish.team)
        await party_of(connection, actor, account)
        # A member who is leaving and his new key come one after the other.
        await accounts.lock_account(connection, account.id)
        person = await _find_person(connection, account, wish.user)
        granted = await _check_models(connection, account, wish.models)
        key_id = await api_keys.insert_key(
            connection,
            account_id=account.id,
            user_id=person.id if person else None,
            name=name,
            digest=peppers.digest(secret, peppers.newest),
            pepper_version=peppers.newest,
            last_four=secret[-4:],
            allowed_ips=networks,
            expires_at=expires_at,
            created_by=actor.name,
        )
        await api_keys.insert_key_models(connection, key_id, [model.id for model in granted])
        target = Target(account_id=account.id, level="key", api_key_id=key_id)
        for kind, amount in (("rpm", wish.rpm), ("tpm", wish.tpm), ("concurrency", wish.concurrency)):
            if amount is not None:
                await apply_limit(connection, actor, target, LimitWish(kind=kind, amount=amount))
        row = await get_key(connection, key_id)
        await note(connection, actor, "key.create", "key", key_id, new=_told(row))
    return NewKey(row, secret)


async def revoke_key(pool: "Pool", actor: Actor, key_id: int) -> APIKey:
    """Refused by every gateway within a second; revoking again changes nothing. Raises GatewayError `not_found`."""
    async with pool.acquire() as connection, connection.transaction():
        key = await get_key(connection, key_id)
        account = await accounts.find_account(connection, key.account_id)
        if account is None:
            raise RuntimeError("a key's account is held by a foreign key")
        if actor.user_id is None or actor.user_id != key.user_id:
            await party_of(connection, actor, account)
        if await api_keys.update_revoked(connection, key_id):
            key = await get_key(connection, key_id)
            new = {"revoked_at": key.revoked_at}
            await note(connection, actor, "key.revoke", "key", key_id, old={"revoked_at": None}, new=new)
    return key


async def find_key(pool: "Pool", actor: Actor, key_id: int) -> APIKey:
    """Raises GatewayError `not_found`."""
    require_reader(actor)
    async with pool.acquire() as connection:
        return await get_key(connection, key_id)


async def list_keys(
    pool: "Pool",
    actor: Actor,
    *,
    user: str | None = None,
    team: str | None = None,
    limit: int = 100,
    cursor: str | None = None,
) -> Page[APIKey]:
    """By id, revoked ones too; all, a team's, or a user's in all his accounts."""
    require_reader(actor)
    check_limit(limit)
    async with pool.acquire() as connection:
        account = await get_account(connection, user=None, team=team) if team is not None else None
        person = await get_user(connection, user) if user is not None else None
        rows = await api_keys.list_keys(
            connection,
            after_id=parse_id_cursor(cursor),
            limit=limit + 1,
            account_id=account.id if account else None,
            user_id=person.id if person else None,
        )
    return page(rows, limit, lambda row: row.id)


async def _find_person(executor: "Executor", account: accounts.Account, user: str | None) -> accounts.User | None:
    """Whose key it will be; None for a service key."""
    if user is None:
        return None
    person = await get_user(executor, user)
    if person.status != "active":
        raise GatewayError("conflict", f"'{person.email}' is deactivated.")
    if account.kind == "personal":
        return person
    if await accounts.find_member(executor, account_id=account.id, user_id=person.id) is None:
        raise GatewayError("conflict", f"'{person.email}' is not in team '{account.name}'; add him first.")
    return person


async def _check_models(executor: "Executor", account: accounts.Account, names: Sequence[str]) -> list[models.Model]:
    """The models asked for. One whose subscription ends meanwhile does no harm: the gateway judges it at each call."""
    if not names:
        raise invalid("models", "Name one model or more: a key without models has no access.")
    found = [await get_model(executor, name) for name in dict.fromkeys(names)]
    statuses = await subscriptions.list_statuses(executor, account.id, [model.id for model in found])
    for model in found:
        status = statuses.get(model.id)
        if status == "active":
            continue
        if status is None:
            advice = f"'{account.name}' has no subscription to '{model.name}': subscribe to it first."
        elif status == "pending":
            advice = f"The subscription of '{account.name}' to '{model.name}' waits for an admin to approve it."
        else:
            advice = f"The subscription of '{account.name}' to '{model.name}' is {status}; it has to be active."
        raise GatewayError("conflict", advice, param="models", details={"model": model.name, "status": status})
    return found


def _told(row: APIKey) -> dict[str, object]:
    names = ("account_id", "user_id", "name", "last_four", "models", "allowed_ips", "expires_at")
    return {name: getattr(row, name) for name in names}
