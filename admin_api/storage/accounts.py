"""Users, and the accounts that pay: a user's personal one, or a team's with its members."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal, get_args

import asyncpg

from gateway.domain.roles import Role, TeamRole

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor

UserStatus = Literal["active", "deactivated"]
Locale = Literal["en", "es", "fr"]
AccountKind = Literal["personal", "team"]
AccountStatus = Literal["active", "suspended"]
USER_STATUSES: Final = get_args(UserStatus)
LOCALES: Final = get_args(Locale)
ACCOUNT_KINDS: Final = get_args(AccountKind)
ACCOUNT_STATUSES: Final = get_args(AccountStatus)


class NameTaken(Exception):
    """Another team has that name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person. `account_id` is their personal account, `time_zone` that account's. `role` is what counts: the stronger
    of what an admin assigned and what the provider's groups gave at the last login. `locale` None: the browser's."""

    id: int
    email: str
    name: str
    role: Role
    assigned_role: Role
    group_role: Role | None
    status: UserStatus
    locale: Locale | None
    time_zone: str
    account_id: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Who pays. `owner_user_id` is the person of a personal account, None for a team."""

    id: int
    kind: AccountKind
    name: str
    owner_user_id: int | None
    time_zone: str
    status: AccountStatus
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


INSERT_USER: Final = """
WITH person AS (
    INSERT INTO users (email, name, role, assigned_role, locale) VALUES ($1, $2, $3, $3, $5)
    ON CONFLICT (email) DO NOTHING
    RETURNING id, email, name, role, assigned_role, group_role, status, locale, created_at, updated_at
), account AS (
    INSERT INTO accounts (kind, name, owner_user_id, time_zone) SELECT 'personal', email, id, $4 FROM person
    RETURNING id, owner_user_id, time_zone
)
SELECT p.id, p.email, p.name, p.role, p.assigned_role, p.group_role, p.status, p.locale, a.time_zone,
       a.id AS account_id, p.created_at, p.updated_at
FROM person p JOIN account a ON a.owner_user_id = p.id
"""


async def insert_user(
    executor: "Executor", *, email: str, name: str, role: Role, time_zone: str, locale: Locale | None = None
) -> User | None:
    """A new user with their personal account; None if the e-mail address (lower case) is taken."""
    row = await executor.fetchrow(INSERT_USER, email, name, role, time_zone, locale)
    return User(**row) if row else None


FIND_USER: Final = """
SELECT u.id, u.email, u.name, u.role, u.assigned_role, u.group_role, u.status, u.locale, a.time_zone,
       a.id AS account_id, u.created_at, u.updated_at
FROM users u JOIN accounts a ON a.owner_user_id = u.id
WHERE u.id = $1 OR u.email = $2
"""


async def find_user(executor: "Executor", *, user_id: int | None = None, email: str | None = None) -> User | None:
    """By id or by e-mail address (lower case)."""
    row = await executor.fetchrow(FIND_USER, user_id, email)
    return User(**row) if row else None


LIST_USERS: Final = """
SELECT u.id, u.email, u.name, u.role, u.assigned_role, u.group_role, u.status, u.locale, a.time_zone,
       a.id AS account_id, u.created_at, u.updated_at
FROM users u JOIN accounts a ON a.owner_user_id = u.id
WHERE u.id > $1 AND a.owner_user_id > $1
  AND ($3::text IS NULL OR position(lower($3) IN u.email) > 0 OR position(lower($3) IN lower(u.name)) > 0)
  AND ($4::text IS NULL OR u.role = $4) AND ($5::text IS NULL OR u.status = $5)
ORDER BY u.id LIMIT $2
"""


async def list_users(
    executor: "Executor",
    *,
    after_id: int,
    limit: int,
    search: str | None = None,
    role: Role | None = None,
    status: UserStatus | None = None,
) -> list[User]:
    """By id, those after `after_id`; `search` is a part of the address or the name, in whatever case."""
    return [User(**row) for row in await executor.fetch(LIST_USERS, after_id, limit, search, role, status)]


# Not FOR UPDATE, which waits for a transaction that inserts a row that names the user, as a key does: that one has
# locked the account, and would wait in turn for one that has locked the user and wants the account.
LOCK_USER: Final = """
SELECT u.id, u.email, u.name, u.role, u.assigned_role, u.group_role, u.status, u.locale, a.time_zone,
       a.id AS account_id, u.created_at, u.updated_at
FROM users u JOIN accounts a ON a.owner_user_id = u.id
WHERE u.id = $1 FOR NO KEY UPDATE OF u
"""


async def lock_user(executor: "Executor", user_id: int) -> User | None:
    """The user, locked until the transaction ends: nothing else changes the row meanwhile."""
    row = await executor.fetchrow(LOCK_USER, user_id)
    return User(**row) if row else None


UPDATE_USER: Final = """
UPDATE users SET role = $2, assigned_role = $3, group_role = $4, status = $5, name = $6, locale = $7,
                 updated_at = clock_timestamp()
WHERE id = $1
"""
UPDATE_TIME_ZONE: Final = """
UPDATE accounts SET time_zone = $2, updated_at = now() WHERE owner_user_id = $1 AND time_zone <> $2
"""


async def update_user(executor: "Executor", user: User) -> None:
    """Writes all but the address, and the time zone of the personal account."""
    u = user
    await executor.execute(UPDATE_USER, u.id, u.role, u.assigned_role, u.group_role, u.status, u.name, u.locale)
    await executor.execute(UPDATE_TIME_ZONE, u.id, u.time_zone)


LOCK_ADMINS: Final = """
SELECT id FROM users WHERE role = 'admin' AND status = 'active' ORDER BY id FOR NO KEY UPDATE
"""


async def lock_admins(executor: "Executor") -> list[int]:
    """Ids of all active admins, locked until the transaction ends, so that two cannot remove each other."""
    return [row["id"] for row in await executor.fetch(LOCK_ADMINS)]


INSERT_TEAM: Final = """
INSERT INTO accounts (kind, name, time_zone) VALUES ('team', $1, $2)
ON CONFLICT (lower(name)) WHERE kind = 'team' DO NOTHING
RETURNING id, kind, name, owner_user_id, time_zone, status, created_at
"""


async def insert_team(executor: "Executor", *, name: str, time_zone: str) -> Account | None:
    """A new team; None if the name is taken, in whatever case."""
    row = await executor.fetchrow(INSERT_TEAM, name, time_zone)
    return Account(**row) if row else None


FIND_ACCOUNT: Final = """
SELECT id, kind, name, owner_user_id, time_zone, status, created_at FROM accounts WHERE id = $1
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
SELECT id, kind, name, owner_user_id, time_zone, status, created_at FROM accounts
WHERE kind = 'team' AND (id = $1 OR lower(name) = lower($2::text))
"""


async def find_team(executor: "Executor", *, team_id: int | None = None, name: str | None = None) -> Account | None:
    """By id or by name, in whatever case."""
    row = await executor.fetchrow(FIND_TEAM, team_id, name)
    return Account(**row) if row else None


LIST_TEAMS: Final = """
SELECT id, kind, name, owner_user_id, time_zone, status, created_at FROM accounts
WHERE kind = 'team' AND id > $1
  AND ($2::bigint IS NULL OR id IN (SELECT account_id FROM team_members WHERE user_id = $2))
ORDER BY id LIMIT $3
"""


async def list_teams(executor: "Executor", *, after_id: int, limit: int, viewer_id: int | None = None) -> list[Account]:
    """By id, those after `after_id`; for a viewer, those of the teams they are in."""
    return [Account(**row) for row in await executor.fetch(LIST_TEAMS, after_id, viewer_id, limit)]


UPDATE_TEAM: Final = """
UPDATE accounts SET name = $2, time_zone = $3, status = $4, updated_at = now() WHERE id = $1 AND kind = 'team'
"""


async def update_team(executor: "Executor", team_id: int, *, name: str, time_zone: str, status: AccountStatus) -> None:
    """Sets all three; raises NameTaken, after which the transaction can only be rolled back."""
    try:
        await executor.execute(UPDATE_TEAM, team_id, name, time_zone, status)
    except asyncpg.UniqueViolationError:
        raise NameTaken(name) from None


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
FROM team_members m JOIN users u ON u.id = m.user_id WHERE m.account_id = $1 AND m.user_id > $2
ORDER BY m.user_id LIMIT $3
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
