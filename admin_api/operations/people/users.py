"""Users: each comes with a personal account."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from admin_api.operations.actors import Actor, note, require_admin, require_reader
from admin_api.operations.lookups import get_user
from admin_api.operations.pagination import Page, check_limit, page, parse_id_cursor
from admin_api.operations.preconditions import check_version, version_of
from admin_api.operations.validation import MAX_NAME, check_email, check_text, check_time_zone, check_word
from admin_api.storage import accounts, sessions
from admin_api.storage.accounts import LOCALES, Locale, User, UserStatus
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
    """Makes the user and his personal account; raises GatewayError `conflict` if the address is taken."""
    require_admin(actor)
    email, name = check_email(email), check_text("name", name, maximum=MAX_NAME)
    zone, known = check_time_zone(time_zone), cast("Role", check_word("role", role, ROLES))
    language = None if locale is None else cast("Locale", check_word("locale", locale, LOCALES))
    async with pool.acquire() as connection, connection.transaction():
        user = await accounts.insert_user(
            connection, email=email, name=name, role=known, time_zone=zone, locale=language
        )
        if user is None:
            raise GatewayError("conflict", f"There is a user '{email}' already.", param="email")
        new = {"email": email, "name": name, "role": role, "time_zone": zone, "locale": language}
        await note(connection, actor, "user.create", "user", user.id, new=new)
    return user


async def list_users(
    pool: "Pool",
    actor: Actor,
    *,
    search: str | None = None,
    role: Role | None = None,
    status: UserStatus | None = None,
    limit: int = 100,
    cursor: str | None = None,
) -> Page[User]:
    """By id; all, or those whose address or name holds `search`, of this role and status."""
    require_reader(actor)
    check_limit(limit)
    text = check_text("search", search, maximum=MAX_NAME) if search else None
    async with pool.acquire() as connection:
        rows = await accounts.list_users(
            connection, after_id=parse_id_cursor(cursor), limit=limit + 1, search=text, role=role, status=status
        )
    return page(rows, limit, lambda user: user.id)


async def find_user(pool: "Pool", actor: Actor, user: str) -> User:
    """By id or e-mail address; raises GatewayError `not_found`."""
    require_reader(actor)
    async with pool.acquire() as connection:
        return await get_user(connection, user)


async def find_self(pool: "Pool", actor: Actor) -> User:
    """The actor as a user; raises GatewayError `not_found` for one who is none, as the admin token."""
    async with pool.acquire() as connection:
        return await get_user(connection, str(_own_id(actor)))


async def update_self(
    pool: "Pool", actor: Actor, *, name: str | None = None, locale: Locale | None = None, as_of: str | None = None
) -> User:
    """Changes one's own name or language. Not the time zone: with it would come new windows of one's own limits."""
    if actor.role == "admin-readonly":
        raise GatewayError("forbidden", "Who may only look changes nothing, not even himself.")
    return await _change(pool, actor, str(_own_id(actor)), UserChange(name=name, locale=locale), as_of)


async def update_user(
    pool: "Pool",
    actor: Actor,
    user: str,
    *,
    role: str | None = None,
    status: UserStatus | None = None,
    name: str | None = None,
    locale: Locale | None = None,
    time_zone: str | None = None,
    as_of: str | None = None,
) -> User:
    """Changes what is given. A deactivated user's keys and tokens are refused from the next call on, his sessions end.

    Raises GatewayError `conflict` rather than leave no active admin, also when two remove each other at once, and
    `precondition_failed` if the user is not as of `as_of` any more.
    """
    require_admin(actor)
    change = UserChange(role=role, status=status, name=name, locale=locale, time_zone=time_zone)
    return await _change(pool, actor, user, change, as_of)


@dataclass(frozen=True, slots=True, kw_only=True)
class UserChange:
    """What shall be different; None stays as it is."""

    role: str | None = None
    status: UserStatus | None = None
    name: str | None = None
    locale: Locale | None = None
    time_zone: str | None = None

    def apply_to(self, old: User) -> User:
        """A role given by a person holds until the next login tells what the groups say."""
        role = None if self.role is None else cast("Role", check_word("role", self.role, ROLES))
        return replace(
            old,
            role=role or old.role,
            assigned_role=role or old.assigned_role,
            status=self.status or old.status,
            name=old.name if self.name is None else check_text("name", self.name, maximum=MAX_NAME),
            locale=self.locale or old.locale,
            time_zone=old.time_zone if self.time_zone is None else check_time_zone(self.time_zone),
        )


async def _change(pool: "Pool", actor: Actor, user: str, change: UserChange, as_of: str | None) -> User:
    async with pool.acquire() as connection, connection.transaction():
        # Before the user's own row, and always: so two changes wait for each other in one order.
        admins = await accounts.lock_admins(connection)
        found = await get_user(connection, user)
        old = await accounts.lock_user(connection, found.id) or found
        check_version(version_of(old), as_of)
        new = change.apply_to(old)
        if new == old:
            return old
        check_admin_stays(admins, new)
        await write_user(connection, actor, old, new)
        if new.status == "deactivated" != old.status:
            await end_sessions_of(connection, actor, old.id)
        return await get_user(connection, str(old.id))


def check_admin_stays(admins: list[int], new: User) -> None:
    """`admins` are the ids of all active ones, locked; raises GatewayError `conflict` if `new` would leave none."""
    if admins == [new.id] and (new.role, new.status) != ("admin", "active"):
        raise GatewayError("conflict", f"'{new.email}' is the last active admin; make another one first.")


async def end_sessions_of(executor: "Executor", actor: Actor, user_id: int) -> None:
    """For good: who is let in again logs in again. Whoever has a stolen cookie does not come back with him."""
    for session_id in await sessions.end_sessions(executor, user_id):
        await note(executor, actor, "session.end", "session", session_id, new={"user_id": user_id})


async def write_user(executor: "Executor", actor: Actor, old: User, new: User) -> None:
    """Writes the user with the audit row of what changed."""
    await accounts.update_user(executor, new)
    fields = ("role", "assigned_role", "group_role", "status", "name", "locale", "time_zone")
    changed = [field for field in fields if getattr(old, field) != getattr(new, field)]
    await note(
        executor,
        actor,
        "user.update",
        "user",
        old.id,
        old={field: getattr(old, field) for field in changed},
        new={field: getattr(new, field) for field in changed},
    )


def _own_id(actor: Actor) -> int:
    if actor.user_id is None:
        raise GatewayError("not_found", "You are no user: this login is nobody's.")
    return actor.user_id
