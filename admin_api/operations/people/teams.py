"""Teams: accounts that several users share. Owners manage the members, members see them, admins do everything."""

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, cast

from admin_api.operations.access import get_seen_account, viewer_of
from admin_api.operations.actors import Actor, changing_party, check_not_archived, note, require_admin
from admin_api.operations.lookups import get_user
from admin_api.operations.pagination import Page, check_limit, page, parse_id_cursor
from admin_api.operations.preconditions import check_version, version_of
from admin_api.operations.validation import MAX_NAME, check_text, check_time_zone, check_word, invalid, status_reason
from admin_api.storage import accounts, api_key_changes, team_invitations
from admin_api.storage.accounts import ACCOUNT_STATUSES, Account, AccountStatus, TeamMember
from gateway.domain.errors import GatewayError
from gateway.domain.roles import TEAM_ROLES, TeamRole

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor, Pool

_CHANGEABLE: Final = ("name", "time_zone", "status", "status_reason")


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamChange:
    """The fields to change; None leaves a field as it is. `status` and `time_zone` are for admins: another zone starts
    other windows, so a team could use a day's limit twice. `reason` is of the status; the team's callers read it."""

    name: str | None = None
    time_zone: str | None = None
    status: str | None = None
    reason: str | None = None


async def create_team(pool: "Pool", actor: Actor, *, name: str, time_zone: str = "UTC") -> Account:
    """A team without members. Raises GatewayError `conflict` if the name is taken, ignoring case."""
    require_admin(actor)
    name = check_text("name", name, least=1, maximum=MAX_NAME)
    zone = check_time_zone(time_zone)
    async with pool.acquire() as connection, connection.transaction():
        team = await accounts.insert_team(connection, name=name, time_zone=zone)
        if team is None:
            raise _is_taken(name)
        await note(connection, actor, "team.create", "team", team.id, new={"name": name, "time_zone": zone})
    return team


async def update_team(
    pool: "Pool", actor: Actor, team: str, change: TeamChange, *, as_of: str | None = None
) -> tuple[Account, list[TeamMember]]:
    """A new time zone applies from the next call on; the use of the new windows is read from the ledger. Raises
    GatewayError `not_found`, `forbidden`, `conflict` if the name is taken, or `precondition_failed` if `as_of` does not
    match the team and its members."""
    if change.status is not None or change.time_zone is not None:
        require_admin(actor)
    async with pool.acquire() as connection, connection.transaction():
        await lock_team(connection, actor, team)
        old = await get_seen_account(connection, actor, user=None, team=team)
        members = await accounts.list_members(connection, old.id)
        check_version(version_of(old, members), as_of)
        status = None if change.status is None else check_word("status", change.status, ACCOUNT_STATUSES)
        new = replace(
            old,
            name=old.name if change.name is None else check_text("name", change.name, least=1, maximum=MAX_NAME),
            time_zone=old.time_zone if change.time_zone is None else check_time_zone(change.time_zone),
            status=old.status if status is None else cast("AccountStatus", status),
            status_reason=status_reason(change.status, change.reason, old.status_reason, usual="active"),
        )
        changed = [field for field in _CHANGEABLE if getattr(old, field) != getattr(new, field)]
        if not changed:
            return old, members
        try:
            await accounts.update_team(
                connection,
                old.id,
                name=new.name,
                time_zone=new.time_zone,
                status=new.status,
                status_reason=new.status_reason,
            )
        except accounts.NameTaken:
            raise _is_taken(new.name) from None
        await note(
            connection,
            actor,
            "team.update",
            "team",
            old.id,
            old={field: getattr(old, field) for field in changed},
            new={field: getattr(new, field) for field in changed},
        )
    return new, members


async def archive_team(
    pool: "Pool", actor: Actor, team: str, *, archived: bool = True, as_of: str | None = None
) -> tuple[Account, list[TeamMember]]:
    """Hides a team from the lists and refuses its keys from the next call on, or takes both back. Members, keys,
    subscriptions and limits stay as they are and cannot be changed meanwhile; open invitations are withdrawn.

    Raises GatewayError `not_found`, `forbidden`, or `precondition_failed`.
    """
    require_admin(actor)
    async with pool.acquire() as connection, connection.transaction():
        found = await get_seen_account(connection, actor, user=None, team=team)
        await accounts.lock_account(connection, found.id)
        old = await get_seen_account(connection, actor, user=None, team=str(found.id))
        members = await accounts.list_members(connection, old.id)
        check_version(version_of(old, members), as_of)
        if (old.archived_at is not None) == archived:
            return old, members
        await accounts.update_archived(connection, old.id, archived=archived)
        if archived:
            await team_invitations.delete_of_team(connection, old.id)
        new = await get_seen_account(connection, actor, user=None, team=str(old.id))
        action = "team.archive" if archived else "team.unarchive"
        values = ({"archived_at": one.archived_at} for one in (old, new))
        await note(connection, actor, action, "team", old.id, old=next(values), new=next(values))
    return new, members


async def list_teams(
    pool: "Pool", actor: Actor, *, archived: bool = False, limit: int = 100, cursor: str | None = None
) -> Page[Account]:
    """By id: the actor's teams, or all teams for admins. Archived ones are included with `archived`."""
    viewer = viewer_of(actor)
    check_limit(limit)
    async with pool.acquire() as connection:
        rows = await accounts.list_teams(
            connection, after_id=parse_id_cursor(cursor), limit=limit + 1, archived=archived, viewer_id=viewer
        )
    return page(rows, limit, lambda team: team.id)


async def find_team(pool: "Pool", actor: Actor, team: str) -> tuple[Account, list[TeamMember]]:
    """By id or name, with its members. Raises GatewayError `not_found`."""
    async with pool.acquire() as connection:
        account = await get_seen_account(connection, actor, user=None, team=team)
        return account, await accounts.list_members(connection, account.id)


async def list_members(
    pool: "Pool", actor: Actor, team: str, *, limit: int = 100, cursor: str | None = None
) -> Page[TeamMember]:
    """By user id. Raises GatewayError `not_found`."""
    check_limit(limit)
    async with pool.acquire() as connection:
        account = await get_seen_account(connection, actor, user=None, team=team)
        after = parse_id_cursor(cursor)
        rows = await accounts.list_members(connection, account.id, after_id=after, limit=limit + 1)
    return page(rows, limit, lambda member: member.user_id)


async def add_member(pool: "Pool", actor: Actor, team: str, *, user: str, role: str = "member") -> TeamMember:
    """By e-mail address; for admins also by id, as an id would reveal the user's address to an owner.

    Raises GatewayError `conflict` if the user is deactivated or a member already, `validation_failed`, or `forbidden`
    for an owner who adds an owner: those are invited, and accept.
    """
    known = cast("TeamRole", check_word("role", role, TEAM_ROLES))
    check_may_name(actor, user)
    async with pool.acquire() as connection, connection.transaction():
        account = await lock_team(connection, actor, team)
        _check_may_appoint(actor, account, known)
        person = await get_user(connection, user)
        if person.status != "active":
            raise GatewayError("conflict", f"'{user}' is deactivated.")
        if not await accounts.insert_member(connection, account_id=account.id, user_id=person.id, role=known):
            raise GatewayError("conflict", f"'{user}' is already in team '{account.name}'.")
        new = {"user_id": person.id, "email": person.email, "role": role}
        await note(connection, actor, "team.add_member", "team", account.id, new=new)
        return await _get_member(connection, account, user)


async def find_member(pool: "Pool", actor: Actor, team: str, *, user: str) -> TeamMember:
    """A member, by id or e-mail address. Raises GatewayError `not_found`, with the same message for other users and for
    users that do not exist: members must not learn who has an account."""
    async with pool.acquire() as connection:
        account = await get_seen_account(connection, actor, user=None, team=team)
        return await _get_member(connection, account, user)


async def update_member(
    pool: "Pool", actor: Actor, team: str, *, user: str, role: str, as_of: str | None = None
) -> TeamMember:
    """Changes the role of a member. Raises GatewayError `not_found`, `conflict` if no owner would be left,
    `precondition_failed`, or `forbidden` for an owner who makes a member an owner: those are invited, and accept."""
    known = cast("TeamRole", check_word("role", role, TEAM_ROLES))
    async with pool.acquire() as connection, connection.transaction():
        account = await lock_team(connection, actor, team)
        old = await _get_member(connection, account, user)
        check_version(version_of(old), as_of)
        if old.role == known:
            return old
        _check_may_appoint(actor, account, known)
        await _check_last_owner(connection, actor, account, old)
        await accounts.update_member(connection, account_id=account.id, user_id=old.user_id, role=known)
        if known == "member":
            await team_invitations.delete_made_by(connection, team_id=account.id, user_id=old.user_id)
        about = {"user_id": old.user_id, "email": old.email}
        await note(
            connection,
            actor,
            "team.update_member",
            "team",
            account.id,
            old=about | {"role": old.role},
            new=about | {"role": known},
        )
        return replace(old, role=known)


async def remove_member(pool: "Pool", actor: Actor, team: str, *, user: str, as_of: str | None = None) -> list[int]:
    """Removes a member and revokes their keys in the team; returns the ids of the keys. Members can remove themselves.

    Raises GatewayError `not_found` for users who are not members, `conflict` for the last owner, or
    `precondition_failed`.
    """
    async with pool.acquire() as connection, connection.transaction():
        account = await get_seen_account(connection, actor, user=None, team=team)
        # Before the keys: a key that is being created for the member waits here or is found below.
        account = await _lock(connection, account)
        check_not_archived(account)
        if actor.role != "user" or user.strip().lower() not in (str(actor.user_id), actor.name):
            # Before the lookup: a member must not learn whether somebody has an account.
            await changing_party(connection, actor, account)
        old = await _get_member(connection, account, user)
        check_version(version_of(old), as_of)
        await _check_last_owner(connection, actor, account, old)
        role = await accounts.delete_member(connection, account_id=account.id, user_id=old.user_id)
        # They would come back by it, as an owner.
        await team_invitations.delete_of_user(connection, team_id=account.id, user_id=old.user_id)
        await team_invitations.delete_made_by(connection, team_id=account.id, user_id=old.user_id)
        revoked = await api_key_changes.update_member_keys_revoked(
            connection, account_id=account.id, user_id=old.user_id
        )
        removed = {"user_id": old.user_id, "email": old.email, "role": role, "revoked_keys": revoked}
        await note(connection, actor, "team.remove_member", "team", account.id, old=removed)
    return revoked


def check_may_name(actor: Actor, user: str) -> None:
    """Whom an owner names must be known to them by address: an id would reveal it. Raises GatewayError
    `validation_failed`."""
    if actor.role == "user" and "@" not in user:
        raise invalid("user", "Name the user by their e-mail address.")


def _check_may_appoint(actor: Actor, account: Account, role: TeamRole) -> None:
    """An owner answers for the team, so nobody becomes one without their consent, but by an admin."""
    if role == "owner" and actor.role != "admin":
        message = f"Owners are invited: POST /api/v1/teams/{account.id}/invitations. They accept or decline."
        raise GatewayError("forbidden", message)


async def lock_team(executor: "Executor", actor: Actor, team: str) -> Account:
    """Locks a team for a change by an owner or admin. Changes are serialized: two owners cannot remove each other."""
    account = await _lock(executor, await get_seen_account(executor, actor, user=None, team=team))
    # Checked under the lock: the actor may have been removed meanwhile.
    await changing_party(executor, actor, account)
    return account


async def _lock(executor: "Executor", account: Account) -> Account:
    """The account as it is under its lock: it may have been archived meanwhile."""
    await accounts.lock_account(executor, account.id)
    return await accounts.find_account(executor, account.id) or account


async def _get_member(executor: "Executor", account: Account, reference: str) -> TeamMember:
    """By id or e-mail address. Raises GatewayError `not_found`, with the same message for other users and for users
    that do not exist: owners must learn neither who has an account nor how many users there are."""
    member = None
    with suppress(GatewayError):
        person = await get_user(executor, reference)
        member = await accounts.find_member(executor, account_id=account.id, user_id=person.id)
    if member is None:
        raise GatewayError("not_found", f"There is no '{reference}' in team '{account.name}'.", param="user")
    return member


async def _check_last_owner(executor: "Executor", actor: Actor, account: Account, member: TeamMember) -> None:
    """For a member who will no longer be an owner. Admins may leave a team without an owner, as it was when created."""
    if actor.role == "admin" or member.role != "owner":
        return
    if await accounts.count_owners(executor, account.id) == 1:
        message = f"'{member.email}' is the last owner of team '{account.name}'. Invite another owner first."
        raise GatewayError("conflict", message)


def _is_taken(name: str) -> GatewayError:
    return GatewayError("conflict", f"There is already a team '{name}'.", param="name")
