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
from gateway.storage.counters.settling import have_rows_arrived, keep_ended_of
from gateway.storage.failures import POSTGRES_FAILED
from gateway.storage.postgres import Pool
from gateway.storage.redis.link import RedisUnavailable, ScriptFailed

log = structlog.get_logger(__name__)

CHECK_S: Final = 300.0
# Between looks. A difference that is the same at two in a row, though calls went on, is not caused by rows on their
# way.
SETTLING_S: Final = 5.0
LOOKS: Final = 4
# For the calls that seed again what has drifted.
REPAIR_S: Final = 5.0
PARTS_AWAY: Final = (RedisUnavailable, ScriptFailed, *POSTGRES_FAILED)
# What an account's hash raises that is damaged.
NOT_OURS: Final = (ScriptFailed, struct.error, ValueError)
Drifts = dict[tuple[int, str], Drift]


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
        """The drifts that no row on its way explains; their accounts' counters are seeded again by the next call.

        Of accounts that differ at the first look, calls that end are kept from then on: so the next looks are exact
        though calls go on."""
        found = await self._measure(account_ids)
        before: Drifts = {}
        stood: list[Drift] = []
        for look in range(LOOKS):
            if not found:
                break
            before, differing = found, sorted({account for account, _ in found})
            await keep_ended_of(self._counters, differing, round((settling_s + REPAIR_S) * 1000))
            await asyncio.sleep(settling_s)
            found = await self._measure(differing)
            # The first look was before calls were kept.
            stood = [d for key, d in found.items() if look and _difference(before, key) == d.difference]
            if look and len(stood) == len(found):
                break
        stood = await self._without_waiting(stood, found, settling_s)
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

    async def _without_waiting(self, stood: list[Drift], found: Drifts, settling_s: float) -> list[Drift]:
        """Of those that stand, the ones of accounts that have nothing beyond the ledger while rows wait for Postgres:
        seeded, their counters would lose what is in journals only, and calls beyond their limits would be admitted."""
        beyond = {drift.account_id for drift in found.values() if drift.difference > 0}
        if not beyond or not stood or await have_rows_arrived(self._counters, LOOKS * settling_s):
            return stood
        log.warning("drift_not_judged", cause="rows wait for Postgres", accounts=sorted(beyond)[:20])
        return [drift for drift in stood if drift.account_id not in beyond]

    async def _repair(self, drifts: list[Drift]) -> None:
        epochs: dict[int, int] = {}
        for drift in drifts:
            epochs[drift.account_id] = max(drift.epoch, epochs.get(drift.account_id, 0))
        if await raise_epochs_above(self._pool, epochs):
            log.error("postgres_lost_epochs", accounts=sorted(epochs)[:20])

    async def _measure(self, account_ids: list[int]) -> Drifts:
        now_ms = await self._counters.now_ms()
        found: Drifts = {}
        for account_id in account_ids:
            try:
                drifts = await measure_drift(self._counters, self._pool, account_id, now_ms)
            except NOT_OURS as exc:
                # It keeps no other account back.
                log.error("drift_not_measured", account_id=account_id, cause=str(exc))
                continue
            except RedisUnavailable as exc:
                # Nor does one whose node of a cluster is away.
                if not self._counters.is_connected:
                    raise
                log.warning("drift_not_measured", account_id=account_id, cause=str(exc))
                continue
            found.update({(account_id, drift.field): drift for drift in drifts if drift.difference})
        return found


def _set_metrics(drifts: list[Drift]) -> None:
    for kind in WINDOWED_KINDS:
        metrics.DRIFT.labels(kind).set(max((drift.share for drift in drifts if drift.kind == kind), default=0.0))


def _difference(drifts: Drifts, key: tuple[int, str]) -> int | None:
    return drifts[key].difference if key in drifts else None
