"""The teams that a person is in, and what they are in each."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from admin_api.operations.access import get_seen_account, is_seen
from admin_api.operations.actors import Actor
from admin_api.operations.pagination import Page, check_limit, page, parse_id_cursor
from admin_api.operations.people.users import own_id
from admin_api.storage import accounts
from admin_api.storage.accounts import Account, Membership
from admin_api.storage.api_keys import APIKey
from gateway.domain.errors import GatewayError
from gateway.domain.roles import TeamRole

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamAccess:
    """A team and what the actor is in it; None: no member, as an admin who sees all teams."""

    team: Account
    role: TeamRole | None

    @property
    def is_owner(self) -> bool:
        """Whether they answer for the team."""
        return self.role == "owner"


async def list_memberships(
    pool: "Pool", actor: Actor, *, limit: int = 100, cursor: str | None = None
) -> Page[Membership]:
    """By the team's id: the teams that the actor is in, also if they see all, without archived ones. Raises
    GatewayError `not_found` for logins without a user."""
    user_id = own_id(actor)
    check_limit(limit)
    after_id = parse_id_cursor(cursor)
    async with pool.acquire() as connection:
        rows = await accounts.list_memberships(connection, user_id, after_id=after_id, limit=limit + 1)
    return page(rows, limit, lambda row: row.team.id)


async def find_team_access(pool: "Pool", actor: Actor, team: str) -> TeamAccess:
    """Raises GatewayError `not_found`, also for a team the actor may not see."""
    async with pool.acquire() as connection:
        account = await get_seen_account(connection, actor, user=None, team=team)
        member = None
        if actor.user_id is not None:
            member = await accounts.find_member(connection, account_id=account.id, user_id=actor.user_id)
    return TeamAccess(team=account, role=None if member is None else member.role)


async def find_account_of(pool: "Pool", actor: Actor, key: APIKey) -> Account:
    """The account of a key that the actor may see. Raises GatewayError `not_found` for who left the team."""
    async with pool.acquire() as connection:
        account = await accounts.find_account(connection, key.account_id)
        if account is None or not await is_seen(connection, actor, account.id):
            raise GatewayError("not_found", f"There is no key {key.id}.")
    return account
