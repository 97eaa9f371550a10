"""The key of a browser's session, with which the playground calls the gateway in the name of its user.

Its secret is stored nowhere. It is derived from the session's cookie, which only the browser has, and from
LITEMAAS_SECRET_KEYS, which only the deployment has: neither the database, nor the settings, nor the browser alone can
make it, and it ends with the session. It acts for the user's own account, with each model that the account is
subscribed to, under the limits of a key that the user would make.
"""

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from admin_api.encryption import SecretKeys
from admin_api.operations.actors import Actor, note
from admin_api.operations.keys.keys import KeyInput, audit_fields
from admin_api.operations.keys.rules import apply_key_limits
from admin_api.operations.lookups import get_key
from admin_api.operations.people.personal_tokens import rejected_login
from admin_api.operations.runtime_settings import read_settings
from admin_api.storage import session_keys, users
from admin_api.storage.limits import Target
from gateway.domain.keys import Peppers, derived_key

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor, Pool

# What usage and limits name it.
NAME: Final = "Playground"
PURPOSE: Final = "session key"
DIGEST_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class SessionKeys:
    """How keys of sessions are made: the peppers of all keys, the deployment's secret, and how long one lasts after
    its last use, in seconds."""

    peppers: Peppers
    secret_keys: SecretKeys
    lifetime_s: float


async def open_session_key(pool: "Pool", actor: Actor, made: SessionKeys, cookie: str) -> str:
    """The secret of the key of the actor's session, whose cookie this is; from now on it works for its lifetime, or
    for at least half of it. Raises GatewayError `not_authenticated` without an open session."""
    if actor.session_id is None or actor.user_id is None:
        raise rejected_login("The playground is for browsers that have logged in.")
    # One a version of the deployment's secret, newest first: replicas may still have another newest one.
    derived = [derived_key(digest) for digest in made.secret_keys.digests(cookie, purpose=PURPOSE)]
    async with pool.acquire() as connection:
        found = await session_keys.find_session_key(connection, actor.session_id, lifetime_s=made.lifetime_s)
        secret = derived[0]
        if found is not None:
            secret = next((one for one in derived if found.digest in made.peppers.digests(one)), secret)
            if found.is_fresh and found.digest in made.peppers.digests(secret):
                return secret
        async with connection.transaction():
            is_open = await session_keys.upsert_session_key(
                connection,
                actor.session_id,
                api_key_id=await _key_of(connection, actor, actor.user_id),
                digest=made.peppers.digest(secret, made.peppers.newest),
                lifetime_s=made.lifetime_s,
            )
            if not is_open:
                raise rejected_login("Your session has expired. Log in again.")
    return secret


async def _key_of(executor: "Executor", actor: Actor, user_id: int) -> int:
    """The key that all sessions of the user share, made at the first call: with one for each session, a new login
    would begin its limits and its budget again."""
    user = await users.lock_user(executor, user_id)
    if user is None or user.status != "active":
        raise rejected_login("Your user is deactivated. Ask an admin.")
    key_id = await session_keys.find_key_of_user(executor, user_id)
    if key_id is not None:
        return key_id
    key_id = await session_keys.insert_key(
        executor,
        account_id=user.account_id,
        user_id=user_id,
        name=NAME,
        digest=secrets.token_bytes(DIGEST_BYTES),
        created_by=actor.name,
    )
    target = Target(account_id=user.account_id, level="key", api_key_id=key_id)
    settings = await read_settings(executor)
    await apply_key_limits(executor, actor, target, settings, KeyInput(models=()), by_owner=actor.role == "user")
    await note(executor, actor, "key.create", "key", key_id, new=audit_fields(await get_key(executor, key_id)))
    return key_id
