"""Compares counters with the ledger now and then, and has those made anew that are wrong."""

import asyncio
from typing import Final

import structlog

from gateway import metrics
from gateway.storage.counters import Counters
from gateway.storage.drift import Drift, measure_drift
from gateway.storage.epochs import raise_epochs
from gateway.storage.failures import POSTGRES_FAILED
from gateway.storage.postgres import Pool
from gateway.storage.redis import RedisUnavailable, ScriptFailed

log = structlog.get_logger(__name__)

CHECK_S: Final = 300.0
# Rows on their way into the ledger are no drift: only a difference that stands still is one.
SETTLING_S: Final = 10.0
PARTS_AWAY: Final = (RedisUnavailable, ScriptFailed, *POSTGRES_FAILED)


class DriftCheck:
    """One gateway of all makes the round, over the accounts that had leases lately."""

    def __init__(self, counters: Counters, pool: Pool) -> None:
        self._counters = counters
        self._pool = pool

    async def run(self) -> None:
        """A round each CHECK_S, until cancelled."""
        while True:
            await asyncio.sleep(CHECK_S)
            try:
                if await self._counters.claim_round("drift", round(CHECK_S * 900)):
                    await self.check(await self._counters.accounts_with_leases())
            except PARTS_AWAY as exc:
                log.warning("drift_not_checked", cause=str(exc))

    async def check(self, account_ids: list[int], settling_s: float = SETTLING_S) -> list[Drift]:
        """The drifts that stood still for `settling_s`; their accounts' counters are seeded anew by the next call."""
        first = await self._measure(account_ids)
        await asyncio.sleep(settling_s)
        second = await self._measure(sorted({account for account, _ in first}))
        stood = [drift for key, drift in second.items() if key in first and first[key].difference == drift.difference]
        for kind in ("requests", "tokens", "cost"):
            metrics.DRIFT.labels(kind).set(max((d.share for d in stood if d.kind == kind), default=0.0))
        if stood:
            await raise_epochs(self._pool, {drift.account_id for drift in stood})
        for drift in stood:
            log.warning(
                "counter_drifted",
                account_id=drift.account_id,
                counter=drift.field,
                counted=drift.counted,
                ledger=drift.ledger,
            )
        return stood

    async def _measure(self, account_ids: list[int]) -> dict[tuple[int, str], Drift]:
        now_ms = await self._counters.now_ms()
        found = {}
        for account_id in account_ids:
            for drift in await measure_drift(self._counters, self._pool, account_id, now_ms):
                if drift.difference:
                    found[account_id, drift.field] = drift
        return found
