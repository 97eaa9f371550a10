"""Users, each with a personal account: create, find, list, change."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, cast

from admin_api.operations.actors import Actor, note, require_admin, require_reader
from admin_api.operations.lookups import find_by_address, get_user
from admin_api.operations.pagination import Page, check_limit, page, parse_id_cursor, parse_time_cursor, time_cursor
from admin_api.operations.people.new_users import apply_defaults
from admin_api.operations.preconditions import check_version, version_of
from admin_api.operations.validation import (
    MAX_NAME,
    check_email,
    check_moment,
    check_text,
    check_time_zone,
    check_word,
    status_reason,
)
from admin_api.storage import sessions
from admin_api.storage import users as user_rows
from admin_api.storage.users import (
    LOCALE_CHOICES,
    LOCALES,
    USER_SORTS,
    Locale,
    LocaleChoice,
    User,
    UserSort,
    UserStatus,
)
from gateway.domain.errors import GatewayError
from gateway.domain.roles import ROLES, Role

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor, Pool


async def create_user(
    pool: "Pool",
    actor: Actor,
    *,
    email: str,
    name: str = "",
    role: str = "user",
    time_zone: str = "UTC",
    locale: str | None = None,
) -> User:
    """Creates a user with their personal account. Raises GatewayError `conflict` if the address is taken."""
    require_admin(actor)
    written, email = email, check_email(email)
    name = check_text("name", name, maximum=MAX_NAME)
    zone, known = check_time_zone(time_zone), cast("Role", check_word("role", role, ROLES))
    language = None if locale is None else cast("Locale", check_word("locale", locale, LOCALES))
    async with pool.acquire() as connection, connection.transaction():
        user = None
        if await find_by_address(connection, written) is None:
            user = await user_rows.insert_user(
                connection, email=email, name=name, role=known, time_zone=zone, locale=language
            )
        if user is None:
            raise GatewayError("conflict", f"There is already a user '{email}'.", param="email")
        new = {"email": email, "name": name, "role": role, "time_zone": zone, "locale": language}
        await note(connection, actor, "user.create", "user", user.id, new=new)
        await apply_defaults(connection, actor, user)
    return user


async def list_users(
    pool: "Pool",
    actor: Actor,
    *,
    search: str | None = None,
    role: Role | None = None,
    status: UserStatus | None = None,
    last_login_before: datetime | None = None,
    sort: UserSort = "created",
    limit: int = 100,
    cursor: str | None = None,
) -> Page[User]:
    """By id, or sorted by address: all users, or those whose address or name contains `search`, with this role and
    status. With `last_login_before` those who did not log in since, or if never, are older, the longest ago first."""
    require_reader(actor)
    check_limit(limit)
    check_word("sort", sort, USER_SORTS)
    text = check_text("search", search, maximum=MAX_NAME) if search else None
    before = None if last_login_before is None else check_moment("last_login_before", last_login_before)
    async with pool.acquire() as connection:
        if before is not None:
            after = parse_time_cursor(cursor)
            idle = await user_rows.list_idle_users(
                connection, before=before, after=after, limit=limit + 1, search=text, role=role, status=status
            )
            return page(idle, limit, lambda user: time_cursor(user.idle_since, user.id))
        list_sorted = user_rows.list_users_by_email if sort == "email" else user_rows.list_users
        rows = await list_sorted(
            connection, after_id=parse_id_cursor(cursor), limit=limit + 1, search=text, role=role, status=status
        )
    return page(rows, limit, lambda user: user.id)


async def find_user(pool: "Pool", actor: Actor, user: str) -> User:
    """By id or e-mail address; raises GatewayError `not_found`."""
    require_reader(actor)
    async with pool.acquire() as connection:
        return await get_user(connection, user)


async def find_self(pool: "Pool", actor: Actor) -> User:
    """The actor's user. Raises GatewayError `not_found` for logins without a user, e.g. the admin token."""
    async with pool.acquire() as connection:
        return await get_user(connection, str(own_id(actor)))


async def update_self(
    pool: "Pool", actor: Actor, *, name: str | None = None, locale: LocaleChoice | None = None, as_of: str | None = None
) -> User:
    """Changes the actor's name or language. Not the time zone, as it would start new windows of their limits."""
    if actor.role == "admin-readonly":
        raise GatewayError("forbidden", "Read-only admins cannot change anything, not even their own user.")
    return await _change(pool, actor, str(own_id(actor)), UserChange(name=name, locale=locale), as_of)


async def update_user(
    pool: "Pool",
    actor: Actor,
    user: str,
    *,
    role: str | None = None,
    status: UserStatus | None = None,
    reason: str | None = None,
    email: str | None = None,
    name: str | None = None,
    locale: LocaleChoice | None = None,
    time_zone: str | None = None,
    as_of: str | None = None,
) -> User:
    """Changes the given fields. A deactivated user's keys and tokens are rejected from the next call on, and their
    sessions end. `reason` is of the status: callers with the user's keys read it.

    Raises GatewayError `conflict` if no active admin would be left, also if two remove each other at once, or if the
    address is taken, and `precondition_failed` if `as_of` does not match the user.
    """
    require_admin(actor)
    change = UserChange(
        role=role, status=status, reason=reason, email=email, name=name, locale=locale, time_zone=time_zone
    )
    return await _change(pool, actor, user, change, as_of)


@dataclass(frozen=True, slots=True, kw_only=True)
class UserChange:
    """The fields to change; None leaves a field as it is."""

    role: str | None = None
    status: UserStatus | None = None
    reason: str | None = None
    email: str | None = None
    name: str | None = None
    locale: LocaleChoice | None = None
    time_zone: str | None = None

    def apply_to(self, old: User) -> User:
        """The changed user. An assigned role applies until the next login, which combines it with the groups' role."""
        role = None if self.role is None else cast("Role", check_word("role", self.role, ROLES))
        return replace(
            old,
            role=role or old.role,
            assigned_role=role or old.assigned_role,
            status=self.status or old.status,
            status_reason=status_reason(self.status, self.reason, old.status_reason, usual="active"),
            email=old.email if self.email is None else check_email(self.email),
            name=old.name if self.name is None else check_text("name", self.name, maximum=MAX_NAME),
            locale=old.locale if self.locale is None else _kept_locale(self.locale),
            time_zone=old.time_zone if self.time_zone is None else check_time_zone(self.time_zone),
        )


def _kept_locale(choice: LocaleChoice) -> Locale | None:
    return None if check_word("locale", choice, LOCALE_CHOICES) == "browser" else cast("Locale", choice)


async def _change(pool: "Pool", actor: Actor, user: str, change: UserChange, as_of: str | None) -> User:
    async with pool.acquire() as connection, connection.transaction():
        # Always, and before the user's own row: a fixed lock order prevents deadlocks.
        admins = await user_rows.lock_admins(connection)
        found = await get_user(connection, user)
        old = await user_rows.lock_user(connection, found.id) or found
        check_version(version_of(old), as_of)
        new = change.apply_to(old)
        if new == old:
            return old
        if old.anonymised_at is not None:
            raise GatewayError("conflict", f"User {old.id} is anonymised, which is for good.")
        check_admin_stays(admins, new)
        if new.email != old.email:
            await change_email(connection, old, new.email)
        await write_user(connection, actor, old, new)
        if new.status == "deactivated" != old.status:
            await end_sessions_of(connection, actor, old.id)
        return await get_user(connection, str(old.id))


def check_admin_stays(admins: list[int], new: User) -> None:
    """`admins` are the ids of all active admins, locked. Raises GatewayError `conflict` if `new` would leave none."""
    if admins == [new.id] and (new.role, new.status) != ("admin", "active"):
        raise GatewayError("conflict", f"'{new.email}' is the last active admin. Make another user an admin first.")


async def change_email(connection: "Executor", user: User, email: str) -> None:
    """Raises GatewayError `conflict`, and changes nothing, if another user has the address in any of its spellings."""
    other = await find_by_address(connection, email)
    is_taken = other is not None and other.id != user.id
    if is_taken or not await user_rows.update_email(connection, user.id, email):
        raise GatewayError("conflict", f"There is already a user '{email}'.", param="email")


async def end_sessions_of(executor: "Executor", actor: Actor, user_id: int) -> None:
    """Ends all sessions for good. After a reactivation the user logs in again, and a stolen cookie stays invalid."""
    for session_id in await sessions.end_sessions(executor, user_id):
        await note(executor, actor, "session.end", "session", session_id, new={"user_id": user_id})


async def write_user(executor: "Executor", actor: Actor, old: User, new: User, *, cause: str | None = None) -> None:
    """Writes the user, with an audit row of the changed fields and the cause, if it is no act of the actor. The
    address was written before, by `change_email`."""
    await user_rows.update_user(executor, new)
    fields = ("email", "role", "assigned_role", "group_role", "status", "status_reason", "name", "locale", "time_zone")
    changed = [field for field in fields if getattr(old, field) != getattr(new, field)]
    await note(
        executor,
        actor,
        "user.update",
        "user",
        old.id,
        old={field: getattr(old, field) for field in changed},
        new={field: getattr(new, field) for field in changed} | ({} if cause is None else {"cause": cause}),
    )


def own_id(actor: Actor) -> int:
    """The id of the actor's user. Raises GatewayError `not_found` for logins without one."""
    if actor.user_id is None:
        raise GatewayError("not_found", "This login belongs to no user.")
    return actor.user_id


def changing_own_id(actor: Actor) -> int:
    """As `own_id`, for a change. Raises GatewayError `forbidden` for read-only admins, too."""
    user_id = own_id(actor)
    if actor.role == "admin-readonly":
        raise GatewayError("forbidden", "Read-only admins cannot change anything, not even for themselves.")
    return user_id
