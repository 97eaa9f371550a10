"""Sessions of browsers: opened by a login, found by their cookie on any replica, ended one by one or all at once."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

from admin_api.encryption import SecretKeys
from admin_api.operations.actors import Actor, note
from admin_api.operations.people.logins import Person
from admin_api.operations.people.personal_tokens import refused
from admin_api.storage import accounts, sessions
from admin_api.storage.accounts import User
from admin_api.storage.sessions import Provider, Session
from gateway.domain.errors import GatewayError
from gateway.domain.keys import Peppers, is_well_formed, new_key

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor, Pool

# Of a session's id, which has a key's form.
ID_PREFIX: Final = "lms-"
PURPOSE: Final = "session cookie"
MAX_AGENT: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionTimes:
    """Seconds until a session that is not used ends, and until any does."""

    idle_s: float
    lifetime_s: float


async def open_session(
    pool: "Pool",
    peppers: Peppers,
    keys: SecretKeys,
    user: User,
    *,
    person: Person | None = None,
    provider: Provider,
    times: SessionTimes,
    request_id: UUID | None,
    ip: str | None,
    user_agent: str | None,
) -> str:
    """The cookie's value: the id and its signature. Only the id's digest is stored. Raises GatewayError `forbidden` for
    one who was deactivated, or as `person` unlinked, since he was admitted: his sessions were ended, and this one would
    be missed."""
    secret = new_key(ID_PREFIX)
    agent = "".join(c for c in user_agent or "" if c.isprintable())[:MAX_AGENT]
    async with pool.acquire() as connection, connection.transaction():
        current = await accounts.lock_user(connection, user.id)
        if current is None or current.status != "active":
            raise GatewayError("forbidden", f"'{user.email}' is deactivated; ask an admin.")
        if person is not None and not await _is_linked(connection, person, user):
            raise GatewayError("forbidden", f"You were unlinked from '{user.email}' just now; log in again.")
        session_id = await sessions.insert_session(
            connection,
            user_id=user.id,
            digest=peppers.digest(secret, peppers.newest),
            provider=provider,
            ip=ip,
            user_agent=agent or None,
            lifetime_s=times.lifetime_s,
        )
        actor = Actor(name=user.email, role=user.role, user_id=user.id, request_id=request_id, ip=ip)
        new = {"provider": provider, "user_id": user.id}
        await note(connection, actor, "session.open", "session", session_id, new=new)
        await sessions.delete_old(connection)
    return f"{secret}.{keys.sign(secret, purpose=PURPOSE)}"


async def _is_linked(executor: "Executor", person: Person, user: User) -> bool:
    known = await sessions.find_identity(executor, issuer=person.issuer, subject=person.subject)
    return known is not None and known.user_id == user.id


async def log_in_by_session(
    pool: "Pool",
    peppers: Peppers,
    keys: SecretKeys,
    cookie: str,
    times: SessionTimes,
    *,
    request_id: UUID | None,
    ip: str | None,
) -> Actor:
    """Whose session it is, now. Raises GatewayError `not_authenticated`."""
    secret = _checked(keys, cookie)
    login = None
    if secret is not None:
        async with pool.acquire() as connection:
            login = await sessions.find_login(connection, peppers.digests(secret), idle_s=times.idle_s)
            if login is not None and not login.is_over and not login.is_noted:
                await sessions.update_seen(connection, login.session_id, idle_s=times.idle_s)
    if login is None or login.is_over:
        raise refused("Your session is over; log in again.")
    if login.user_status != "active":
        raise refused("You are deactivated; ask an admin.")
    return Actor(
        name=login.email,
        role=login.user_role,
        user_id=login.user_id,
        request_id=request_id,
        ip=ip,
        session_id=login.session_id,
        provider=login.provider,
    )


async def list_sessions(pool: "Pool", actor: Actor, times: SessionTimes) -> list[Session]:
    """One's own that work now, newest first, 100 at most."""
    if actor.user_id is None:
        return []
    async with pool.acquire() as connection:
        return await sessions.list_sessions(connection, actor.user_id, idle_s=times.idle_s)


async def end_sessions(pool: "Pool", actor: Actor, *, session_id: int | None = None, all_of_them: bool = False) -> int:
    """The one the actor came with, the one named, or all of his; how many ended. Over from the next call on.

    Raises GatewayError `not_found` for a session that is not his.
    """
    if actor.user_id is None:
        return 0
    which = None if all_of_them else session_id or actor.session_id
    if which is None and not all_of_them:
        return 0
    async with pool.acquire() as connection, connection.transaction():
        ended = await sessions.end_sessions(connection, actor.user_id, session_id=which)
        if session_id is not None and not ended:
            raise GatewayError("not_found", f"You have no session {session_id} that is open.")
        for one in ended:
            await note(connection, actor, "session.end", "session", one, new={"user_id": actor.user_id})
    return len(ended)


def _checked(keys: SecretKeys, cookie: str) -> str | None:
    """The id in a cookie that was signed here; no other one costs a look-up."""
    secret, _, signature = cookie.partition(".")
    is_ours = is_well_formed(secret, ID_PREFIX) and keys.is_signed(secret, signature, purpose=PURPOSE)
    return secret if is_ours else None
