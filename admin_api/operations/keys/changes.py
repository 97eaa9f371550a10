"""Changes of an existing key: update, rotate, archive."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from admin_api.operations.access import lock_own_key
from admin_api.operations.actors import Actor, check_not_archived, note
from admin_api.operations.keys.keys import NewKey, check_models
from admin_api.operations.keys.rules import check_expiry
from admin_api.operations.lookups import get_key
from admin_api.operations.preconditions import check_version, version_of
from admin_api.operations.runtime_settings import read_settings
from admin_api.operations.validation import MAX_NAME, check_future, check_networks, check_text, invalid
from admin_api.storage import accounts, api_key_changes, api_keys
from admin_api.storage.api_keys import APIKey
from gateway.domain.errors import GatewayError
from gateway.domain.keys import Peppers, new_key

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor, Pool

DEFAULT_GRACE_S: Final = 24 * 3600
MAX_GRACE_S: Final = 30 * 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyChange:
    """The fields to change; None leaves a field as it is. `never_expires` removes the expiry time."""

    name: str | None = None
    models: Sequence[str] | None = None
    allowed_ips: Sequence[str] | None = None
    expires_at: datetime | None = None
    never_expires: bool = False


async def update_key(pool: "Pool", actor: Actor, key_id: int, change: KeyChange, *, as_of: str | None = None) -> APIKey:
    """Models that are added need an active subscription. A key without models has no access.

    Raises GatewayError `not_found`, `forbidden`, `conflict` for a revoked or expired key, `validation_failed`, or
    `precondition_failed` if `as_of` does not match the key.
    """
    expires_at = check_future("expires_at", change.expires_at)
    async with pool.acquire() as connection, connection.transaction():
        old = await _lock_active(connection, actor, key_id, as_of)
        new = replace(
            old,
            name=old.name if change.name is None else check_text("name", change.name, maximum=MAX_NAME),
            allowed_ips=old.allowed_ips if change.allowed_ips is None else check_networks(change.allowed_ips),
            models=old.models if change.models is None else sorted(set(change.models)),
            expires_at=None if change.never_expires else expires_at or old.expires_at,
        )
        if new == old:
            return old
        if new.expires_at != old.expires_at:
            settings = await read_settings(connection)
            check_expiry(settings, new.expires_at, by_owner=actor.role == "user", is_new=False)
        if new.models != old.models:
            await _set_models(connection, actor, old, new.models)
        await api_key_changes.update_key(
            connection, key_id, name=new.name, allowed_ips=new.allowed_ips, expires_at=new.expires_at
        )
        changed = [n for n in ("name", "models", "allowed_ips", "expires_at") if getattr(old, n) != getattr(new, n)]
        await note(
            connection,
            actor,
            "key.update",
            "key",
            key_id,
            old={field: getattr(old, field) for field in changed},
            new={field: getattr(new, field) for field in changed},
        )
        return await get_key(connection, key_id)


async def rotate_key(
    pool: "Pool",
    actor: Actor,
    peppers: Peppers,
    key_id: int,
    *,
    grace_s: int = DEFAULT_GRACE_S,
    as_of: str | None = None,
) -> NewKey:
    """Gives a key a new secret, which is shown once. The old secret ends after `grace_s` seconds.

    Limits, counters, models and usage stay with the key. Raises GatewayError `conflict` for a revoked or expired key,
    and while an older secret still works (with a grace of 0 both end); `forbidden` for team owners if the key is a
    member's, as only the member may see it; or `precondition_failed`.
    """
    if not 0 <= grace_s <= MAX_GRACE_S:
        raise invalid("grace_s", f"grace_s must be a number of seconds from 0 to {MAX_GRACE_S}.")
    secret = new_key()
    async with pool.acquire() as connection, connection.transaction():
        old = await _lock_active(connection, actor, key_id, as_of)
        if actor.role == "user" and old.user_id not in (None, actor.user_id):
            raise GatewayError("forbidden", "Only the member can rotate their key. You can revoke it.")
        now = datetime.now(UTC)
        if grace_s and old.previous_ends_at is not None and old.previous_ends_at > now:
            raise GatewayError(
                "conflict",
                f"Key {key_id} was rotated recently, and its previous secret works until "
                f"{old.previous_ends_at.isoformat()}. Wait until then, or rotate "
                "without a grace period (grace_s: 0, --grace-s 0), which ends both.",
                details={"previous_ends_at": old.previous_ends_at.isoformat()},
            )
        await api_key_changes.update_rotated(
            connection,
            key_id,
            digest=peppers.digest(secret, peppers.newest),
            pepper_version=peppers.newest,
            last_four=secret[-4:],
            previous_ends_at=now + timedelta(seconds=grace_s) if grace_s else None,
        )
        row = await get_key(connection, key_id)
        new = {"last_four": row.last_four, "previous_ends_at": row.previous_ends_at}
        await note(connection, actor, "key.rotate", "key", key_id, old={"last_four": old.last_four}, new=new)
    return NewKey(row, secret)


async def archive_key(
    pool: "Pool", actor: Actor, key_id: int, *, archived: bool = True, as_of: str | None = None
) -> APIKey:
    """Hides a revoked or expired key from the lists, or shows it again. The key itself stays ended.

    Raises GatewayError `not_found`, `forbidden`, `conflict` for an active key, or `precondition_failed`.
    """
    async with pool.acquire() as connection, connection.transaction():
        key = await lock_own_key(connection, actor, key_id)
        check_version(version_of(key), as_of)
        if key.is_active(datetime.now(UTC)):
            raise GatewayError("conflict", f"Key {key_id} is active. Revoke it before archiving it.")
        if (key.archived_at is not None) == archived:
            return key
        await api_key_changes.update_archived(connection, key_id, archived=archived)
        verb, old = "archive" if archived else "unarchive", {"archived_at": key.archived_at}
        key = await get_key(connection, key_id)
        await note(connection, actor, f"key.{verb}", "key", key_id, old=old, new={"archived_at": key.archived_at})
        return key


async def _lock_active(executor: "Executor", actor: Actor, key_id: int, as_of: str | None) -> APIKey:
    key = await lock_own_key(executor, actor, key_id)
    check_version(version_of(key), as_of)
    if not key.is_active(datetime.now(UTC)):
        raise GatewayError("conflict", f"Key {key_id} is revoked or expired. Create a new key.")
    account = await accounts.find_account(executor, key.account_id)
    if account is not None:
        check_not_archived(account)
    return key


async def _set_models(executor: "Executor", actor: Actor, key: APIKey, names: Sequence[str]) -> None:
    account = await accounts.find_account(executor, key.account_id)
    if account is None:
        raise RuntimeError("a key has no account, in spite of the foreign key")
    kept = set(key.models) & set(names)
    added = [name for name in names if name not in kept]
    found = await check_models(executor, actor, account, added) if added else []
    await api_key_changes.keep_key_models(executor, key.id, sorted(kept))
    await api_keys.insert_key_models(executor, key.id, [model.id for model in found])
