"""Models as LiteLLM was last seen to serve them."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, Final

from gateway.domain.model_status import ModelStatus, model_status

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """What LiteLLM says of a model."""

    provider: str | None
    mode: str | None
    max_input_tokens: int | None
    max_output_tokens: int | None
    capabilities: Sequence[str]
    deployments: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One name callers use. `enabled` is a person's decision, `listed` whether the last good sync saw it."""

    id: int
    name: str
    provider: str | None
    mode: str | None
    description: str | None
    max_input_tokens: int | None
    max_output_tokens: int | None
    capabilities: list[str]
    deployments: int
    restricted: bool
    hidden: bool
    enabled: bool
    listed: bool
    created_at: datetime
    updated_at: datetime

    @property
    def status(self) -> ModelStatus:
        """The one word for whether it can be called."""
        return model_status(enabled=self.enabled, listed=self.listed)


MODEL_COLUMNS: Final = ", ".join(field.name for field in fields(Model))

FIND_MODEL: Final = f"""
SELECT {MODEL_COLUMNS} FROM models WHERE id = $1 OR name = $2
"""


async def find_model(executor: "Executor", *, model_id: int | None = None, name: str | None = None) -> Model | None:
    """By id or by exact name."""
    row = await executor.fetchrow(FIND_MODEL, model_id, name)
    return Model(**row) if row else None


IS_SUBSCRIBED: Final = """
SELECT EXISTS (SELECT FROM subscriptions WHERE model_id = $1 AND account_id IN (
    SELECT id FROM accounts WHERE owner_user_id = $2 UNION ALL SELECT account_id FROM team_members WHERE user_id = $2))
"""


async def is_subscribed(executor: "Executor", model_id: int, *, user_id: int) -> bool:
    """Whether their personal account or a team they are in has a subscription to it, in whatever state."""
    found: bool = await executor.fetchval(IS_SUBSCRIBED, model_id, user_id)
    return found


COUNT_LISTED: Final = """
SELECT count(*) FROM models WHERE listed
"""


async def count_listed(executor: "Executor") -> int:
    """Models that the last good sync saw."""
    count: int = await executor.fetchval(COUNT_LISTED)
    return count


LIST_ALL_MODELS: Final = f"""
SELECT {MODEL_COLUMNS} FROM models ORDER BY id
"""


async def list_all_models(executor: "Executor") -> list[Model]:
    """Every model, for a sync."""
    return [Model(**row) for row in await executor.fetch(LIST_ALL_MODELS)]


INSERT_MODEL: Final = """
INSERT INTO models
    (name, provider, mode, max_input_tokens, max_output_tokens, capabilities, deployments, restricted, hidden)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING id
"""


async def insert_model(executor: "Executor", name: str, info: ModelInfo, *, restricted: bool, hidden: bool) -> int:
    """A model seen for the first time; its id."""
    model_id: int = await executor.fetchval(INSERT_MODEL, name, *_values(info), restricted, hidden)
    return model_id


UPDATE_SEEN_MODEL: Final = """
UPDATE models SET provider = $2, mode = $3, max_input_tokens = $4, max_output_tokens = $5, capabilities = $6,
    deployments = $7, listed = true, updated_at = now()
WHERE id = $1
"""


async def update_seen_model(executor: "Executor", model_id: int, info: ModelInfo) -> None:
    """What LiteLLM says now, and that it is listed; a person's flags stay."""
    await executor.execute(UPDATE_SEEN_MODEL, model_id, *_values(info))


def _values(info: ModelInfo) -> tuple[object, ...]:
    """In the order of the two statements' parameters."""
    return (
        info.provider,
        info.mode,
        info.max_input_tokens,
        info.max_output_tokens,
        list(info.capabilities),
        info.deployments,
    )


UPDATE_UNLISTED_MODELS: Final = """
UPDATE models SET listed = false, updated_at = now() WHERE id = ANY($1::bigint[])
"""


async def update_unlisted_models(executor: "Executor", model_ids: Sequence[int]) -> None:
    """LiteLLM no longer lists these."""
    await executor.execute(UPDATE_UNLISTED_MODELS, list(model_ids))


LOCK_MODEL: Final = """
SELECT id FROM models WHERE id = $1 FOR NO KEY UPDATE
"""


async def lock_model(executor: "Executor", model_id: int) -> None:
    """Lets one transaction at a time change this model or its prices; reading goes on."""
    await executor.execute(LOCK_MODEL, model_id)


UPDATE_MODEL_FLAGS: Final = """
UPDATE models SET restricted = $2, hidden = $3, enabled = $4, description = $5, updated_at = now() WHERE id = $1
"""


async def update_model_flags(
    executor: "Executor", model_id: int, *, restricted: bool, hidden: bool, enabled: bool, description: str | None
) -> None:
    """A person's decisions about a model."""
    await executor.execute(UPDATE_MODEL_FLAGS, model_id, restricted, hidden, enabled, description)


# What one transaction at a time may do: bring the models up to date. "lmsync"
SYNC_LOCK: Final = 0x6C6D_7379_6E63

LOCK_SYNC: Final = """
SELECT pg_advisory_xact_lock($1)
"""


async def lock_sync(executor: "Executor") -> None:
    """Waits for a sync that is under way; held until the transaction ends, so it suits PgBouncer too."""
    await executor.execute(LOCK_SYNC, SYNC_LOCK)


TRY_LOCK_SYNC: Final = """
SELECT pg_try_advisory_xact_lock($1)
"""


async def try_lock_sync(executor: "Executor") -> bool:
    """As `lock_sync`, but False at once if another has it."""
    return bool(await executor.fetchval(TRY_LOCK_SYNC, SYNC_LOCK))
