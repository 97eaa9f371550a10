"""New users and teams with all that belongs to them, in one act: members, subscriptions and a budget, or nothing."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, cast

from admin_api.operations.actors import Actor, require_admin
from admin_api.operations.limits.limits import LimitInput, apply_limit
from admin_api.operations.pagination import MAX_ROWS
from admin_api.operations.people import teams, users
from admin_api.operations.people.new_users import apply_budget
from admin_api.operations.subscriptions import create_subscription
from admin_api.storage import accounts, limit_pages
from admin_api.storage.accounts import Account, TeamMember
from admin_api.storage.limits import LimitRow, Target
from admin_api.storage.subscriptions import Subscription
from admin_api.storage.users import User

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor, Pool


@dataclass(frozen=True, slots=True)
class _OneConnection:
    """Passed as a pool to operations that are to run in one transaction."""

    connection: "Executor"

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator["Executor"]:
        yield self.connection


@asynccontextmanager
async def one_act(pool: "Pool") -> AsyncIterator["Pool"]:
    """A pool whose operations are all done or none of them. They must not run at the same time."""
    async with pool.acquire() as connection, connection.transaction():
        yield cast("Pool", _OneConnection(connection))


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTeam:
    """Owners and members by address or id; `models` are those that it is subscribed to; the budget is of a month."""

    name: str
    time_zone: str = "UTC"
    owners: Sequence[str] = ()
    members: Sequence[str] = ()
    models: Sequence[str] = ()
    monthly_cost_nano_usd: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeTeam:
    """What came of a NewTeam: subscriptions may be pending, and limits are those of its account, by default too."""

    team: Account
    members: Sequence[TeamMember]
    subscriptions: Sequence[Subscription]
    limits: Sequence[LimitRow]


async def set_up_team(pool: "Pool", actor: Actor, new: NewTeam) -> MadeTeam:
    """Raises GatewayError as the single operations do, and changes nothing then."""
    require_admin(actor)
    async with one_act(pool) as act:
        team = await teams.create_team(act, actor, name=new.name, time_zone=new.time_zone)
        members = [
            await teams.add_member(act, actor, str(team.id), user=person, role=role)
            for role, people in (("owner", new.owners), ("member", new.members))
            for person in people
        ]
        subscriptions = await subscribe(act, actor, new.models, team=str(team.id))
        if new.monthly_cost_nano_usd is not None:
            budget = LimitInput(kind="cost", window="month", amount=new.monthly_cost_nano_usd)
            async with act.acquire() as connection:
                await apply_limit(connection, actor, Target(account_id=team.id, level="team"), budget)
        limits = await _limits_of(act, team.id)
    return MadeTeam(team=team, members=members, subscriptions=subscriptions, limits=limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewUser:
    """As for `users.create_user`; the rest as for a team. A budget takes the place of the default one."""

    email: str
    name: str = ""
    role: str = "user"
    time_zone: str = "UTC"
    locale: str | None = None
    teams: Sequence[str] = ()
    models: Sequence[str] = ()
    monthly_cost_nano_usd: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeUser:
    """What came of a NewUser, as of a NewTeam. `memberships` are by the team's name."""

    user: User
    memberships: Mapping[str, TeamMember]
    subscriptions: Sequence[Subscription]
    limits: Sequence[LimitRow]


async def set_up_user(pool: "Pool", actor: Actor, new: NewUser) -> MadeUser:
    """Raises GatewayError as the single operations do, and changes nothing then."""
    require_admin(actor)
    async with one_act(pool) as act:
        user = await users.create_user(
            act, actor, email=new.email, name=new.name, role=new.role, time_zone=new.time_zone, locale=new.locale
        )
        memberships = {}
        for team in new.teams:
            member = await teams.add_member(act, actor, team, user=str(user.id))
            memberships[await _name_of(act, member.account_id)] = member
        subscriptions = await subscribe(act, actor, new.models, user=str(user.id))
        if new.monthly_cost_nano_usd is not None:
            async with act.acquire() as connection:
                await apply_budget(connection, actor, user, new.monthly_cost_nano_usd)
        limits = await _limits_of(act, user.account_id)
    return MadeUser(user=user, memberships=memberships, subscriptions=subscriptions, limits=limits)


async def _limits_of(pool: "Pool", account_id: int) -> Sequence[LimitRow]:
    """Of a new account."""
    async with pool.acquire() as connection:
        return await limit_pages.list_limits(connection, after_id=0, limit=MAX_ROWS, account_id=account_id)


async def _name_of(pool: "Pool", account_id: int) -> str:
    async with pool.acquire() as connection:
        account = await accounts.find_account(connection, account_id)
    if account is None:
        raise RuntimeError("a team that was just joined was not found")
    return account.name


async def subscribe(
    pool: "Pool",
    actor: Actor,
    models: Sequence[str],
    *,
    user: str | None = None,
    team: str | None = None,
    expires_at: datetime | None = None,
) -> list[Subscription]:
    """One account to many models, or to none of them if one fails."""
    async with one_act(pool) as act:
        return [
            await create_subscription(act, actor, model=model, user=user, team=team, expires_at=expires_at)
            for model in dict.fromkeys(models)
        ]
