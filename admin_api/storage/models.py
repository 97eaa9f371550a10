"""Models as LiteLLM was last seen to serve them."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal, get_args

from gateway.domain.model_status import ModelStatus, model_status
from gateway.domain.prices import PRICE_UNITS

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


_MODEL: Final = ", ".join(field.name for field in fields(Model))

FIND_MODEL: Final = f"""
SELECT {_MODEL} FROM models WHERE id = $1 OR name = $2
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


# Of `unpriced` models calls of accounts with a budget are refused.
ModelState = Literal["open", "restricted", "hidden", "disabled", "unlisted", "unpriced"]
MODEL_STATES: Final = get_args(ModelState)
# `price`: of a token of input, the lowest first; without one last.
ModelSort = Literal["id", "name", "newest", "price"]
MODEL_SORTS: Final = get_args(ModelSort)
UNPRICED: Final = f"""
coalesce((SELECT num_nonnulls({", ".join(PRICE_UNITS)}) FROM model_prices
          WHERE model_id = models.id AND effective_at <= clock_timestamp()
          ORDER BY effective_at DESC, id DESC LIMIT 1), 0) = 0"""
LIST_CATALOGUE: Final = f"""
SELECT {_MODEL} FROM models
WHERE id > $1 AND ($3::boolean OR (enabled AND listed AND NOT hidden))
  AND ($4::text IS NULL OR position(lower($4) IN lower(name || ' ' || coalesce(description, ''))) > 0)
  AND ($5::text IS NULL OR provider = $5) AND ($6::text IS NULL OR mode = $6)
  AND ($7::text IS NULL OR $7 = ANY(capabilities))
  AND CASE $8::text
      WHEN 'open' THEN enabled AND listed AND NOT hidden AND NOT restricted
      WHEN 'restricted' THEN enabled AND listed AND NOT hidden AND restricted
      WHEN 'hidden' THEN enabled AND listed AND hidden
      WHEN 'disabled' THEN NOT enabled
      WHEN 'unlisted' THEN NOT listed
      WHEN 'unpriced' THEN enabled AND listed AND {UNPRICED}
      ELSE true END
ORDER BY id LIMIT $2
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueFilter:
    """What to show; all that is set must hold. `search` is part of a name or description, in any case. `state` is a
    ModelState."""

    search: str | None = None
    provider: str | None = None
    mode: str | None = None
    capability: str | None = None
    state: str | None = None


_INPUT_PRICE: Final = """
coalesce((SELECT input FROM model_prices WHERE model_id = models.id AND effective_at <= clock_timestamp()
          ORDER BY effective_at DESC, id DESC LIMIT 1), 'Infinity'::numeric)"""
# Sort -> which rows are after the model $1, or all for 0, and their order.
_ORDERS: Final[dict[ModelSort, tuple[str, str]]] = {
    "id": ("id > $1", "id"),
    "name": ("name > coalesce((SELECT name FROM models WHERE id = $1), '')", "name"),
    "newest": ("($1 = 0 OR id < $1)", "id DESC"),
    "price": (
        f"($1 = 0 OR ({_INPUT_PRICE}, id) > (SELECT {_INPUT_PRICE}, id FROM models WHERE id = $1))",
        f"{_INPUT_PRICE}, id",
    ),
}
LIST_SORTED: Final[dict[ModelSort, str]] = {
    sort: LIST_CATALOGUE.replace("id > $1", after, 1).replace("ORDER BY id", f"ORDER BY {order}")
    for sort, (after, order) in _ORDERS.items()
}


async def list_catalogue(
    executor: "Executor",
    *,
    after_id: int,
    limit: int,
    everything: bool,
    only: CatalogueFilter,
    sort: ModelSort = "id",
) -> list[Model]:
    """Those after the model `after_id`, or all for 0; without `everything` only what is offered: enabled, listed and
    not hidden."""
    values = (getattr(only, name) for name in CatalogueFilter.__slots__)
    return [Model(**row) for row in await executor.fetch(LIST_SORTED[sort], after_id, limit, everything, *values)]


FIND_CHOICES: Final = """
WITH offered AS (
    SELECT provider, mode, capabilities FROM models WHERE $1::boolean OR (enabled AND listed AND NOT hidden)
)
SELECT count(*) AS models,
       coalesce(array_agg(DISTINCT provider ORDER BY provider) FILTER (WHERE provider IS NOT NULL), '{}') AS providers,
       coalesce(array_agg(DISTINCT mode ORDER BY mode) FILTER (WHERE mode IS NOT NULL), '{}') AS modes,
       coalesce((SELECT array_agg(DISTINCT one ORDER BY one) FROM offered, unnest(capabilities) AS one), '{}')
           AS capabilities
FROM offered
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueChoices:
    """How many models there are, and what a filter of them can be set to."""

    models: int
    providers: list[str]
    modes: list[str]
    capabilities: list[str]


async def find_choices(executor: "Executor", *, everything: bool) -> CatalogueChoices:
    """Of all models, or of those that are offered."""
    (row,) = await executor.fetch(FIND_CHOICES, everything)
    return CatalogueChoices(**row)


LIST_NAMES: Final = """
SELECT name FROM models WHERE $1::boolean OR (enabled AND listed AND NOT hidden) ORDER BY id LIMIT $2
"""


async def list_names(executor: "Executor", *, everything: bool, limit: int) -> list[str]:
    """Of what `list_catalogue` has."""
    return [row["name"] for row in await executor.fetch(LIST_NAMES, everything, limit)]


COUNT_LISTED: Final = """
SELECT count(*) FROM models WHERE listed
"""


async def count_listed(executor: "Executor") -> int:
    """Models that the last good sync saw."""
    count: int = await executor.fetchval(COUNT_LISTED)
    return count


LIST_ALL_MODELS: Final = f"""
SELECT {_MODEL} FROM models ORDER BY id
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
