"""The keys of sessions, for the playground: migrations/0057 says how they relate to API keys."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor


@dataclass(frozen=True, slots=True)
class SessionKey:
    """`is_fresh`: it works for long enough that it need not be renewed now."""

    digest: bytes
    is_fresh: bool


# Half of the time: who calls each minute writes twice an hour. No key can be renewed beyond the end of its session.
FIND: Final = """
SELECT k.digest, k.expires_at > least(now() + make_interval(secs => $2::float8 / 2),
                                      s.expires_at - interval '1 second') AS is_fresh
FROM session_keys k JOIN sessions s ON s.id = k.session_id WHERE k.session_id = $1
"""


async def find_session_key(executor: "Executor", session_id: int, *, lifetime_s: float) -> SessionKey | None:
    """None: the session has none yet, or is over."""
    row = await executor.fetchrow(FIND, session_id, lifetime_s)
    return SessionKey(**row) if row else None


# The lock makes an end of the session that comes now wait, and so end this key too.
UPSERT: Final = """
WITH open AS (
    SELECT id, expires_at FROM sessions WHERE id = $1 AND ended_at IS NULL AND expires_at > now() FOR SHARE
)
INSERT INTO session_keys (session_id, api_key_id, digest, expires_at)
SELECT id, $2, $3, least(now() + make_interval(secs => $4), expires_at) FROM open
ON CONFLICT (session_id) DO UPDATE SET digest = EXCLUDED.digest, expires_at = EXCLUDED.expires_at
RETURNING session_id
"""


async def upsert_session_key(
    executor: "Executor", session_id: int, *, api_key_id: int, digest: bytes, lifetime_s: float
) -> bool:
    """Gives the session's key this digest, for this time from now; False if the session is over."""
    return await executor.fetchval(UPSERT, session_id, api_key_id, digest, lifetime_s) is not None


FIND_KEY_OF_USER: Final = """
SELECT id FROM api_keys WHERE user_id = $1 AND kind = 'session'
"""


async def find_key_of_user(executor: "Executor", user_id: int) -> int | None:
    """The id of the one that all sessions of the user share."""
    key_id: int | None = await executor.fetchval(FIND_KEY_OF_USER, user_id)
    return key_id


INSERT_KEY: Final = """
INSERT INTO api_keys (account_id, user_id, kind, name, digest, pepper_version, last_four, created_by)
VALUES ($1, $2, 'session', $3, $4, 0, '', $5) RETURNING id
"""


async def insert_key(
    executor: "Executor", *, account_id: int, user_id: int, name: str, digest: bytes, created_by: str
) -> int:
    """Its id. `digest` is of no secret."""
    key_id: int = await executor.fetchval(INSERT_KEY, account_id, user_id, name, digest, created_by)
    return key_id
