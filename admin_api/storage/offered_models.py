"""The models that are offered: found by filters, in several orders."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, get_args

from admin_api.storage.models import MODEL_COLUMNS, Model
from gateway.domain.prices import PRICE_UNITS

if TYPE_CHECKING:
    from gateway.storage.postgres import Executor

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
SELECT {MODEL_COLUMNS} FROM models
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
