"""Sessions of people in browsers, and who they are at an identity provider. A session's id is stored as a digest."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal, get_args

from gateway.domain.roles import Role

if TYPE_CHECKING:
    from admin_api.storage.users import UserStatus
    from gateway.storage.postgres import Executor

Provider = Literal["oidc", "openshift"]
PROVIDERS: Final = get_args(Provider)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A browser that is logged in, as shown to its user."""

    id: int
    provider: Provider
    ip: str | None
    user_agent: str | None
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLogin:
    """What a request by cookie needs. `is_over`: ended, expired or idle for too long; `is_noted`: its row has a time
    of use that is recent enough, so none is written."""

    session_id: int
    provider: Provider
    is_over: bool
    is_noted: bool
    user_id: int
    email: str
    user_role: "Role"
    user_status: "UserStatus"


INSERT: Final = """
INSERT INTO sessions (user_id, digest, provider, ip, user_agent, expires_at)
VALUES ($1, $2, $3, $4::text::inet, $5, now() + make_interval(secs => $6)) RETURNING id
"""


async def insert_session(
    executor: "Executor",
    *,
    user_id: int,
    digest: bytes,
    provider: Provider,
    ip: str | None,
    user_agent: str | None,
    lifetime_s: float,
) -> int:
    """Its id."""
    session_id: int = await executor.fetchval(INSERT, user_id, digest, provider, ip, user_agent, lifetime_s)
    return session_id


FIND_LOGIN: Final = """
SELECT s.id AS session_id, s.provider,
       s.ended_at IS NOT NULL OR s.expires_at <= now()
           OR s.last_seen_at <= now() - make_interval(secs => $2) AS is_over,
       s.last_seen_at >= now() - least(interval '1 minute', make_interval(secs => $2 / 10)) AS is_noted,
       u.id AS user_id, u.email, u.role AS user_role, u.status AS user_status
FROM sessions s JOIN users u ON u.id = s.user_id WHERE s.digest = ANY($1::bytea[])
"""


async def find_login(executor: "Executor", digests: Sequence[bytes], *, idle_s: float) -> SessionLogin | None:
    """By the digests under all peppers."""
    row = await executor.fetchrow(FIND_LOGIN, list(digests), idle_s)
    return SessionLogin(**row) if row else None


UPDATE_SEEN: Final = """
UPDATE sessions SET last_seen_at = now()
WHERE id = $1 AND last_seen_at < now() - least(interval '1 minute', make_interval(secs => $2::float8 / 10))
"""


async def update_seen(executor: "Executor", session_id: int, *, idle_s: float) -> None:
    """To the minute, or to a tenth of the idle time where that is less: a page that makes ten requests does not write
    ten times, and a session in use is not idle."""
    await executor.execute(UPDATE_SEEN, session_id, idle_s)


LIST: Final = """
SELECT id, provider, host(ip) AS ip, user_agent, created_at, last_seen_at, expires_at FROM sessions
WHERE user_id = $1 AND ended_at IS NULL AND expires_at > now() AND last_seen_at > now() - make_interval(secs => $2)
  AND id < $3 ORDER BY id DESC LIMIT $4
"""


async def list_sessions(
    executor: "Executor", user_id: int, *, idle_s: float, before_id: int, limit: int
) -> list[Session]:
    """The user's that work now, newest first."""
    return [Session(**row) for row in await executor.fetch(LIST, user_id, idle_s, before_id, limit)]


END: Final = """
UPDATE sessions SET ended_at = now()
WHERE user_id = $1 AND ($2::bigint IS NULL OR id = $2) AND ended_at IS NULL RETURNING id
"""


async def end_sessions(executor: "Executor", user_id: int, *, session_id: int | None = None) -> list[int]:
    """Ends one of the user's, or all; those that were not ended before."""
    return [row["id"] for row in await executor.fetch(END, user_id, session_id)]


DELETE_OLD: Final = """
DELETE FROM sessions WHERE expires_at < now() - interval '30 days'
"""


async def delete_old(executor: "Executor") -> None:
    """Sessions that ended or expired long ago."""
    await executor.execute(DELETE_OLD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which user a person at a provider is. `groups_told_at`: when the provider reported the groups that count now;
    None: it never said when."""

    id: int
    user_id: int
    issuer: str
    subject: str
    created_at: datetime
    groups_told_at: datetime | None


FIND_IDENTITY: Final = """
SELECT id, user_id, issuer, subject, created_at, groups_told_at FROM identities WHERE issuer = $1 AND subject = $2
"""


async def find_identity(executor: "Executor", *, issuer: str, subject: str) -> Identity | None:
    """None: no user is linked to this person."""
    row = await executor.fetchrow(FIND_IDENTITY, issuer, subject)
    return Identity(**row) if row else None


LIST_IDENTITIES: Final = """
SELECT id, user_id, issuer, subject, created_at, groups_told_at FROM identities
WHERE user_id = $1 AND id > $2 ORDER BY id LIMIT $3
"""


async def list_identities(executor: "Executor", *, user_id: int, after_id: int, limit: int) -> list[Identity]:
    """The user's, by id."""
    return [Identity(**row) for row in await executor.fetch(LIST_IDENTITIES, user_id, after_id, limit)]


DELETE_IDENTITY: Final = """
DELETE FROM identities WHERE user_id = $1 AND id = $2
RETURNING id, user_id, issuer, subject, created_at, groups_told_at
"""


async def delete_identity(executor: "Executor", *, user_id: int, identity_id: int) -> Identity | None:
    """What was there; None if the user has none of this id, also where it is another user's."""
    row = await executor.fetchrow(DELETE_IDENTITY, user_id, identity_id)
    return Identity(**row) if row else None


UPDATE_UNLINKED: Final = """
UPDATE users SET unlinked_at = date_trunc('second', clock_timestamp()) WHERE id = $1
"""


async def update_unlinked(executor: "Executor", user_id: int) -> None:
    """Records when it was, in whole seconds, as the times in tokens are."""
    await executor.execute(UPDATE_UNLINKED, user_id)


FIND_UNLINKED: Final = """
SELECT unlinked_at FROM users WHERE id = $1
"""


async def find_unlinked(executor: "Executor", user_id: int) -> datetime | None:
    """When an identity was last unlinked from the user; None: never."""
    moment: datetime | None = await executor.fetchval(FIND_UNLINKED, user_id)
    return moment


UPDATE_REPORTED: Final = """
UPDATE identities SET groups_told_at = $3
WHERE issuer = $1 AND subject = $2 AND (groups_told_at IS NULL OR groups_told_at <= $3) RETURNING user_id
"""


async def update_reported(executor: "Executor", *, issuer: str, subject: str, at: datetime | None) -> bool:
    """Records when the provider reported groups; False if it has reported them later than that."""
    return await executor.fetchval(UPDATE_REPORTED, issuer, subject, at) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a provider last reported of a person; None: nothing yet."""

    email: str | None
    name: str | None


FIND_PROFILE: Final = """
SELECT reported_email AS email, reported_name AS name FROM identities WHERE issuer = $1 AND subject = $2
"""


async def find_profile(executor: "Executor", *, issuer: str, subject: str) -> Profile:
    """Of a person who is linked to a user."""
    row = await executor.fetchrow(FIND_PROFILE, issuer, subject)
    return Profile(**row) if row else Profile(email=None, name=None)


UPDATE_PROFILE: Final = """
UPDATE identities SET reported_email = $3, reported_name = $4 WHERE issuer = $1 AND subject = $2
"""


async def update_profile(executor: "Executor", profile: Profile, *, issuer: str, subject: str) -> None:
    """Replaces what was reported."""
    await executor.execute(UPDATE_PROFILE, issuer, subject, profile.email, profile.name)


INSERT_IDENTITY: Final = """
INSERT INTO identities (issuer, subject, user_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING user_id
"""


async def insert_identity(executor: "Executor", *, issuer: str, subject: str, user_id: int) -> bool:
    """False: this person, or another one of that issuer for this user, is known already."""
    return await executor.fetchval(INSERT_IDENTITY, issuer, subject, user_id) is not None
