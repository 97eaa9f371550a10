"""Users: each comes with a personal account."""

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from admin_api.operations.actors import Actor, note, require_admin, require_reader
from admin_api.operations.checks import MOST_NAME, check_email, check_text, check_time_zone, check_word
from admin_api.operations.lookups import get_user
from admin_api.operations.pages import Page, check_limit, page, parse_id_cursor
from gateway.domain.errors import GatewayError
from gateway.storage import accounts
from gateway.storage.accounts import ROLES, Role, User, UserStatus

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool


async def create_user(
    pool: "Pool", actor: Actor, *, email: str, name: str = "", role: str = "user", time_zone: str = "UTC"
) -> User:
    """Makes the user and his personal account; raises GatewayError `conflict` if the address is taken."""
    require_admin(actor)
    email, name = check_email(email), check_text("name", name, most=MOST_NAME)
    zone, known = check_time_zone(time_zone), cast("Role", check_word("role", role, ROLES))
    async with pool.acquire() as connection, connection.transaction():
        user = await accounts.insert_user(connection, email=email, name=name, role=known, time_zone=zone)
        if user is None:
            raise GatewayError("conflict", f"There is a user '{email}' already.", param="email")
        new = {"email": email, "name": name, "role": role, "time_zone": zone}
        await note(connection, actor, "user.create", "user", user.id, new=new)
    return user


async def list_users(pool: "Pool", actor: Actor, *, limit: int = 100, cursor: str | None = None) -> Page[User]:
    """By id."""
    require_reader(actor)
    check_limit(limit)
    async with pool.acquire() as connection:
        rows = await accounts.list_users(connection, after_id=parse_id_cursor(cursor), limit=limit + 1)
    return page(rows, limit, lambda user: user.id)


async def find_user(pool: "Pool", actor: Actor, user: str) -> User:
    """By id or e-mail address; raises GatewayError `not_found`."""
    require_reader(actor)
    async with pool.acquire() as connection:
        return await get_user(connection, user)


async def update_user(
    pool: "Pool", actor: Actor, user: str, *, role: str | None = None, status: UserStatus | None = None
) -> User:
    """Changes what is given. A deactivated user's keys are refused from the next call on.

    Raises GatewayError `conflict` rather than leave no active admin, also when two remove each other at once.
    """
    require_admin(actor)
    known = None if role is None else cast("Role", check_word("role", role, ROLES))
    async with pool.acquire() as connection, connection.transaction():
        # Before the user's own row, and always: so two changes wait for each other in one order.
        admins = await accounts.lock_admins(connection)
        found = await get_user(connection, user)
        old = await accounts.lock_user(connection, found.id) or found
        new = replace(old, role=known or old.role, status=status or old.status)
        if new == old:
            return old
        if admins == [old.id] and (new.role, new.status) != ("admin", "active"):
            raise GatewayError("conflict", f"'{old.email}' is the last active admin; make another one first.")
        await accounts.update_user(connection, old.id, role=new.role, status=new.status)
        changed = [field for field in ("role", "status") if getattr(old, field) != getattr(new, field)]
        await note(
            connection,
            actor,
            "user.update",
            "user",
            old.id,
            old={field: getattr(old, field) for field in changed},
            new={field: getattr(new, field) for field in changed},
        )
    return new
