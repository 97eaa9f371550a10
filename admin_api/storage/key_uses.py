"""Keys that end because they, or their users, are idle. migrations/0051 says how the use of a key is noted."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor

# Why a key is idle: no call was made with it, or its user did not log in.
Reason = Literal["unused", "no_login"]


class IdleKey(NamedTuple):
    """A key, and since when it is idle."""

    id: int
    since: datetime


# A key with a user counts from its own creation too: an admin may make one for somebody who never logged in.
_SINCE: Final[Mapping[Reason, str]] = {
    "unused": "i.idle_since",
    "no_login": "greatest(coalesce(u.last_login_at, u.created_at), k.created_at)",
}
_IDLE: Final[Mapping[Reason, str]] = {
    "unused": "i.idle_since < $1",
    "no_login": "coalesce(u.last_login_at, u.created_at) < $1 AND k.created_at < $1",
}
_FROM: Final = """
FROM api_key_uses i JOIN api_keys k ON k.id = i.api_key_id LEFT JOIN users u ON u.id = i.user_id
WHERE NOT i.ended AND (k.expires_at IS NULL OR k.expires_at > now())
"""


def _to_announce(reason: Reason) -> str:
    since = _SINCE[reason]
    return f"""
SELECT i.api_key_id AS id, {since} AS since {_FROM}
  AND {_IDLE[reason]} AND (i.announced_at IS NULL OR i.announced_at < {since})
ORDER BY {since}, i.api_key_id LIMIT $2
"""


def _to_end(reason: Reason) -> str:
    since = _SINCE[reason]
    return f"""
SELECT i.api_key_id AS id, {since} AS since {_FROM}
  AND {_IDLE[reason]} AND i.announced_at >= {since} AND i.announced_at <= $2
  AND ($4::bigint IS NULL OR i.api_key_id = $4)
ORDER BY {since}, i.api_key_id LIMIT $3
"""


ANNOUNCE_UNUSED: Final = _to_announce("unused")
ANNOUNCE_NO_LOGIN: Final = _to_announce("no_login")
END_UNUSED: Final = _to_end("unused")
END_NO_LOGIN: Final = _to_end("no_login")


async def list_to_announce(executor: "Executor", reason: Reason, *, idle_before: datetime, limit: int) -> list[IdleKey]:
    """Idle since before, the longest first, whose end was not announced since then."""
    statement = ANNOUNCE_UNUSED if reason == "unused" else ANNOUNCE_NO_LOGIN
    return [IdleKey(**row) for row in await executor.fetch(statement, idle_before, limit)]


async def list_to_end(
    executor: "Executor",
    reason: Reason,
    *,
    idle_before: datetime,
    announced_before: datetime,
    limit: int,
    key_id: int | None = None,
) -> list[IdleKey]:
    """Idle since before, the longest first, whose end was announced since then, and long enough ago."""
    statement = END_UNUSED if reason == "unused" else END_NO_LOGIN
    rows = await executor.fetch(statement, idle_before, announced_before, limit, key_id)
    return [IdleKey(**row) for row in rows]


UPDATE_ANNOUNCED: Final = """
UPDATE api_key_uses SET announced_at = $3
WHERE api_key_id = $1 AND NOT ended AND (announced_at IS NULL OR announced_at < $2) RETURNING api_key_id
"""


async def update_announced(executor: "Executor", key: IdleKey, *, now: datetime) -> bool:
    """Whether it was this call that noted it: of two replicas one announces the end."""
    return await executor.fetchval(UPDATE_ANNOUNCED, key.id, key.since, now) is not None
