"""Invitations to teams: nobody becomes an owner by another owner's doing alone, they accept or decline.

Admins, who answer for the whole system, may also add owners and members at once (`teams.add_member`).
"""

from typing import TYPE_CHECKING, Final, cast

from admin_api.operations.access import get_managed_team
from admin_api.operations.actors import Actor, note, require_reader
from admin_api.operations.lookups import get_user
from admin_api.operations.notifications.events import notify
from admin_api.operations.pagination import MAX_ID, Page, check_limit, page, parse_id_cursor
from admin_api.operations.people.teams import check_may_name, lock_team
from admin_api.operations.people.users import changing_own_id, own_id
from admin_api.operations.validation import check_word
from admin_api.storage import accounts, team_invitations
from admin_api.storage.accounts import TeamMember
from admin_api.storage.team_invitations import TeamInvitation
from gateway.domain.errors import GatewayError
from gateway.domain.roles import TEAM_ROLES, TeamRole

if TYPE_CHECKING:
    from admin_api.storage.accounts import Account
    from admin_api.storage.users import User
    from gateway.storage.postgres import Executor, Pool

LIFETIME_S: Final = 7 * 86400.0
# Each is an e-mail to somebody.
MAX_OPEN: Final = 100


async def invite(pool: "Pool", actor: Actor, team: str, *, user: str, role: str = "member") -> TeamInvitation:
    """Invites a user for a week, and tells them by e-mail. Owners name them by e-mail address, as in `add_member`.

    Raises GatewayError `not_found`, `forbidden`, `validation_failed`, and `conflict` for somebody who is deactivated,
    has the role or is invited already, and beyond MAX_OPEN invitations of the team.
    """
    known = cast("TeamRole", check_word("role", role, TEAM_ROLES))
    check_may_name(actor, user)
    async with pool.acquire() as connection, connection.transaction():
        account = await lock_team(connection, actor, team)
        person = await get_user(connection, user)
        await _check_can_be_invited(connection, account, person, known)
        # What is left is not open any more: it expired, or who invited may not do so now.
        await team_invitations.delete_of_user(connection, team_id=account.id, user_id=person.id)
        invitation_id = await team_invitations.insert_invitation(
            connection,
            team_id=account.id,
            user_id=person.id,
            role=known,
            invited_by=actor.user_id,
            lifetime_s=LIFETIME_S,
        )
        new = {"invitation_id": invitation_id, "user_id": person.id, "email": person.email, "role": known}
        await note(connection, actor, "team.invite", "team", account.id, new=new)
        made = await team_invitations.find_invitation(connection, invitation_id)
        if made is None:
            raise RuntimeError("an invitation that was just made is not there")
        about = {"invitation_id": made.id, "team_id": made.team_id, "team": made.team, "role": made.role}
        about |= {"by": actor.name, "expires_at": made.expires_at.isoformat()}
        await notify(connection, "team.invited", about, account_id=account.id, user_id=person.id)
    return made


async def list_invitations(
    pool: "Pool", actor: Actor, team: str, *, limit: int = 100, cursor: str | None = None
) -> Page[TeamInvitation]:
    """The open ones of a team, by id; for its owners and admins. Raises GatewayError `not_found`, `forbidden`."""
    check_limit(limit)
    async with pool.acquire() as connection:
        account = await get_managed_team(connection, actor, team)
        after_id = parse_id_cursor(cursor)
        rows = await team_invitations.list_of_team(connection, account.id, after_id=after_id, limit=limit + 1)
    return page(rows, limit, lambda row: row.id)


async def withdraw(pool: "Pool", actor: Actor, team: str, invitation_id: int) -> None:
    """Raises GatewayError `not_found`, also for an invitation to another team, or `forbidden`."""
    async with pool.acquire() as connection, connection.transaction():
        account = await lock_team(connection, actor, team)
        found = await _find(connection, invitation_id)
        if found is None or found.team_id != account.id:
            raise GatewayError("not_found", f"There is no invitation {invitation_id} to team '{account.name}'.")
        await _end(connection, actor, found, "team.withdraw_invitation")


async def list_own(pool: "Pool", actor: Actor, *, limit: int = 100, cursor: str | None = None) -> Page[TeamInvitation]:
    """The open ones of the actor, by id. Raises GatewayError `not_found` for logins without a user."""
    user_id = own_id(actor)
    check_limit(limit)
    async with pool.acquire() as connection:
        after_id = parse_id_cursor(cursor)
        rows = await team_invitations.list_of_user(connection, user_id, after_id=after_id, limit=limit + 1)
    return page(rows, limit, lambda row: row.id)


async def list_of_user(
    pool: "Pool", actor: Actor, user: str, *, limit: int = 100, cursor: str | None = None
) -> Page[TeamInvitation]:
    """The open ones of any user, by id. Raises GatewayError `not_found`, `forbidden`."""
    require_reader(actor)
    check_limit(limit)
    async with pool.acquire() as connection:
        found = await get_user(connection, user)
        after_id = parse_id_cursor(cursor)
        rows = await team_invitations.list_of_user(connection, found.id, after_id=after_id, limit=limit + 1)
    return page(rows, limit, lambda row: row.id)


async def accept(pool: "Pool", actor: Actor, invitation_id: int) -> TeamMember:
    """The actor's new membership. Raises GatewayError `not_found` for an invitation that is not theirs or no longer
    open, and `forbidden` for read-only admins."""
    async with pool.acquire() as connection, connection.transaction():
        invitation = await _lock_own(connection, actor, invitation_id)
        where = {"account_id": invitation.team_id, "user_id": invitation.user_id}
        old = await accounts.find_member(connection, **where)
        if old is None:
            await accounts.insert_member(connection, **where, role=invitation.role)
        elif old.role == "member":
            await accounts.update_member(connection, **where, role=invitation.role)
        await _end(connection, actor, invitation, "team.accept_invitation", old_role=old.role if old else None)
        member = await accounts.find_member(connection, **where)
    if member is None:
        raise RuntimeError("a member who was just added is not there")
    return member


async def decline(pool: "Pool", actor: Actor, invitation_id: int) -> None:
    """Raises GatewayError as `accept`."""
    async with pool.acquire() as connection, connection.transaction():
        invitation = await _lock_own(connection, actor, invitation_id)
        await _end(connection, actor, invitation, "team.decline_invitation")


async def delete_expired(pool: "Pool") -> None:
    """Deletes those that nobody answered in time."""
    async with pool.acquire() as connection:
        await team_invitations.delete_expired(connection)


async def _check_can_be_invited(executor: "Executor", account: "Account", person: "User", role: TeamRole) -> None:
    if person.status != "active":
        raise GatewayError("conflict", f"'{person.email}' is deactivated.")
    member = await accounts.find_member(executor, account_id=account.id, user_id=person.id)
    if member is not None and (member.role == "owner" or role == "member"):
        raise GatewayError("conflict", f"'{person.email}' is already {member.role} of team '{account.name}'.")
    if await team_invitations.find_of_user(executor, team_id=account.id, user_id=person.id) is not None:
        message = f"'{person.email}' is already invited to team '{account.name}'. Withdraw that invitation first."
        raise GatewayError("conflict", message)
    if len(await team_invitations.list_of_team(executor, account.id, after_id=0, limit=MAX_OPEN)) == MAX_OPEN:
        raise GatewayError("conflict", f"{MAX_OPEN} invitations of team '{account.name}' wait for an answer.")


async def _lock_own(executor: "Executor", actor: Actor, invitation_id: int) -> TeamInvitation:
    """An open invitation of the actor. Under the team's lock: who invited may be removed meanwhile."""
    user_id = changing_own_id(actor)
    found = await _find(executor, invitation_id)
    if found is not None and found.user_id == user_id:
        await accounts.lock_account(executor, found.team_id)
        found = await _find(executor, invitation_id)
    if found is None or found.user_id != user_id:
        raise GatewayError("not_found", f"You have no open invitation {invitation_id}.")
    return found


async def _find(executor: "Executor", invitation_id: int) -> TeamInvitation | None:
    return await team_invitations.find_invitation(executor, invitation_id) if 0 < invitation_id <= MAX_ID else None


async def _end(
    executor: "Executor", actor: Actor, invitation: TeamInvitation, action: str, *, old_role: TeamRole | None = None
) -> None:
    await team_invitations.delete_invitation(executor, invitation.id)
    about = {
        "invitation_id": invitation.id,
        "user_id": invitation.user_id,
        "email": invitation.email,
        "role": invitation.role,
        "invited_by": invitation.invited_by,
    }
    is_accepted = action == "team.accept_invitation"
    old, new = ({"role": old_role}, about) if is_accepted else (about, None)
    await note(executor, actor, action, "team", invitation.team_id, old=old, new=new)
