"""Identities of users at identity providers: list, and unlink those whose account there was recreated."""

from dataclasses import replace
from typing import TYPE_CHECKING

from admin_api.operations.actors import Actor, note, require_admin, require_reader
from admin_api.operations.lookups import get_user
from admin_api.operations.pagination import MAX_ID, Page, check_limit, page, parse_id_cursor
from admin_api.operations.people.users import check_admin_stays, end_sessions_of, write_user
from admin_api.storage import sessions
from admin_api.storage import users as user_rows
from admin_api.storage.sessions import Identity
from gateway.domain.errors import GatewayError

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool


async def list_identities(
    pool: "Pool", actor: Actor, user: str, *, limit: int = 100, cursor: str | None = None
) -> Page[Identity]:
    """By id; at most one per issuer. Raises GatewayError `not_found`."""
    require_reader(actor)
    check_limit(limit)
    async with pool.acquire() as connection:
        found = await get_user(connection, user)
        after_id = parse_id_cursor(cursor)
        rows = await sessions.list_identities(connection, user_id=found.id, after_id=after_id, limit=limit + 1)
    return page(rows, limit, lambda row: row.id)


async def unlink_identity(pool: "Pool", actor: Actor, user: str, identity_id: int) -> Identity:
    """Removes an identity and returns it. The next login with the user's verified address is linked instead, but not
    with a JWT issued before.

    All sessions of the user end and the role from groups is removed, as they may belong to the removed identity. Raises
    GatewayError `not_found`, also for another user's identity, and `conflict` if no active admin would be left.
    """
    require_admin(actor)
    async with pool.acquire() as connection, connection.transaction():
        # The same lock order as for all changes of users.
        admins = await user_rows.lock_admins(connection)
        found = await get_user(connection, user)
        old = await user_rows.lock_user(connection, found.id) or found
        in_range = 0 < identity_id <= MAX_ID
        gone = await sessions.delete_identity(connection, user_id=old.id, identity_id=identity_id) if in_range else None
        if gone is None:
            raise GatewayError("not_found", f"'{old.email}' has no identity {identity_id}.")
        await sessions.update_unlinked(connection, old.id)
        new = replace(old, role=old.assigned_role, group_role=None)
        check_admin_stays(admins, new)
        removed = {"issuer": gone.issuer, "subject": gone.subject}
        await note(connection, actor, "user.unlink", "user", old.id, old=removed)
        if new != old:
            await write_user(connection, actor, old, new)
        await end_sessions_of(connection, actor, old.id)
    return gone
