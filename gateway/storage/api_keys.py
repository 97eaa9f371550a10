"""API keys: their digests, never the keys, and the models each may use."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor


@dataclass(frozen=True, slots=True, kw_only=True)
class APIKey:
    """All but the key. `user_id` is None for a team's service key; no `models` means no access."""

    id: int
    account_id: int
    account_name: str
    user_id: int | None
    user_email: str | None
    name: str
    last_four: str
    models: list[str]
    allowed_ips: list[str]
    expires_at: datetime | None
    revoked_at: datetime | None
    archived_at: datetime | None
    created_by: str
    created_at: datetime


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


FIND_KEY: Final = """
SELECT k.id, k.account_id, a.name AS account_name, k.user_id, u.email AS user_email, k.name, k.last_four,
       ARRAY(SELECT m.name FROM api_key_models km JOIN models m ON m.id = km.model_id
             WHERE km.api_key_id = k.id ORDER BY m.name) AS models,
       k.allowed_ips::text[] AS allowed_ips, k.expires_at, k.revoked_at, k.archived_at, k.created_by, k.created_at
FROM api_keys k JOIN accounts a ON a.id = k.account_id LEFT JOIN users u ON u.id = k.user_id
WHERE k.id = $1
"""


async def find_key(executor: "Executor", key_id: int) -> APIKey | None:
    """Also a revoked or expired one."""
    row = await executor.fetchrow(FIND_KEY, key_id)
    return APIKey(**row) if row else None


LIST_KEYS: Final = """
SELECT k.id, k.account_id, a.name AS account_name, k.user_id, u.email AS user_email, k.name, k.last_four,
       ARRAY(SELECT m.name FROM api_key_models km JOIN models m ON m.id = km.model_id
             WHERE km.api_key_id = k.id ORDER BY m.name) AS models,
       k.allowed_ips::text[] AS allowed_ips, k.expires_at, k.revoked_at, k.archived_at, k.created_by, k.created_at
FROM api_keys k JOIN accounts a ON a.id = k.account_id LEFT JOIN users u ON u.id = k.user_id
WHERE k.id > $1 AND ($2::bigint IS NULL OR k.account_id = $2) AND ($3::bigint IS NULL OR k.user_id = $3)
  AND k.archived_at IS NULL
ORDER BY k.id LIMIT $4
"""


async def list_keys(
    executor: "Executor", *, after_id: int, limit: int, account_id: int | None = None, user_id: int | None = None
) -> list[APIKey]:
    """By id, those after `after_id`; revoked ones too, archived ones not."""
    rows = await executor.fetch(LIST_KEYS, after_id, account_id, user_id, limit)
    return [APIKey(**row) for row in rows]


UPDATE_REVOKED: Final = """
UPDATE api_keys SET revoked_at = now(), updated_at = now() WHERE id = $1 AND revoked_at IS NULL RETURNING id
"""


async def update_revoked(executor: "Executor", key_id: int) -> bool:
    """Whether it was this call that revoked it."""
    return await executor.fetchval(UPDATE_REVOKED, key_id) is not None


UPDATE_MEMBER_KEYS_REVOKED: Final = """
UPDATE api_keys SET revoked_at = now(), updated_at = now()
WHERE account_id = $1 AND user_id = $2 AND revoked_at IS NULL RETURNING id
"""


async def update_member_keys_revoked(executor: "Executor", *, account_id: int, user_id: int) -> list[int]:
    """Ids of the keys this member still had in the account; they are revoked now."""
    return [row["id"] for row in await executor.fetch(UPDATE_MEMBER_KEYS_REVOKED, account_id, user_id)]
