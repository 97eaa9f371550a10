"""Users: people, with their role and their language. The account that pays for a user's own calls is in accounts.py."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal, get_args

import asyncpg

from gateway.domain.roles import Role

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor

UserStatus = Literal["active", "deactivated"]
Locale = Literal["en", "es", "fr"]
USER_STATUSES: Final = get_args(UserStatus)
LOCALES: Final = get_args(Locale)
# `browser`: no language is kept, that of the browser counts.
LocaleChoice = Literal["en", "es", "fr", "browser"]
LOCALE_CHOICES: Final = get_args(LocaleChoice)
UserSort = Literal["created", "email"]
USER_SORTS: Final = get_args(UserSort)


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
    status_reason: str | None
    locale: Locale | None
    time_zone: str
    account_id: int
    created_at: datetime
    updated_at: datetime
    anonymised_at: datetime | None
    last_login_at: datetime | None

    @property
    def idle_since(self) -> datetime:
        """Their last login, or else when they were created."""
        return self.last_login_at or self.created_at


INSERT_USER: Final = """
WITH person AS (
    INSERT INTO users (email, name, role, assigned_role, locale) VALUES ($1, $2, $3, $3, $5)
    ON CONFLICT (email) DO NOTHING
    RETURNING id, email, name, role, assigned_role, group_role, status, status_reason, locale, created_at, updated_at,
        anonymised_at, last_login_at
), account AS (
    INSERT INTO accounts (kind, name, owner_user_id, time_zone) SELECT 'personal', email, id, $4 FROM person
    RETURNING id, owner_user_id, time_zone
)
SELECT p.id, p.email, p.name, p.role, p.assigned_role, p.group_role, p.status, p.status_reason, p.locale, a.time_zone,
       a.id AS account_id, p.created_at, p.updated_at, p.anonymised_at, p.last_login_at
FROM person p JOIN account a ON a.owner_user_id = p.id
"""


async def insert_user(
    executor: "Executor", *, email: str, name: str, role: Role, time_zone: str, locale: Locale | None = None
) -> User | None:
    """A new user with their personal account; None if the e-mail address (lower case) is taken."""
    row = await executor.fetchrow(INSERT_USER, email, name, role, time_zone, locale)
    return User(**row) if row else None


FIND_USER: Final = """
SELECT u.id, u.email, u.name, u.role, u.assigned_role, u.group_role, u.status, u.status_reason, u.locale, a.time_zone,
       a.id AS account_id, u.created_at, u.updated_at, u.anonymised_at, u.last_login_at
FROM users u JOIN accounts a ON a.owner_user_id = u.id
WHERE u.id = $1 OR u.email = $2
"""


async def find_user(executor: "Executor", *, user_id: int | None = None, email: str | None = None) -> User | None:
    """By id or by e-mail address (lower case)."""
    row = await executor.fetchrow(FIND_USER, user_id, email)
    return User(**row) if row else None


LIST_USERS: Final = """
SELECT u.id, u.email, u.name, u.role, u.assigned_role, u.group_role, u.status, u.status_reason, u.locale, a.time_zone,
       a.id AS account_id, u.created_at, u.updated_at, u.anonymised_at, u.last_login_at
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


LIST_USERS_BY_EMAIL: Final = LIST_USERS.replace(
    "u.id > $1 AND a.owner_user_id > $1", "u.email > coalesce((SELECT email FROM users WHERE id = $1), '')"
).replace("ORDER BY u.id", "ORDER BY u.email")


async def list_users_by_email(
    executor: "Executor",
    *,
    after_id: int,
    limit: int,
    search: str | None = None,
    role: Role | None = None,
    status: UserStatus | None = None,
) -> list[User]:
    """As `list_users`, by address, those after the address of `after_id`."""
    rows = await executor.fetch(LIST_USERS_BY_EMAIL, after_id, limit, search, role, status)
    return [User(**row) for row in rows]


LIST_IDLE_USERS: Final = """
SELECT u.id, u.email, u.name, u.role, u.assigned_role, u.group_role, u.status, u.status_reason, u.locale, a.time_zone,
       a.id AS account_id, u.created_at, u.updated_at, u.anonymised_at, u.last_login_at
FROM users u JOIN accounts a ON a.owner_user_id = u.id
WHERE coalesce(u.last_login_at, u.created_at) < $1 AND (coalesce(u.last_login_at, u.created_at), u.id) > ($2, $3)
  AND ($5::text IS NULL OR position(lower($5) IN u.email) > 0 OR position(lower($5) IN lower(u.name)) > 0)
  AND ($6::text IS NULL OR u.role = $6) AND ($7::text IS NULL OR u.status = $7)
ORDER BY coalesce(u.last_login_at, u.created_at), u.id LIMIT $4
"""


async def list_idle_users(
    executor: "Executor",
    *,
    before: datetime,
    after: tuple[datetime, int],
    limit: int,
    search: str | None = None,
    role: Role | None = None,
    status: UserStatus | None = None,
) -> list[User]:
    """As `list_users`, those without a login since `before`, the longest ago first, after this time and id."""
    rows = await executor.fetch(LIST_IDLE_USERS, before, *after, limit, search, role, status)
    return [User(**row) for row in rows]


UPDATE_LAST_LOGIN: Final = """
UPDATE users SET last_login_at = now() WHERE id = $1
"""


async def update_last_login(executor: "Executor", user_id: int) -> None:
    """That they log in now."""
    await executor.execute(UPDATE_LAST_LOGIN, user_id)


# Not FOR UPDATE, which waits for a transaction that inserts a row that names the user, as a key does: that one has
# locked the account, and would wait in turn for one that has locked the user and wants the account.
LOCK_USER: Final = """
SELECT u.id, u.email, u.name, u.role, u.assigned_role, u.group_role, u.status, u.status_reason, u.locale, a.time_zone,
       a.id AS account_id, u.created_at, u.updated_at, u.anonymised_at, u.last_login_at
FROM users u JOIN accounts a ON a.owner_user_id = u.id
WHERE u.id = $1 FOR NO KEY UPDATE OF u
"""


async def lock_user(executor: "Executor", user_id: int) -> User | None:
    """The user, locked until the transaction ends: nothing else changes the row meanwhile."""
    row = await executor.fetchrow(LOCK_USER, user_id)
    return User(**row) if row else None


UPDATE_USER: Final = """
UPDATE users SET role = $2, assigned_role = $3, group_role = $4, status = $5, name = $6, locale = $7,
                 status_reason = $8, updated_at = clock_timestamp()
WHERE id = $1
"""


# A personal account has its user's address as its name.
UPDATE_EMAIL: Final = """
WITH changed AS (UPDATE users SET email = $2 WHERE id = $1 RETURNING id)
UPDATE accounts SET name = $2 WHERE owner_user_id IN (SELECT id FROM changed)
"""


async def update_email(connection: "Executor", user_id: int, email: str) -> bool:
    """False, and nothing is changed, if another user has the address."""
    try:
        async with connection.transaction():
            await connection.execute(UPDATE_EMAIL, user_id, email)
    except asyncpg.UniqueViolationError:
        return False
    return True


UPDATE_TIME_ZONE: Final = """
UPDATE accounts SET time_zone = $2, updated_at = now() WHERE owner_user_id = $1 AND time_zone <> $2
"""


async def update_user(executor: "Executor", user: User) -> None:
    """Writes all but the address, and the time zone of the personal account."""
    u = user
    await executor.execute(
        UPDATE_USER, u.id, u.role, u.assigned_role, u.group_role, u.status, u.name, u.locale, u.status_reason
    )
    await executor.execute(UPDATE_TIME_ZONE, u.id, u.time_zone)


LOCK_ADMINS: Final = """
SELECT id FROM users WHERE role = 'admin' AND status = 'active' ORDER BY id FOR NO KEY UPDATE
"""


async def lock_admins(executor: "Executor") -> list[int]:
    """Ids of all active admins, locked until the transaction ends, so that two cannot remove each other."""
    return [row["id"] for row in await executor.fetch(LOCK_ADMINS)]
