"""Teams: accounts that several users share."""

from typing import TYPE_CHECKING, cast

from admin_api.operations.actors import Actor, note, party_of, require_admin, require_reader
from admin_api.operations.checks import MOST_NAME, check_text, check_time_zone, check_word
from admin_api.operations.lookups import get_team, get_user
from admin_api.operations.pages import Page, check_limit, page, parse_id_cursor
from gateway.domain.errors import GatewayError
from gateway.storage import accounts, api_keys
from gateway.storage.accounts import TEAM_ROLES, Account, TeamMember, TeamRole

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool


async def create_team(pool: "Pool", actor: Actor, *, name: str, time_zone: str = "UTC") -> Account:
    """A team without members; raises GatewayError `conflict` if the name is taken, in whatever case."""
    require_admin(actor)
    name = check_text("name", name, least=1, most=MOST_NAME)
    zone = check_time_zone(time_zone)
    async with pool.acquire() as connection, connection.transaction():
        team = await accounts.insert_team(connection, name=name, time_zone=zone)
        if team is None:
            raise GatewayError("conflict", f"There is a team '{name}' already.", param="name")
        await note(connection, actor, "team.create", "team", team.id, new={"name": name, "time_zone": zone})
    return team


async def list_teams(pool: "Pool", actor: Actor, *, limit: int = 100, cursor: str | None = None) -> Page[Account]:
    """By id."""
    require_reader(actor)
    check_limit(limit)
    async with pool.acquire() as connection:
        rows = await accounts.list_teams(connection, after_id=parse_id_cursor(cursor), limit=limit + 1)
    return page(rows, limit, lambda team: team.id)


async def find_team(pool: "Pool", actor: Actor, team: str) -> tuple[Account, list[TeamMember]]:
    """By id or name, with its members; raises GatewayError `not_found`."""
    require_reader(actor)
    async with pool.acquire() as connection:
        account = await get_team(connection, team)
        return account, await accounts.list_members(connection, account.id)


async def add_member(pool: "Pool", actor: Actor, team: str, *, user: str, role: str = "member") -> TeamMember:
    """Raises GatewayError `conflict` if the user is deactivated or in the team already."""
    known = cast("TeamRole", check_word("role", role, TEAM_ROLES))
    async with pool.acquire() as connection, connection.transaction():
        account = await get_team(connection, team)
        await party_of(connection, actor, account)
        person = await get_user(connection, user)
        if person.status != "active":
            raise GatewayError("conflict", f"'{person.email}' is deactivated.")
        if not await accounts.insert_member(connection, account_id=account.id, user_id=person.id, role=known):
            raise GatewayError("conflict", f"'{person.email}' is in team '{account.name}' already.")
        new = {"user_id": person.id, "email": person.email, "role": role}
        await note(connection, actor, "team.add_member", "team", account.id, new=new)
        member = await accounts.find_member(connection, account_id=account.id, user_id=person.id)
    if member is None:
        raise RuntimeError("a member inserted in this transaction is not there")
    return member


async def remove_member(pool: "Pool", actor: Actor, team: str, *, user: str) -> list[int]:
    """He loses his keys in this team, for good; their ids. Raises GatewayError `not_found` if he is no member."""
    async with pool.acquire() as connection, connection.transaction():
        account = await get_team(connection, team)
        await party_of(connection, actor, account)
        person = await get_user(connection, user)
        # Before the keys: a key that is being made for him waits here, or is found below.
        await accounts.lock_account(connection, account.id)
        role = await accounts.delete_member(connection, account_id=account.id, user_id=person.id)
        if role is None:
            raise GatewayError("not_found", f"'{person.email}' is not in team '{account.name}'.")
        revoked = await api_keys.update_member_keys_revoked(connection, account_id=account.id, user_id=person.id)
        old = {"user_id": person.id, "email": person.email, "role": role, "revoked_keys": revoked}
        await note(connection, actor, "team.remove_member", "team", account.id, old=old)
    return revoked
