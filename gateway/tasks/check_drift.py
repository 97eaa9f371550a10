"""Compares counters with the ledger periodically, and has wrong ones seeded again."""

import asyncio
import struct
from typing import Final

import structlog

from gateway import metrics
from gateway.domain.limits import WINDOWED_KINDS
from gateway.storage.counters.drift import Drift, measure_drift
from gateway.storage.counters.epochs import raise_epochs_above
from gateway.storage.counters.scripts import Counters
from gateway.storage.failures import POSTGRES_FAILED
from gateway.storage.postgres import Pool
from gateway.storage.redis.link import RedisUnavailable, ScriptFailed

log = structlog.get_logger(__name__)

CHECK_S: Final = 300.0
# Rows on their way into the ledger are no drift. So it is looked several times within SETTLING_S: a difference counts
# that is there each time, on the same side, and is more than what the ledger takes in within LAG_S.
SETTLING_S: Final = 10.0
LOOKS: Final = 5
LAG_S: Final = 2.0
PARTS_AWAY: Final = (RedisUnavailable, ScriptFailed, *POSTGRES_FAILED)
# What an account's hash raises that is damaged.
NOT_OURS: Final = (ScriptFailed, struct.error, ValueError)


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
                else:
                    # The metric is the largest of all workers, so this worker clears its last value.
                    _set_metrics([])
            except PARTS_AWAY as exc:
                log.warning("drift_not_checked", cause=str(exc))

    async def check(self, account_ids: list[int], settling_s: float = SETTLING_S) -> list[Drift]:
        """The drifts that no row on its way explains; their accounts' counters are seeded again by the next call."""
        looks = [await self._measure(account_ids)]
        for _ in range(LOOKS - 1):
            await asyncio.sleep(settling_s / (LOOKS - 1))
            looks.append(await self._measure(sorted({account for account, _ in looks[-1]})))
        stood = [drift for key, drift in looks[-1].items() if _stands([look.get(key) for look in looks], settling_s)]
        _set_metrics(stood)
        if stood:
            await self._repair(stood)
        for drift in stood:
            log.warning(
                "counter_drifted",
                account_id=drift.account_id,
                counter=drift.field,
                counted=drift.counted,
                ledger=drift.ledger,
            )
        return stood

    async def _repair(self, drifts: list[Drift]) -> None:
        epochs: dict[int, int] = {}
        for drift in drifts:
            epochs[drift.account_id] = max(drift.epoch, epochs.get(drift.account_id, 0))
        if await raise_epochs_above(self._pool, epochs):
            log.error("postgres_lost_epochs", accounts=sorted(epochs)[:20])

    async def _measure(self, account_ids: list[int]) -> dict[tuple[int, str], Drift]:
        now_ms = await self._counters.now_ms()
        found = {}
        for account_id in account_ids:
            try:
                drifts = await measure_drift(self._counters, self._pool, account_id, now_ms)
            except NOT_OURS as exc:
                # It keeps no other account back.
                log.error("drift_not_measured", account_id=account_id, cause=str(exc))
                continue
            found.update({(account_id, drift.field): drift for drift in drifts if drift.difference})
        return found


def _set_metrics(drifts: list[Drift]) -> None:
    for kind in WINDOWED_KINDS:
        metrics.DRIFT.labels(kind).set(max((drift.share for drift in drifts if drift.kind == kind), default=0.0))


def _stands(looks: list[Drift | None], settling_s: float) -> bool:
    seen = [look for look in looks if look is not None]
    if len(seen) < len(looks):
        return False
    a_second = (seen[-1].ledger - seen[0].ledger) / settling_s
    on_their_way = max(0.0, a_second) * LAG_S
    return all(look.difference > on_their_way for look in seen) or all(look.difference < -on_their_way for look in seen)
