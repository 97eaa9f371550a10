"""Keys of providers, kept for LiteLLM. They come and go encrypted: this module cannot read them."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderKey:
    """One key, by its name."""

    id: int
    name: str
    provider: str
    encrypted: bytes = field(repr=False)
    last_four: str
    created_by: str
    created_at: datetime
    updated_by: str
    updated_at: datetime


LOCK_TABLE: Final = "LOCK TABLE provider_keys IN SHARE ROW EXCLUSIVE MODE"


async def lock_provider_keys(executor: "Executor") -> None:
    """Lets one transaction at a time change them; reading goes on."""
    await executor.execute(LOCK_TABLE)


FIND_PROVIDER_KEY: Final = """
SELECT id, name, provider, sealed AS encrypted, last_four, created_by, created_at, updated_by, updated_at
FROM provider_keys WHERE name = $1
"""


async def find_provider_key(executor: "Executor", name: str) -> ProviderKey | None:
    """By name."""
    row = await executor.fetchrow(FIND_PROVIDER_KEY, name)
    return ProviderKey(**row) if row else None


LIST_PROVIDER_KEYS: Final = """
SELECT id, name, provider, sealed AS encrypted, last_four, created_by, created_at, updated_by, updated_at
FROM provider_keys WHERE id > $1 ORDER BY id LIMIT $2
"""


async def list_provider_keys(executor: "Executor", *, after_id: int, limit: int) -> list[ProviderKey]:
    """By id, those after `after_id`."""
    return [ProviderKey(**row) for row in await executor.fetch(LIST_PROVIDER_KEYS, after_id, limit)]


UPSERT_PROVIDER_KEY: Final = """
INSERT INTO provider_keys (name, provider, sealed, last_four, created_by, updated_by) VALUES ($1, $2, $3, $4, $5, $5)
ON CONFLICT (name) DO UPDATE SET provider = excluded.provider, sealed = excluded.sealed,
    last_four = excluded.last_four, updated_by = excluded.updated_by, updated_at = now()
RETURNING id, name, provider, sealed AS encrypted, last_four, created_by, created_at, updated_by, updated_at
"""


async def upsert_provider_key(
    executor: "Executor", *, name: str, provider: str, encrypted: bytes, last_four: str, by: str
) -> ProviderKey:
    """A new one, or another value for the one of that name."""
    row = await executor.fetchrow(UPSERT_PROVIDER_KEY, name, provider, encrypted, last_four, by)
    if row is None:
        raise RuntimeError("an upsert returned no row")
    return ProviderKey(**row)


REPLACE_ENCRYPTED: Final = """
UPDATE provider_keys SET sealed = $2 WHERE name = $1
"""


async def update_encrypted(executor: "Executor", name: str, encrypted: bytes) -> None:
    """The same value, encrypted with another key; it counts as no change."""
    await executor.execute(REPLACE_ENCRYPTED, name, encrypted)


DELETE_PROVIDER_KEY: Final = """
DELETE FROM provider_keys WHERE name = $1
"""


async def delete_provider_key(executor: "Executor", name: str) -> None:
    """Nothing if there is none."""
    await executor.execute(DELETE_PROVIDER_KEY, name)
