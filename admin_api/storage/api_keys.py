"""API keys: their digests, never the keys, and the models each may use."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal, get_args

from gateway.domain.model_status import WithheldStatus, model_status

if TYPE_CHECKING:
    import asyncpg

    from gateway.storage.postgres import Executor

KeyKind = Literal["standard", "session"]
KEY_KINDS: Final = get_args(KeyKind)


@dataclass(frozen=True, slots=True)
class UnavailableModel:
    """A model of a key that cannot be called now."""

    model: str
    status: WithheldStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class APIKey:
    """All but the key. `user_id` is None for a team's service key; no `models` means no access."""

    id: int
    # `session`: the one of the user's playground, which is shown in no list (migrations/0057).
    kind: KeyKind
    account_id: int
    account_name: str
    user_id: int | None
    user_email: str | None
    name: str
    last_four: str
    models: list[str]
    unavailable: list[UnavailableModel]
    allowed_ips: list[str]
    expires_at: datetime | None
    revoked_at: datetime | None
    archived_at: datetime | None
    # Of the key before the last rotation, which works until then.
    rotated_at: datetime | None
    previous_last_four: str | None
    previous_ends_at: datetime | None
    created_by: str
    created_at: datetime
    updated_at: datetime
    # To the hour; None: never.
    last_used_at: datetime | None
    # When it was last used, or else created.
    idle_since: datetime

    def status_at(self, now: datetime) -> str:
        """revoked, expired, archived or active."""
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at is not None and self.expires_at <= now:
            return "expired"
        return "active" if self.archived_at is None else "archived"

    def is_active(self, now: datetime) -> bool:
        """Whether it may be used at all; its models may still be none."""
        is_over = self.expires_at is not None and self.expires_at <= now
        return self.revoked_at is None and self.archived_at is None and not is_over


INSERT_KEY: Final = """
INSERT INTO api_keys (account_id, user_id, name, digest, pepper_version, last_four, allowed_ips, expires_at, created_by)
VALUES ($1, $2, $3, $4, $5, $6, $7::text[]::cidr[], $8, $9) RETURNING id
"""


async def insert_key(
    executor: "Executor",
    *,
    account_id: int,
    user_id: int | None,
    name: str,
    digest: bytes,
    pepper_version: int,
    last_four: str,
    allowed_ips: Sequence[str],
    expires_at: datetime | None,
    created_by: str,
) -> int:
    """Its id. `allowed_ips` are networks in CIDR form."""
    key_id: int = await executor.fetchval(
        INSERT_KEY,
        account_id,
        user_id,
        name,
        digest,
        pepper_version,
        last_four,
        list(allowed_ips),
        expires_at,
        created_by,
    )
    return key_id


INSERT_KEY_MODELS: Final = """
INSERT INTO api_key_models (api_key_id, model_id) SELECT $1, unnest($2::bigint[]) ON CONFLICT DO NOTHING
"""


async def insert_key_models(executor: "Executor", key_id: int, model_ids: Sequence[int]) -> None:
    """Lets the key use these too."""
    await executor.execute(INSERT_KEY_MODELS, key_id, list(model_ids))


# The last use by a subselect each: joined, all uses before a page's keys would be read.
_COLUMNS: Final = """
k.id, k.kind, k.account_id, a.name AS account_name, k.user_id, u.email AS user_email, k.name, k.last_four,
       (SELECT coalesce(jsonb_agg(jsonb_build_array(m.name, m.enabled, m.listed, (
                SELECT CASE WHEN s.status = 'active' AND s.expires_at <= now() THEN 'expired' ELSE s.status END
                FROM subscriptions s WHERE s.account_id = k.account_id AND s.model_id = m.id)) ORDER BY m.name), '[]')
        FROM api_key_models km JOIN models m ON m.id = km.model_id WHERE km.api_key_id = k.id)::text AS models,
       k.allowed_ips::text[] AS allowed_ips, k.expires_at, k.revoked_at, k.archived_at, k.rotated_at,
       k.previous_last_four, k.previous_ends_at, k.created_by, k.created_at, k.updated_at,
       (SELECT i.last_used_at FROM api_key_uses i WHERE i.api_key_id = k.id) AS last_used_at,
       coalesce((SELECT i.idle_since FROM api_key_uses i WHERE i.api_key_id = k.id), k.created_at) AS idle_since
"""
_KEY: Final = f"""
SELECT {_COLUMNS} FROM api_keys k JOIN accounts a ON a.id = k.account_id
    LEFT JOIN users u ON u.id = k.user_id
"""

FIND_KEY: Final = f"""
{_KEY} WHERE k.id = $1
"""


async def find_key(executor: "Executor", key_id: int) -> APIKey | None:
    """Also a revoked or expired one."""
    row = await executor.fetchrow(FIND_KEY, key_id)
    return _key(row) if row else None


FIND_BY_ENDING: Final = f"""
{_KEY} WHERE k.last_four = $1 OR k.previous_last_four = $1 ORDER BY k.revoked_at IS NOT NULL, k.id LIMIT 20
"""


async def find_by_ending(executor: "Executor", last_four: str) -> list[APIKey]:
    """Keys whose secret ends so, or the one before their rotation with a grace period. Of those in use, or of all if
    none is; 20 at most."""
    found = [_key(row) for row in await executor.fetch(FIND_BY_ENDING, last_four)]
    return [key for key in found if key.revoked_at is None] or found


# A viewer's are a page of their own and one of each team they own, however many there are, and of them the first page.
# Ordered by user or account first, so that Postgres reads their keys in the order of an index, and not those of all
# until a page of them is theirs.
LIST_KEYS: Final = f"""
{_KEY} WHERE k.id > $1 AND k.kind = 'standard' AND ($2::bigint IS NULL OR k.account_id BETWEEN $2 AND $2)
  AND ($3::bigint IS NULL OR k.user_id BETWEEN $3 AND $3)
  AND ($4 OR k.archived_at IS NULL)
  AND ($5::bigint IS NULL OR CASE WHEN $3::bigint IS NOT NULL
      THEN k.user_id = $5 OR EXISTS (
          SELECT FROM team_members t WHERE t.account_id = k.account_id AND t.user_id = $5 AND t.role = 'owner')
      ELSE k.id = ANY(ARRAY(
      (SELECT own.id FROM api_keys own
       WHERE own.user_id BETWEEN $5 AND $5 AND own.id > $1 AND own.kind = 'standard'
         AND ($2::bigint IS NULL OR own.account_id = $2) AND ($4 OR own.archived_at IS NULL)
       ORDER BY own.user_id, own.id LIMIT $6)
      UNION ALL SELECT theirs.id FROM team_members t CROSS JOIN LATERAL (
          SELECT o.id FROM api_keys o
          WHERE o.account_id BETWEEN t.account_id AND t.account_id AND o.id > $1 AND o.kind = 'standard'
            AND ($4 OR o.archived_at IS NULL)
          ORDER BY o.account_id, o.id LIMIT $6) AS theirs
      WHERE t.user_id = $5 AND t.role = 'owner' AND ($2::bigint IS NULL OR t.account_id = $2))) END)
ORDER BY CASE WHEN $3::bigint IS NOT NULL THEN k.user_id WHEN $2::bigint IS NOT NULL AND $5::bigint IS NULL
    THEN k.account_id ELSE 0 END, k.id LIMIT $6
"""


async def list_keys(
    executor: "Executor",
    *,
    after_id: int,
    limit: int,
    account_id: int | None = None,
    user_id: int | None = None,
    archived: bool = False,
    viewer_id: int | None = None,
) -> list[APIKey]:
    """By id, those after `after_id`; revoked ones too, archived ones if they are asked for. For a viewer, their own
    and all of the teams they own."""
    rows = await executor.fetch(LIST_KEYS, after_id, account_id, user_id, archived, viewer_id, limit)
    return [_key(row) for row in rows]


def _key(row: "asyncpg.Record") -> APIKey:
    models = json.loads(row["models"])
    unavailable = []
    for name, enabled, listed, subscription in models:
        status = model_status(enabled=enabled, listed=listed)
        withheld = subscription if status == "available" else status
        # A key's models are those its account is subscribed to, in whatever state.
        if subscription is not None and withheld != "active":
            unavailable.append(UnavailableModel(name, withheld))
    return APIKey(**{**row, "models": [name for name, *_ in models], "unavailable": unavailable})


def _idle(own: str) -> str:
    """A page of those that `own` says."""
    return f"""
SELECT one.api_key_id, one.idle_since FROM api_key_uses one
WHERE {own} AND NOT one.ended AND one.idle_since < $1 AND (one.idle_since, one.api_key_id) > ($2, $3)
    AND ($4::bigint IS NULL OR one.account_id = $4) AND ($5::bigint IS NULL OR one.user_id = $5)
ORDER BY one.idle_since, one.api_key_id LIMIT $7
"""


# Of all, of a user, or of an account, by an index of its own each; a viewer's are a page of their own and one of each
# team they own.
LIST_IDLE_KEYS: Final = f"""
SELECT {_COLUMNS} FROM (
    ({_idle("$6::bigint IS NULL")})
    UNION ({_idle("one.user_id = $6")})
    UNION SELECT theirs.api_key_id, theirs.idle_since FROM team_members t
        CROSS JOIN LATERAL ({_idle("one.account_id = t.account_id")}) AS theirs
        WHERE t.user_id = $6 AND t.role = 'owner'
) AS found JOIN api_keys k ON k.id = found.api_key_id
    JOIN accounts a ON a.id = k.account_id LEFT JOIN users u ON u.id = k.user_id
ORDER BY found.idle_since, found.api_key_id LIMIT $7
"""


async def list_idle_keys(
    executor: "Executor",
    *,
    before: datetime,
    after: tuple[datetime, int],
    limit: int,
    account_id: int | None = None,
    user_id: int | None = None,
    viewer_id: int | None = None,
) -> list[APIKey]:
    """Neither revoked nor archived and not used since `before`, the longest unused first, after this time and id."""
    rows = await executor.fetch(LIST_IDLE_KEYS, before, *after, account_id, user_id, viewer_id, limit)
    return [_key(row) for row in rows]


HAS_DIGEST: Final = """
SELECT EXISTS (SELECT FROM api_keys WHERE id = $1 AND digest = ANY($2::bytea[]))
"""


async def has_digest(executor: "Executor", key_id: int, digests: Sequence[bytes]) -> bool:
    """Whether the key's secret has one of these digests."""
    has: bool = await executor.fetchval(HAS_DIGEST, key_id, list(digests))
    return has


IS_KEY_SEEN: Final = """
SELECT EXISTS (SELECT FROM api_keys k WHERE k.id = $1 AND (k.user_id = $2 OR EXISTS (
    SELECT FROM team_members t WHERE t.account_id = k.account_id AND t.user_id = $2 AND t.role = 'owner')))
"""


async def is_key_seen(executor: "Executor", key_id: int, *, viewer_id: int) -> bool:
    """Whether it is this user's, or one of a team they own."""
    seen: bool = await executor.fetchval(IS_KEY_SEEN, key_id, viewer_id)
    return seen


COUNT_ACTIVE_KEYS: Final = """
SELECT count(*) FROM api_keys
WHERE account_id = $1 AND kind = 'standard' AND revoked_at IS NULL AND archived_at IS NULL
  AND (expires_at IS NULL OR expires_at > now())
"""


async def count_active_keys(executor: "Executor", account_id: int) -> int:
    """Keys of the account that work."""
    count: int = await executor.fetchval(COUNT_ACTIVE_KEYS, account_id)
    return count
