"""The accounts that pay: a user's personal one, or a team's with its members. Users are in users.py."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal, get_args

import asyncpg

from gateway.domain.roles import TeamRole

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor

AccountKind = Literal["personal", "team"]
AccountStatus = Literal["active", "suspended"]
ACCOUNT_KINDS: Final = get_args(AccountKind)
ACCOUNT_STATUSES: Final = get_args(AccountStatus)


class NameTaken(Exception):
    """Another team has that name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Who pays. `owner_user_id` is the person of a personal account, None for a team."""

    id: int
    kind: AccountKind
    name: str
    owner_user_id: int | None
    time_zone: str
    status: AccountStatus
    status_reason: str | None
    archived_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamMember:
    """A user in a team."""

    account_id: int
    user_id: int
    email: str
    name: str
    role: TeamRole
    joined_at: datetime


INSERT_TEAM: Final = """
INSERT INTO accounts (kind, name, time_zone) VALUES ('team', $1, $2)
ON CONFLICT (lower(name)) WHERE kind = 'team' DO NOTHING
RETURNING id, kind, name, owner_user_id, time_zone, status, status_reason, archived_at, created_at
"""


async def insert_team(executor: "Executor", *, name: str, time_zone: str) -> Account | None:
    """A new team; None if the name is taken, in whatever case."""
    row = await executor.fetchrow(INSERT_TEAM, name, time_zone)
    return Account(**row) if row else None


FIND_ACCOUNT: Final = """
SELECT id, kind, name, owner_user_id, time_zone, status, status_reason, archived_at, created_at
FROM accounts WHERE id = $1
"""


async def find_account(executor: "Executor", account_id: int) -> Account | None:
    """Of either kind."""
    row = await executor.fetchrow(FIND_ACCOUNT, account_id)
    return Account(**row) if row else None


IS_OWN: Final = """
SELECT EXISTS (SELECT FROM accounts WHERE id = $1 AND owner_user_id = $2)
    OR EXISTS (SELECT FROM team_members WHERE account_id = $1 AND user_id = $2)
"""


async def is_own(executor: "Executor", *, account_id: int, user_id: int) -> bool:
    """Whether it is this user's personal account, or that of a team they are in."""
    own: bool = await executor.fetchval(IS_OWN, account_id, user_id)
    return own


FIND_TEAM: Final = """
SELECT id, kind, name, owner_user_id, time_zone, status, status_reason, archived_at, created_at FROM accounts
WHERE kind = 'team' AND (id = $1 OR lower(name) = lower($2::text))
"""


async def find_team(executor: "Executor", *, team_id: int | None = None, name: str | None = None) -> Account | None:
    """By id or by name, in whatever case."""
    row = await executor.fetchrow(FIND_TEAM, team_id, name)
    return Account(**row) if row else None


LIST_TEAMS: Final = """
SELECT id, kind, name, owner_user_id, time_zone, status, status_reason, archived_at, created_at FROM accounts
WHERE kind = 'team' AND id > $1 AND ($4 OR archived_at IS NULL)
  AND ($2::bigint IS NULL OR id IN (SELECT account_id FROM team_members WHERE user_id = $2))
ORDER BY id LIMIT $3
"""


async def list_teams(
    executor: "Executor", *, after_id: int, limit: int, archived: bool = False, viewer_id: int | None = None
) -> list[Account]:
    """By id, those after `after_id`, archived ones if they are asked for; for a viewer, those they are in."""
    return [Account(**row) for row in await executor.fetch(LIST_TEAMS, after_id, viewer_id, limit, archived)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """A team, seen by one of its members."""

    team: Account
    role: TeamRole
    joined_at: datetime


LIST_MEMBERSHIPS: Final = """
SELECT a.id, a.kind, a.name, a.owner_user_id, a.time_zone, a.status, a.status_reason, a.archived_at, a.created_at,
       m.role, m.joined_at
FROM team_members m JOIN accounts a ON a.id = m.account_id
WHERE m.user_id = $1 AND a.id > $2 AND a.archived_at IS NULL ORDER BY a.id LIMIT $3
"""


async def list_memberships(executor: "Executor", user_id: int, *, after_id: int, limit: int) -> list[Membership]:
    """By the team's id, those after `after_id`, without archived teams."""
    rows = await executor.fetch(LIST_MEMBERSHIPS, user_id, after_id, limit)
    return [
        Membership(
            team=Account(**{name: row[name] for name in Account.__slots__}),
            role=row["role"],
            joined_at=row["joined_at"],
        )
        for row in rows
    ]


COUNT_MEMBERS: Final = """
SELECT account_id, count(*) AS members FROM team_members WHERE account_id = ANY($1::bigint[]) GROUP BY account_id
"""


async def count_members(executor: "Executor", team_ids: list[int]) -> dict[int, int]:
    """By team; those without members are left out."""
    return {row["account_id"]: row["members"] for row in await executor.fetch(COUNT_MEMBERS, team_ids)}


UPDATE_TEAM: Final = """
UPDATE accounts SET name = $2, time_zone = $3, status = $4, status_reason = $5, updated_at = now()
WHERE id = $1 AND kind = 'team'
"""


async def update_team(
    executor: "Executor", team_id: int, *, name: str, time_zone: str, status: AccountStatus, status_reason: str | None
) -> None:
    """Sets all four; raises NameTaken, after which the transaction can only be rolled back."""
    try:
        await executor.execute(UPDATE_TEAM, team_id, name, time_zone, status, status_reason)
    except asyncpg.UniqueViolationError:
        raise NameTaken(name) from None


UPDATE_ARCHIVED: Final = """
UPDATE accounts SET archived_at = CASE WHEN $2 THEN now() END, updated_at = now() WHERE id = $1 AND kind = 'team'
"""


async def update_archived(executor: "Executor", team_id: int, *, archived: bool) -> None:
    """Out of the lists, or back into them."""
    await executor.execute(UPDATE_ARCHIVED, team_id, archived)


LOCK_ACCOUNT: Final = """
SELECT id FROM accounts WHERE id = $1 FOR NO KEY UPDATE
"""


async def lock_account(executor: "Executor", account_id: int) -> None:
    """Lets one transaction at a time change what belongs to this account; reading goes on."""
    await executor.execute(LOCK_ACCOUNT, account_id)


LOCK_ACCOUNTS: Final = """
SELECT id FROM accounts WHERE id = ANY($1::bigint[]) ORDER BY id FOR NO KEY UPDATE
"""


async def lock_accounts(executor: "Executor", account_ids: list[int]) -> None:
    """As `lock_account`, many in one order."""
    await executor.execute(LOCK_ACCOUNTS, account_ids)


INSERT_MEMBER: Final = """
INSERT INTO team_members (account_id, user_id, role) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING
RETURNING joined_at
"""


async def insert_member(executor: "Executor", *, account_id: int, user_id: int, role: TeamRole) -> bool:
    """Whether they were no member before; an existing membership stays as it is."""
    return await executor.fetchval(INSERT_MEMBER, account_id, user_id, role) is not None


FIND_MEMBER: Final = """
SELECT m.account_id, m.user_id, u.email, u.name, m.role, m.joined_at
FROM team_members m JOIN users u ON u.id = m.user_id WHERE m.account_id = $1 AND m.user_id = $2
"""


async def find_member(executor: "Executor", *, account_id: int, user_id: int) -> TeamMember | None:
    """One membership."""
    row = await executor.fetchrow(FIND_MEMBER, account_id, user_id)
    return TeamMember(**row) if row else None


LIST_MEMBERS: Final = """
SELECT m.account_id, m.user_id, u.email, u.name, m.role, m.joined_at
FROM (SELECT account_id, user_id, role, joined_at FROM team_members
      WHERE account_id = $1 AND user_id > $2 ORDER BY user_id LIMIT $3) m
JOIN users u ON u.id = m.user_id ORDER BY m.user_id
"""


async def list_members(
    executor: "Executor", account_id: int, *, after_id: int = 0, limit: int | None = None
) -> list[TeamMember]:
    """By user id, those after `after_id`; all without a limit."""
    return [TeamMember(**row) for row in await executor.fetch(LIST_MEMBERS, account_id, after_id, limit)]


COUNT_OWNERS: Final = """
SELECT count(*) FROM team_members WHERE account_id = $1 AND role = 'owner'
"""


async def count_owners(executor: "Executor", account_id: int) -> int:
    """Of a team."""
    count: int = await executor.fetchval(COUNT_OWNERS, account_id)
    return count


UPDATE_MEMBER: Final = """
UPDATE team_members SET role = $3 WHERE account_id = $1 AND user_id = $2
"""


async def update_member(executor: "Executor", *, account_id: int, user_id: int, role: TeamRole) -> None:
    """Sets the role of a member."""
    await executor.execute(UPDATE_MEMBER, account_id, user_id, role)


DELETE_MEMBER: Final = """
DELETE FROM team_members WHERE account_id = $1 AND user_id = $2 RETURNING role
"""


async def delete_member(executor: "Executor", *, account_id: int, user_id: int) -> TeamRole | None:
    """The role they had; None if they were no member."""
    role: TeamRole | None = await executor.fetchval(DELETE_MEMBER, account_id, user_id)
    return role
