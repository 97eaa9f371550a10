"""Changes of API keys that there are."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor

UPDATE_KEY: Final = """
UPDATE api_keys SET name = $2, allowed_ips = $3::text[]::cidr[], expires_at = $4, updated_at = now() WHERE id = $1
"""


async def update_key(
    executor: "Executor", key_id: int, *, name: str, allowed_ips: Sequence[str], expires_at: datetime | None
) -> None:
    """Sets all three."""
    await executor.execute(UPDATE_KEY, key_id, name, list(allowed_ips), expires_at)


DELETE_KEY_MODELS: Final = """
DELETE FROM api_key_models km USING models m
WHERE km.api_key_id = $1 AND m.id = km.model_id AND m.name <> ALL($2::text[])
"""


async def keep_key_models(executor: "Executor", key_id: int, names: Sequence[str]) -> None:
    """Takes all models but these from the key."""
    await executor.execute(DELETE_KEY_MODELS, key_id, list(names))


UPDATE_ROTATED: Final = """
UPDATE api_keys SET
    previous_digest = CASE WHEN $5 > now() THEN digest END,
    previous_pepper_version = CASE WHEN $5 > now() THEN pepper_version END,
    previous_last_four = CASE WHEN $5 > now() THEN last_four END,
    previous_ends_at = CASE WHEN $5 > now() THEN $5::timestamptz END,
    digest = $2, pepper_version = $3, last_four = $4, rotated_at = now(), updated_at = now()
WHERE id = $1
"""


async def update_rotated(
    executor: "Executor",
    key_id: int,
    *,
    digest: bytes,
    pepper_version: int,
    last_four: str,
    previous_ends_at: datetime | None,
) -> None:
    """The key's new digest; the one before works until then, or ends now. One before that ends now in any case."""
    await executor.execute(UPDATE_ROTATED, key_id, digest, pepper_version, last_four, previous_ends_at)


UPDATE_ARCHIVED: Final = """
UPDATE api_keys SET archived_at = CASE WHEN $2 THEN coalesce(archived_at, now()) END, updated_at = now() WHERE id = $1
"""


async def update_archived(executor: "Executor", key_id: int, *, archived: bool) -> None:
    """Out of the lists, or back into them."""
    await executor.execute(UPDATE_ARCHIVED, key_id, archived)


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
