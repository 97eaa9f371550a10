"""Browser sessions: opened by a login, found by their cookie on any replica, ended one by one or all at once."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

from admin_api.encryption import SecretKeys
from admin_api.operations.actors import Actor, note, require_admin, require_reader
from admin_api.operations.lookups import get_user
from admin_api.operations.pagination import MAX_ID, Page, check_limit, page, parse_id_cursor
from admin_api.operations.people.logins import Person
from admin_api.operations.people.personal_tokens import rejected_login
from admin_api.operations.people.refused_logins import LoginRefused
from admin_api.storage import sessions, users
from admin_api.storage.sessions import Provider, Session
from admin_api.storage.users import User
from gateway.domain.errors import GatewayError
from gateway.domain.keys import Peppers, is_well_formed, new_key

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor, Pool

# Prefix of a session id, which has the form of an API key.
ID_PREFIX: Final = "lms-"
PURPOSE: Final = "session cookie"
MAX_AGENT: Final = 300
MAX_SHOWN: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionTimes:
    """Idle timeout and maximum lifetime of a session, in seconds."""

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
    """The value of the cookie: the id and its signature. Only the id's digest is stored. Raises GatewayError
    `forbidden` if the user was deactivated or `person` unlinked since the login, which ended all their sessions."""
    secret, about = new_key(ID_PREFIX), person.about if person else {}
    agent = "".join(c for c in user_agent or "" if c.isprintable())[:MAX_AGENT]
    async with pool.acquire() as connection, connection.transaction():
        current = await users.lock_user(connection, user.id)
        if current is None or current.status != "active":
            raise LoginRefused("deactivated", f"'{user.email}' is deactivated. Ask an admin.", about=about)
        if person is not None and not await _is_linked(connection, person, user):
            raise LoginRefused("unlinked", f"You were just unlinked from '{user.email}'. Log in again.", about=about)
        session_id = await sessions.insert_session(
            connection,
            user_id=user.id,
            digest=peppers.digest(secret, peppers.newest),
            provider=provider,
            ip=ip,
            user_agent=agent or None,
            lifetime_s=times.lifetime_s,
        )
        actor = Actor(name=user.email, role=user.role, user_id=user.id, request_id=request_id, ip=ip, via="login")
        new = {"provider": provider, "user_id": user.id}
        await note(connection, actor, "session.open", "session", session_id, new=new)
        await users.update_last_login(connection, user.id)
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
    """The actor of a session. Raises GatewayError `not_authenticated`."""
    secret = _checked(keys, cookie)
    login = None
    if secret is not None:
        async with pool.acquire() as connection:
            login = await sessions.find_login(connection, peppers.digests(secret), idle_s=times.idle_s)
            if login is not None and not login.is_over and not login.is_noted:
                await sessions.update_seen(connection, login.session_id, idle_s=times.idle_s)
    if login is None or login.is_over:
        raise rejected_login("Your session has expired. Log in again.")
    if login.user_status != "active":
        raise rejected_login("Your user is deactivated. Ask an admin.")
    return Actor(
        name=login.email,
        role=login.user_role,
        user_id=login.user_id,
        request_id=request_id,
        ip=ip,
        session_id=login.session_id,
        provider=login.provider,
        login=f"session:{login.session_id}",
    )


async def list_sessions(pool: "Pool", actor: Actor, times: SessionTimes) -> list[Session]:
    """The actor's active sessions, newest first, at most 100."""
    if actor.user_id is None:
        return []
    async with pool.acquire() as connection:
        return await sessions.list_sessions(
            connection, actor.user_id, idle_s=times.idle_s, before_id=MAX_ID, limit=MAX_SHOWN
        )


async def list_sessions_of(
    pool: "Pool", actor: Actor, user: str, *, idle_s: float, limit: int = MAX_SHOWN, cursor: str | None = None
) -> Page[Session]:
    """Any user's active sessions, newest first. Raises GatewayError `not_found`, `validation_failed`."""
    require_reader(actor)
    check_limit(limit)
    before_id = parse_id_cursor(cursor, first=MAX_ID)
    async with pool.acquire() as connection:
        found = await get_user(connection, user)
        rows = await sessions.list_sessions(connection, found.id, idle_s=idle_s, before_id=before_id, limit=limit + 1)
    return page(rows, limit, lambda row: row.id)


async def end_sessions_of(pool: "Pool", actor: Actor, user: str, *, session_id: int | None = None) -> int:
    """Ends all sessions of any user, or the given one, from the next call on at every replica. Returns the number.

    The user may log in again: deactivate them to prevent that. Raises GatewayError `not_found`, also for a session that
    is another user's or has ended.
    """
    require_admin(actor)
    async with pool.acquire() as connection, connection.transaction():
        found = await get_user(connection, user)
        # A login that is under way opens its session before or after this, not meanwhile.
        await users.lock_user(connection, found.id)
        return len(await _end(connection, actor, found.id, session_id))


async def end_sessions(pool: "Pool", actor: Actor, *, session_id: int | None = None, all_of_them: bool = False) -> int:
    """Ends the actor's current session, the given one, or all of theirs, from the next call on. Returns the number.

    Raises GatewayError `not_found` for a session of somebody else.
    """
    if actor.user_id is None:
        return 0
    which = None if all_of_them else session_id or actor.session_id
    if which is None and not all_of_them:
        return 0
    async with pool.acquire() as connection, connection.transaction():
        if session_id is None:
            return len(await _end(connection, actor, actor.user_id, which))
        try:
            return len(await _end(connection, actor, actor.user_id, session_id))
        except GatewayError:
            raise GatewayError("not_found", f"You have no open session {session_id}.") from None


async def _end(executor: "Executor", actor: Actor, user_id: int, session_id: int | None) -> list[int]:
    """Raises GatewayError `not_found` if the given one is not open."""
    ended = []
    if session_id is None or 0 < session_id <= MAX_ID:
        ended = await sessions.end_sessions(executor, user_id, session_id=session_id)
    if session_id is not None and not ended:
        raise GatewayError("not_found", f"The user has no open session {session_id}.")
    for one in ended:
        await note(executor, actor, "session.end", "session", one, new={"user_id": user_id})
    return ended


def _checked(keys: SecretKeys, cookie: str) -> str | None:
    """The session id in a cookie with a valid signature. Other cookies cause no query."""
    secret, _, signature = cookie.partition(".")
    is_ours = is_well_formed(secret, ID_PREFIX) and keys.is_signed(secret, signature, purpose=PURPOSE)
    return secret if is_ours else None
