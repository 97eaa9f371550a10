"""What a worker knows of the whole catalogue: prices by model name, for calls that another model answered than the key
was granted; and which models metrics name."""

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import structlog

from gateway.domain.prices import PRICE_COLUMNS, Price, price_of
from gateway.storage.failures import POSTGRES_FAILED

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

log = structlog.get_logger(__name__)

# A price may begin at a time that nobody is notified of.
REFRESH_S: Final = 60.0
RETRY_S: Final = 2.0
SELECT_PRICES: Final = f"""
SELECT DISTINCT ON (m.id) m.name, {", ".join(f"p.{name}" for name in PRICE_COLUMNS)}
FROM models m JOIN model_prices p ON p.model_id = m.id
WHERE p.effective_at <= now()
ORDER BY m.id, p.effective_at DESC, p.id DESC
"""
# The first of the enabled models that metrics do not name.
SELECT_FIRST_UNNAMED: Final = "SELECT id FROM models WHERE enabled ORDER BY id OFFSET $1 LIMIT 1"


class ModelPrices:
    """`find` and `is_named` answer from memory; `run` is a task of the app."""

    def __init__(self, pool: "Pool", *, max_named: int) -> None:
        self._pool = pool
        self._max_named = max_named
        self._first_unnamed: int | None = None if max_named else 0
        self._prices: dict[str, Price] = {}
        self._changed = asyncio.Event()

    def find(self, name: str) -> Price | None:
        """What this model costs now; None: it is no model of the catalogue, or has no price."""
        return self._prices.get(name)

    def is_named(self, model_id: int) -> bool:
        """Whether metrics name this model: the `max_named` oldest of those that are enabled. All workers and gateways
        name the same ones, so that their sums are right."""
        return self._first_unnamed is None or model_id < self._first_unnamed

    def changed(self) -> None:
        """A model or a price is another one now."""
        self._changed.set()

    async def run(self) -> None:
        """Reads them at once, at each change and each minute, until cancelled."""
        while True:
            self._changed.clear()
            wait_s = REFRESH_S
            try:
                rows = await self._pool.fetch(SELECT_PRICES)
                if self._max_named:
                    self._first_unnamed = await self._pool.fetchval(SELECT_FIRST_UNNAMED, self._max_named)
            except POSTGRES_FAILED as exc:
                log.warning("prices_not_read", cause=str(exc))
                wait_s = RETRY_S
            else:
                self._prices = {row["name"]: price_of(row) for row in rows}
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()
