"""Callers at several gateways that share a Redis, and what its counters and the ledger have then."""

import asyncio
from collections import Counter
from typing import Final

from callers import Caller
from gateways import GatewayThread, wait_until

from deploy.embedded.valkey import Valkey
from gateway.storage.counters.drift import Drift, measure_drift
from gateway.storage.counters.scripts import SCRIPTS, Counters
from gateway.storage.postgres import Pool
from gateway.storage.redis.urls import connect

CALLERS: Final = 8


class Load:
    """Sequential calls at both gateways by each of CALLERS, until stopped."""

    def __init__(
        self, caller: Caller, gateways: list[GatewayThread], *, callers: int = CALLERS, pause_s: float = 0.0
    ) -> None:
        self._callers = [caller.at(gateways[n % len(gateways)].url) for n in range(callers)]
        self._pause_s = pause_s
        self._is_on = True
        self.answers: Counter[tuple[int, str]] = Counter()
        self._tasks = [asyncio.create_task(self._call(caller)) for caller in self._callers]

    async def _call(self, caller: Caller) -> None:
        while self._is_on:
            response = await caller.chat("Hello [tokens=3]")
            self.answers[response.status, "" if response.status == 200 else response.code] += 1
            await asyncio.sleep(self._pause_s if response.status == 200 else 0.05)

    async def stop(self) -> Counter[tuple[int, str]]:
        self._is_on = False
        await asyncio.gather(*self._tasks)
        return self.answers


async def ledger_has(pool: Pool, caller: Caller, rows: int) -> None:
    async def is_there() -> bool:
        sql = "SELECT count(*) FROM usage_logs WHERE account_id = $1"
        return bool(await pool.fetchval(sql, caller.account_id) == rows)

    await wait_until(is_there, f"{rows} rows")


async def drifts(pool: Pool, valkey: Valkey, caller: Caller) -> list[Drift]:
    scripts = connect(valkey.url(), SCRIPTS, timeout_s=2)
    await scripts.open()
    try:
        counters = Counters(scripts)
        return await measure_drift(counters, pool, caller.account_id, await counters.now_ms())
    finally:
        await scripts.close()
