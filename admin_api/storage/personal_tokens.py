"""Personal access tokens: their digests, never the tokens, and whose they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal

from gateway.domain.roles import Role

if TYPE_CHECKING:
    from admin_api.storage.users import UserStatus
    from gateway.storage.postgres import Executor


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonalToken:
    """All but the token. `role` is the most it may do; the user's own role bounds it at each use."""

    id: int
    user_id: int
    user_email: str
    name: str
    role: "Role"
    last_four: str
    expires_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None
    created_by: str
    created_at: datetime

    def status_at(self, now: datetime) -> Literal["active", "revoked", "expired"]:
        """Whether a login with it would be taken, but for its user's own state."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at <= now else "active"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLogin:
    """What a login by token needs. All `is_` are by the database's clock; `is_noted`: its row has a use within the
    last minute."""

    token_id: int
    role: "Role"
    is_revoked: bool
    is_expired: bool
    is_noted: bool
    expires_at: datetime
    user_id: int
    email: str
    user_role: "Role"
    user_status: "UserStatus"


INSERT: Final = """
INSERT INTO personal_tokens (user_id, name, role, digest, pepper_version, last_four, expires_at, created_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING id
"""


async def insert_token(
    executor: "Executor",
    *,
    user_id: int,
    name: str,
    role: "Role",
    digest: bytes,
    pepper_version: int,
    last_four: str,
    expires_at: datetime,
    created_by: str,
) -> int:
    """Its id."""
    token_id: int = await executor.fetchval(
        INSERT, user_id, name, role, digest, pepper_version, last_four, expires_at, created_by
    )
    return token_id


COUNT_ACTIVE: Final = """
SELECT count(*) FROM personal_tokens WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > now()
"""


async def count_active(executor: "Executor", user_id: int) -> int:
    """Tokens of the user that work now."""
    count: int = await executor.fetchval(COUNT_ACTIVE, user_id)
    return count


FIND: Final = """
SELECT t.id, t.user_id, u.email AS user_email, t.name, t.role, t.last_four, t.expires_at, t.revoked_at,
       t.last_used_at, t.created_by, t.created_at
FROM personal_tokens t JOIN users u ON u.id = t.user_id WHERE t.user_id = $1 AND t.id = $2
"""


async def find_token(executor: "Executor", *, user_id: int, token_id: int) -> PersonalToken | None:
    """One of the user's; None also for another user's."""
    row = await executor.fetchrow(FIND, user_id, token_id)
    return PersonalToken(**row) if row else None


LIST: Final = """
SELECT t.id, t.user_id, u.email AS user_email, t.name, t.role, t.last_four, t.expires_at, t.revoked_at,
       t.last_used_at, t.created_by, t.created_at
FROM personal_tokens t JOIN users u ON u.id = t.user_id WHERE t.user_id = $1 AND t.id > $2 ORDER BY t.id LIMIT $3
"""


async def list_tokens(executor: "Executor", *, user_id: int, after_id: int, limit: int) -> list[PersonalToken]:
    """The user's, by id, revoked and expired ones too."""
    return [PersonalToken(**row) for row in await executor.fetch(LIST, user_id, after_id, limit)]


UPDATE_REVOKED: Final = """
UPDATE personal_tokens SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL RETURNING id
"""


async def update_revoked(executor: "Executor", token_id: int) -> bool:
    """False: it was revoked before."""
    return await executor.fetchval(UPDATE_REVOKED, token_id) is not None


FIND_LOGIN: Final = """
SELECT t.id AS token_id, t.role, t.revoked_at IS NOT NULL AS is_revoked, t.expires_at <= now() AS is_expired,
       coalesce(t.last_used_at >= now() - interval '1 minute', false) AS is_noted, t.expires_at,
       u.id AS user_id, u.email, u.role AS user_role, u.status AS user_status
FROM personal_tokens t JOIN users u ON u.id = t.user_id WHERE t.digest = ANY($1::bytea[])
"""


async def find_login(executor: "Executor", digests: Sequence[bytes]) -> TokenLogin | None:
    """By the digests under all peppers."""
    row = await executor.fetchrow(FIND_LOGIN, list(digests))
    return TokenLogin(**row) if row else None


UPDATE_LAST_USED: Final = """
UPDATE personal_tokens SET last_used_at = now()
WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')
"""


async def update_last_used(executor: "Executor", token_id: int) -> None:
    """To the minute: a busy token is not a row written at every call."""
    await executor.execute(UPDATE_LAST_USED, token_id)
