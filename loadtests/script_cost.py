"""The server time of one reserve, one refusal and one settle, measured by the server: `make script-cost`.

Starts a Valkey of its own, or the server LITEMAAS_VALKEY_SERVER names, and takes the fastest of some hundred batches of
50 calls: others may use the machine too.
"""

import argparse
import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Final
from uuid import UUID

from deploy.embedded.valkey import Valkey
from gateway.domain.grants import Grant
from gateway.domain.ids import RequestIds, milliseconds_of
from gateway.domain.limits import Kind, Level, Limit
from gateway.domain.reservation_plan import make_reservation_plan
from gateway.domain.windows import WindowKind
from gateway.storage.counters.layout import pack_entries
from gateway.storage.counters.scripts import SCRIPTS, Counters, Estimate, SeedEntry, Settlement
from gateway.storage.redis.link import Scripts
from gateway.storage.redis.urls import connect

AMPLE: Final = 10**11
SCOPES: Final[dict[Level, str]] = {"key": "k1", "key_model": "k1m1", "subscription": "s1", "user": "u1", "team": "t"}
# The first three are what a plain subscription with a rate has; eight and fourteen are on four and five levels.
LIMITS: Final[tuple[tuple[Level, Kind, WindowKind | None], ...]] = (
    ("subscription", "requests", "month"),
    ("subscription", "tokens", "month"),
    ("key", "tpm", None),
    ("key", "rpm", None),
    ("key", "concurrency", None),
    ("key_model", "tpm", None),
    ("user", "rpm", None),
    ("user", "cost", "day"),
    ("team", "rpm", None),
    ("team", "tpm", None),
    ("team", "concurrency", None),
    ("team", "cost", "month"),
    ("key", "cost", "month"),
    ("user", "tokens", "week"),
)
SIZES: Final = (3, 8, 14)
IN_FLIGHT: Final = 50


class Account:
    """One account with a number of limits."""

    def __init__(self, counters: Counters, ids: RequestIds, number: int, limits: int, amount: int) -> None:
        self._counters, self._ids, self._number = counters, ids, number
        rows = tuple(
            Limit(id=n, level=level, scope=SCOPES[level], kind=kind, window=window, amount=amount, burst=Decimal(1))
            for n, (level, kind, window) in enumerate(LIMITS[:limits])
        )
        grant = Grant(
            model_id=1,
            model_name="small",
            owned_by="load",
            max_output_tokens=None,
            subscription_id=1,
            subscription_expires_at=None,
            price=None,
            limits=rows,
            scopes=" ".join(SCOPES.values()),
        )
        self._plan = make_reservation_plan(grant, "Europe/Madrid", 1, milliseconds_of(ids.new()))
        self._entries = pack_entries(self._plan.entries)

    async def reserve(self, request_id: UUID) -> str:
        """The status of the reply."""
        reply = await self._counters.reserve(
            self._number,
            request_id,
            self._entries,
            Estimate(tokens=(150, 900, 0), cost=(15_000, 180_000, 0)),
            start_ms=milliseconds_of(request_id),
            scopes=" ".join(SCOPES.values()),
            note=b'{"user_id":1,"api_key_id":1,"subscription_id":1,"model_id":1,"model":"small","price_id":1}',
        )
        return reply.status

    async def settle(self, request_id: UUID) -> bool:
        """Whether there was an open lease."""
        return await self._counters.settle(
            Settlement(
                account_id=self._number,
                request_id=request_id,
                requests_rate=1,
                requests_window=1,
                tokens=450,
                nano_usd=75_000,
            )
        )

    async def seed(self) -> None:
        """Seeds as a gateway does at the first call of an account."""
        entries = [
            SeedEntry(e.field, e.a if e.b else 0, e.b, 0, e.epoch) for e in self._plan.entries if e.field[0] not in "rt"
        ]
        await self._counters.seed(self._number, entries)


async def server_us(
    scripts: Scripts, batch: Sequence[UUID], ask: Callable[[UUID], Awaitable[str | bool]], expected: str | bool
) -> float:
    """Server time of one of these in µs, sent concurrently."""
    await scripts.command("CONFIG", "RESETSTAT")
    if set(await asyncio.gather(*map(ask, batch))) != {expected}:
        raise SystemExit(f"not all were answered {expected}")
    reported = (await scripts.command("INFO", "commandstats")).decode()
    (line,) = (line for line in reported.splitlines() if line.startswith("cmdstat_evalsha:"))
    return float(line.partition("usec=")[2].partition(",")[0]) / len(batch)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Scripts]:
    """The connection of a gateway."""
    scripts = connect(url, SCRIPTS, timeout_s=30)
    await scripts.open()
    yield scripts
    await scripts.close()


async def measure(url: str, batches: int) -> None:
    """Prints the table."""
    async with opened(url) as scripts:
        counters, ids = Counters(scripts), RequestIds()
        nothing = (await scripts.command("SCRIPT", "LOAD", "return 1")).decode()

        async def do_nothing(request_id: UUID) -> bool:
            return bool(await scripts.command("EVALSHA", nothing, 1, "x"))

        empty = min(
            [await server_us(scripts, [ids.new() for _ in range(IN_FLIGHT)], do_nothing, True) for _ in range(batches)]
        )
        print(f"A script that does nothing: {empty:.1f} µs (0.8 on a quiet machine).\n")
        print("| limits | reserve | refusal | settle | calls a second on one core |\n|---|---|---|---|---|")
        for size in SIZES:
            ample, spent = Account(counters, ids, size, size, AMPLE), Account(counters, ids, 100 + size, size, 0)
            await ample.seed()
            await spent.seed()
            best = [1e9, 1e9, 1e9]
            for _ in range(batches):
                batch = [ids.new() for _ in range(IN_FLIGHT)]
                taken = await server_us(scripts, batch, ample.reserve, "taken")
                refused = await server_us(scripts, batch, spent.reserve, "refused")
                settled = await server_us(scripts, batch, ample.settle, True)
                best = [min(pair) for pair in zip(best, (taken, refused, settled), strict=True)]
            cells = [str(size), *(f"{us:.1f} µs" for us in best), f"{1e6 / (best[0] + best[2]):,.0f}"]
            print("| " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    """Starts the server and measures."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--batches", type=int, default=300)
    batches = options.parse_args().batches
    with tempfile.TemporaryDirectory() as folder, Valkey(Path(folder)) as valkey:
        asyncio.run(measure(valkey.url(), batches))


if __name__ == "__main__":
    main()
