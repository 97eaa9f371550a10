"""The throughput of the ledger writer on a full database, and the cost of the trigger for alert checks."""

import asyncio
import os
import random
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import asyncpg
import msgspec

from deploy.embedded.postgres import OWNER, Postgres
from gateway.domain.ids import uuid7
from gateway.domain.usage_rows import UsageRow
from gateway.storage.ledger.rows import write_lines
from gateway.storage.ledger.writer import LedgerWriter
from gateway.storage.postgres import Pool

WRITER_HEAD: Final = (
    "| rows come | rows | written a second | CPU of the writer a row | CPU of Postgres a row |",
    "|---|---|---|---|---|",
)
PAIRS: Final = 9
PAIR_ROWS: Final = 5_000


class WriterBench:
    """`tell` is called with each line for the page; calls are of `keys` keys, heavy ones more often."""

    def __init__(self, postgres: Postgres, pool: Pool, keys: int, tell: Callable[[str], None]) -> None:
        self.postgres, self.pool, self.keys, self.tell = postgres, pool, keys, tell
        self.random = random.Random(2)

    async def write(self, folder: Path) -> None:
        """Through the real writer as a worker runs it: journal, batches every 100 ms, rows and rollups."""
        keys = {r["id"]: r for r in await self.pool.fetch("SELECT id, account_id, user_id FROM api_keys")}

        async def nothing(_: Sequence[UsageRow]) -> None:
            return None

        for line in ("", *WRITER_HEAD):
            self.tell(line)
        for rate, number in ((200, 2_000), (1_000, 10_000), (None, 30_000)):
            began_ms = int(time.time() * 1000)
            rows = [self.some_row(began_ms + n // 100, n, keys) for n in range(number)]
            writer = LedgerWriter(self.pool, folder / f"journal-{rate}", max_bytes=2**30, on_late=nothing)
            writer.open()
            wall, own, there = time.monotonic(), time.process_time(), _cpu_of_group(self.postgres.pid)
            running = asyncio.ensure_future(writer.run())
            step = number if rate is None else rate // 20
            for first in range(0, number, step):
                writer.append(rows[first : first + step])
                await asyncio.sleep(0 if rate is None else 0.05)
            count = "SELECT count(*) FROM usage_logs WHERE request_id >= $1"
            while await self.pool.fetchval(count, rows[0].request_id) < number and time.monotonic() < wall + 300:
                await asyncio.sleep(0.1)
            wall = time.monotonic() - wall
            own, there = time.process_time() - own, _cpu_of_group(self.postgres.pid) - there
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await writer.close(10)
            reported = "as fast as it can" if rate is None else f"{rate} a second"
            cpu = [f"{seconds / number * 1e6:.0f} µs" for seconds in (own, there)]
            self.tell(f"| {reported} | {number} | {number / wall:.0f} | {cpu[0]} | {cpu[1]} |")

    async def weigh_trigger(self) -> None:
        """What it costs to note whose alerts are due: Postgres's processor time with the trigger and without."""
        keys = {r["id"]: r for r in await self.pool.fetch("SELECT id, account_id, user_id FROM api_keys")}
        owner = await asyncpg.connect(self.postgres.url(OWNER))
        began_ms, ratios = int(time.time() * 1000), []
        for turn in range(PAIRS):
            taken = {}
            for what in ("ENABLE", "DISABLE") if turn % 2 else ("DISABLE", "ENABLE"):
                await owner.execute(f"ALTER TABLE usage_logs {what} TRIGGER check_after_insert")
                number = (2 * turn + len(taken)) * PAIR_ROWS
                rows = [self.some_row(began_ms + n // 100, n, keys) for n in range(number, number + PAIR_ROWS)]
                before = _cpu_of_group(self.postgres.pid)
                for first in range(0, PAIR_ROWS, 100):
                    await write_lines(self.pool, [msgspec.json.encode(row) for row in rows[first : first + 100]])
                taken[what] = _cpu_of_group(self.postgres.pid) - before
            ratios.append(taken["ENABLE"] / taken["DISABLE"])
        await owner.execute("ALTER TABLE usage_logs ENABLE TRIGGER check_after_insert")
        await owner.close()
        ratios.sort()
        self.tell("")
        self.tell(
            "Noting whose alerts are due, by a trigger of `usage_logs`, makes Postgres's processor time\n"
            f"{ratios[PAIRS // 2]:.3f} times what it is without, in batches of 100 rows: the median of {PAIRS} pairs,\n"
            f"which were {ratios[0]:.3f} to {ratios[-1]:.3f}."
        )

    def some_row(self, ms: int, number: int, keys: dict[int, asyncpg.Record]) -> UsageRow:
        key = keys[1 + int(self.keys * self.random.random() ** 3)]
        model = 1 + int(20 * self.random.random() ** 2)
        prompt, answer = int(4000 * self.random.random() ** 3), int(1500 * self.random.random() ** 2)
        cost = prompt * 1000 + answer * 2000
        return UsageRow(
            request_id=uuid7(ms, number.to_bytes(10, "big")), started_at=datetime.fromtimestamp(ms / 1000, UTC),
            account_id=key["account_id"], user_id=key["user_id"], api_key_id=key["id"], subscription_id=1,
            model_id=model, model_asked=f"model-{model}", model_served=None, endpoint="chat_completions",
            streamed=True, status=200, ending="completed", prompt_tokens=prompt, completion_tokens=answer,
            cached_tokens=0, cache_write_tokens=0, reasoning_tokens=0, cost_nano_usd=cost, price_id=None,
            litellm_cost_nano_usd=None, counted_requests=1, counted_tokens=prompt + answer, counted_nano_usd=cost,
            first_byte_ms=int(self.random.lognormvariate(6, 0.8)), total_ms=int(self.random.lognormvariate(8, 0.9)),
            estimated=False, estimated_why=None, error_code=None,
        )  # fmt: skip


def _cpu_of_group(postmaster: int | None) -> float:
    """Seconds of processor time of a Postgres and its children, those that ended included."""
    ticks = 0
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(entry.parent.name) == postmaster or int(fields[1]) == postmaster:
            ticks += int(fields[11]) + int(fields[12])
            if int(entry.parent.name) == postmaster:
                ticks += int(fields[13]) + int(fields[14])
    return ticks / os.sysconf("SC_CLK_TCK")
