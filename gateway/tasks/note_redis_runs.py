"""What a worker does when Redis answers it again: it may be another one, or an old snapshot of the same. And when a
Redis that goes on running has lost its data."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TYPE_CHECKING, Final

import structlog

from gateway.storage.counters.epochs import raise_epochs, record_redis_run
from gateway.storage.counters.scripts import HASH_NAME, Counters
from gateway.storage.counters.settling import KEEP_ENDED_MS, settle_down
from gateway.storage.failures import POSTGRES_FAILED
from gateway.storage.redis import link
from gateway.web.background import Background

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

log = structlog.get_logger(__name__)

AGAIN_S: Final = 1.0
SEED_AGAIN: Final = "seed-again"
# Then the check of counters has come, which puts them right.
SEED_AGAIN_FOR_S: Final = 300.0
# Longer than calls are kept that end: what was kept for a try that failed goes before the next one.
PAUSE_S: Final = KEEP_ENDED_MS / 1000 + 3.0
# All workers find that data were lost, each at its next beat.
LOSS_MS: Final = 10_000


class RedisRuns:
    """`connected` is called for each connection. `raise_epochs` is of the accounts that this server serves."""

    def __init__(
        self,
        pool: "Pool",
        counters: Counters,
        background: Background,
        *,
        raise_epochs: Callable[[Callable[[int], bool]], Awaitable[None]],
        redis_is_back: Callable[[], None],
    ) -> None:
        self._pool = pool
        self._counters = counters
        self._background = background
        self._raise_epochs = raise_epochs
        self._redis_is_back = redis_is_back
        self._claimed_until = 0.0
        # How often seeding was asked for since it began, which one task does.
        self._wanted = 0
        self._is_seeding = False
        self._seed_until = 0.0

    async def connected(self, run_id: str, serves: Callable[[str], bool]) -> None:
        """Tried again until Postgres has taken it."""
        try:
            async with asyncio.timeout(2):
                is_new = await record_redis_run(self._pool, run_id)
                await self._raise_epochs(lambda account_id: serves(HASH_NAME % account_id))
        except POSTGRES_FAILED as exc:
            # Counters of an old snapshot may be trusted until Postgres is back.
            log.warning("redis_run_not_recorded", cause=str(exc))
            self._background.start(self._connected_later(run_id, serves), "meet-redis")
            return
        self._redis_is_back()
        log.info("redis_connected", run_id=run_id, is_new_run=is_new)
        self._background.start(self._check_eviction(), "check-eviction")
        if is_new:
            self._background.start(self._seed_after_new_run(), SEED_AGAIN)

    def data_lost(self) -> None:
        """Redis has none of the data of a moment ago. Maybe no connection was lost, and it is no new run: FLUSHALL, or
        an empty server has taken its place behind a proxy."""
        log.warning("redis_lost_data")
        self._redis_is_back()
        self._background.start(self._seed_after_loss(), SEED_AGAIN)

    async def _seed_after_loss(self) -> None:
        until = monotonic() + SEED_AGAIN_FOR_S
        # One worker does it for all. It sees further losses itself, as of another node of a cluster.
        while monotonic() >= self._claimed_until:
            is_claimed = await self._claim_seeding()
            if is_claimed is False or monotonic() > until:
                return
            if is_claimed is None:
                await asyncio.sleep(AGAIN_S)
        await self._seed_again()

    async def _seed_after_new_run(self) -> None:
        # So that nobody does it who finds data lost.
        await self._claim_seeding()
        await self._seed_again()

    async def _claim_seeding(self) -> bool | None:
        """False: another worker has claimed it; None: Redis does not say."""
        try:
            is_claimed = await self._counters.claim_round(SEED_AGAIN, LOSS_MS)
        except (link.RedisUnavailable, link.ScriptFailed) as exc:
            log.warning("seeding_not_claimed", cause=str(exc))
            return None
        if is_claimed:
            self._claimed_until = monotonic() + LOSS_MS / 1000
        return is_claimed

    async def settle_down(self) -> list[int] | None:
        """All accounts that had calls lately, once their counters can be seeded exactly. None: not without Redis, or
        while rows wait for Postgres."""
        try:
            settled = await settle_down(self._counters, self._counters.accounts_with_leases)
        except (link.RedisUnavailable, link.ScriptFailed) as exc:
            log.warning("counters_not_settled", cause=str(exc))
            return None
        if settled is None:
            log.warning("counters_not_settled", cause="rows wait for Postgres")
        return settled

    async def _seed_again(self) -> None:
        """Counters that were seeded at once may miss calls whose rows other gateways had not written yet."""
        self._wanted += 1
        self._seed_until = monotonic() + SEED_AGAIN_FOR_S
        if self._is_seeding:
            return
        self._is_seeding = True
        try:
            done = 0
            while done < self._wanted and monotonic() < self._seed_until:
                # For gateways to name their accounts in a Redis that was emptied.
                await asyncio.sleep(AGAIN_S)
                wanted = self._wanted
                if await self._raise_settled():
                    done = wanted
                else:
                    await asyncio.sleep(PAUSE_S)
        finally:
            self._is_seeding = False
            self._wanted = 0

    async def _raise_settled(self) -> bool:
        """Whether the counters of all accounts will be seeded once more, and exactly."""
        if (accounts := await self.settle_down()) is None:
            return False
        try:
            await raise_epochs(self._pool, accounts)
        except POSTGRES_FAILED as exc:
            log.warning("counters_not_seeded_again", cause=str(exc))
            return False
        return True

    async def _connected_later(self, run_id: str, serves: Callable[[str], bool]) -> None:
        await asyncio.sleep(1)
        await self.connected(run_id, serves)

    async def _check_eviction(self) -> None:
        await asyncio.sleep(1)
        try:
            policy = await self._counters.eviction_policy()
        except (link.RedisUnavailable, link.ScriptFailed) as exc:
            log.warning("redis_eviction_policy_unknown", cause=str(exc))
            return
        if policy and policy != "noeviction":
            # Also volatile-*: our keys have a time to live, and are needed until then.
            log.error("redis_may_drop_counters", maxmemory_policy=policy, set_it_to="noeviction")
