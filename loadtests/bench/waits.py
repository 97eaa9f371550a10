"""How often a call waits for Redis and for Postgres: by how much later it ends when their answers are held back."""

import asyncio
import statistics
from typing import Final

from loadtests.bench import requests
from loadtests.bench.client import Caller
from loadtests.bench.gateway import Gateway, Site
from loadtests.bench.relay import Relay
from loadtests.bench.results import Key, Results
from loadtests.bench.targets import Target

DELAY_S: Final = 0.1
CALLS: Final = 15
WARM_UP_CALLS: Final = 5


async def measure_waits(results: Results, site: Site, model_server_url: str, limits: int) -> None:
    """Of a gateway of its own, whose connections to Redis and Postgres lead through relays."""
    async with Relay(site.valkey.port) as redis, Relay(site.postgres.port) as postgres:
        env = site.environment(model_server_url)
        gateway = Gateway(
            site,
            [limits],
            LITEMAAS_REDIS_URL=env["LITEMAAS_REDIS_URL"].replace(f":{site.valkey.port}", f":{redis.port}"),
            LITEMAAS_DATABASE_URL=env["LITEMAAS_DATABASE_URL"].replace(f":{site.postgres.port}", f":{postgres.port}"),
        )
        try:
            gateway.launch(model_server_url)
            await asyncio.to_thread(gateway.wait)
            (target,) = gateway.targets()
            usual = await _median_s(target)
            for name, relay in (("redis", redis), ("postgres", postgres)):
                relay.delay_s = DELAY_S
                later = await _median_s(target) - usual
                relay.delay_s = 0.0
                results.add(Key("waits", target.name, name), waits=later / DELAY_S)
        finally:
            await asyncio.to_thread(gateway.stop)


async def _median_s(target: Target) -> float:
    caller = Caller(target, requests.json_body(1024))
    try:
        took = [await caller.call() for _ in range(WARM_UP_CALLS + CALLS)]
    finally:
        caller.close()
    return statistics.median(one.whole_s for one in took[WARM_UP_CALLS:])
