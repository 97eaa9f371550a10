"""Ten million usage rows over 90 days: latency of usage queries, throughput of the writer, and sizes.

`make usage-bench [ROWS=10000000] [KEEP=folder]`. A Postgres of its own in a folder of its own, both gone at the end; or
in KEEP, where the next run finds it filled, and adds what its writers write. The table goes into docs/usage.md when
there are ten million rows or more; fewer are for a quick try.
"""

import argparse
import asyncio
import math
import os
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import asyncpg

from admin_api.operations.actors import Actor
from admin_api.operations.usage import reports
from admin_api.operations.usage.scope import UsageFilter
from admin_api.storage.migrate import migrate
from deploy.embedded.postgres import APP, OWNER, Postgres
from gateway.storage.ledger.rollups import ROLLUPS
from gateway.storage.ledger.verify import check_ledger
from gateway.storage.postgres import Pool, new_pool
from loadtests.usage_bench_fill import fill
from loadtests.usage_bench_writer import WriterBench

PAGE: Final = Path(__file__).parents[1] / "docs" / "usage.md"
DAYS: Final = 90
ADMIN: Final = Actor(name="bench", role="admin")
# A small server: its cache is much smaller than the data.
SETTINGS: Final = {
    "shared_buffers": "1GB",
    "work_mem": "64MB",
    "maintenance_work_mem": "512MB",
    "max_wal_size": "8GB",
    "max_parallel_workers_per_gather": "1",
}
QUERIES_HEAD: Final = ("| question | runs | p50 ms | p95 ms | max ms |", "|---|---|---|---|---|")
TABLES_HEAD: Final = (
    "| table | rows | bytes a row, indexes included | GB | GB at ten times the calls, at most |",
    "|---|---|---|---|---|",
)
ZONES: Final = ("UTC", "Europe/Madrid", "America/New_York", "Asia/Kolkata")
AIM_MS: Final = 200
Ask = Callable[[UsageFilter], Awaitable[object]]


class Bench:
    """One run."""

    def __init__(self, rows: int, runs: int, keep: Path | None = None) -> None:
        self.rows, self.runs, self.keep = rows, runs, keep
        self.users, self.keys, self.teams = (10_000, 100_000, 200) if rows >= 1_000_000 else (500, 5_000, 20)
        self.today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        self.random = random.Random(1)
        self.lines: list[str] = []
        self.slow: dict[str, float] = {}
        self.loads: list[float] = []

    def say(self, line: str) -> None:
        print(line, flush=True)

    def tell(self, line: str) -> None:
        """Also on the page."""
        self.say(line)
        self.lines.append(line)

    async def fill(self, postgres: Postgres) -> None:
        """Fills the database, unless it was kept from an earlier run."""
        filled = postgres.folder / f"filled-{self.rows}"
        owner = await asyncpg.connect(postgres.url(OWNER))
        await migrate(owner, app_role=APP)
        await owner.close()
        if filled.exists():
            self.today = datetime.fromisoformat(filled.read_text())
            self.say(f"What was filled on {self.today:%Y-%m-%d} is used again.")
            return
        sizes = {"users": self.users, "keys": self.keys, "teams": self.teams}
        await fill(postgres, rows=self.rows, days=DAYS, sizes=sizes, today=self.today, say=self.say)
        filled.write_text(self.today.isoformat())

    def some_range(self, longest: int = DAYS) -> dict[str, Any]:
        """Half of the ranges end now, the others anywhere; all of any length."""
        length = timedelta(minutes=15 * self.random.randint(96, longest * 96))
        until = self.today + timedelta(days=1)
        if self.random.random() < 0.5:
            back = (timedelta(days=DAYS) - length) * self.random.random()
            until = self.today - timedelta(minutes=15 * int(back / timedelta(minutes=15)))
        return {"since": until - length, "until": until, "time_zone": self.random.choice(ZONES)}

    async def some_call(self, pool: Pool) -> asyncpg.Record:
        """A call of a random key, heavy keys more often."""
        key = 1 + int(self.keys * self.random.random() ** 3)
        row = await pool.fetchrow(
            "SELECT k.id, k.account_id, a.kind, a.name, k.user_id "
            "FROM api_keys k JOIN accounts a ON a.id = k.account_id WHERE k.id = $1",
            key,
        )
        if row is None:
            raise RuntimeError(f"key {key} is missing")
        return row

    async def ask_all(self, pool: Pool) -> None:
        self.lines += QUERIES_HEAD
        for name, filter_of, ask in self.queries(pool):
            taken = []
            for _ in range(self.runs):
                query = await filter_of()
                began = time.perf_counter()
                await ask(query)
                taken.append((time.perf_counter() - began) * 1000)
            taken.sort()
            self.loads.append(os.getloadavg()[0])
            if _at(taken, 0.95) >= AIM_MS:
                self.slow[name] = _at(taken, 0.95)
            line = f"| {name} | {len(taken)} | {_at(taken, 0.5):.0f} | {_at(taken, 0.95):.0f} | {taken[-1]:.0f} |"
            self.tell(line)

    def queries(self, pool: Pool) -> list[tuple[str, Callable[[], Awaitable[UsageFilter]], Ask]]:
        async def everybody(longest: int = DAYS, **more: Any) -> UsageFilter:
            return UsageFilter(**self.some_range(longest), **more)

        async def account(longest: int = DAYS) -> UsageFilter:
            """The account of a random call: a team or a user."""
            call = await self.some_call(pool)
            who = {"team": call["name"]} if call["kind"] == "team" else {"user": str(call["user_id"])}
            return UsageFilter(**self.some_range(longest), **who)

        async def team() -> UsageFilter:
            return UsageFilter(**self.some_range(), team=largest[0])

        async def key() -> UsageFilter:
            return UsageFilter(**self.some_range(), key=(await self.some_call(pool))["id"])

        async def model() -> UsageFilter:
            return UsageFilter(**self.some_range(), models=[f"model-{self.random.randint(1, 20)}"])

        async def failed() -> UsageFilter:
            return UsageFilter(**self.some_range(), error_classes=["timeout", "rate_limited"])

        def by(what: str) -> Ask:
            return lambda query: reports.break_down(pool, ADMIN, query, by=what)

        def steps(step: str) -> Ask:
            return lambda query: reports.read_series(pool, ADMIN, query, step=step)

        def latencies(what: str | None = None) -> Ask:
            return lambda query: reports.measure_latencies(pool, ADMIN, query, by=what)

        largest = ["team 1"]
        summary: Ask = lambda query: reports.summarize(pool, ADMIN, query)  # noqa: E731  beside its likes
        return [
            ("everybody: summary", everybody, summary),
            ("everybody: series by day", everybody, steps("day")),
            ("everybody: series by hour, up to 31 days", lambda: everybody(31), steps("hour")),
            *(
                (f"everybody: by {what}", everybody, by(what))
                for what in ("model", "provider", "ending", "error_class")
            ),
            *((f"everybody: by {what}", everybody, by(what)) for what in ("account", "team", "user")),
            ("everybody: by account, one model", model, by("account")),
            ("everybody: by user, two error classes", failed, by("user")),
            ("everybody: percentiles", everybody, latencies()),
            ("everybody: percentiles by model", everybody, latencies("model")),
            ("an account: summary", account, summary),
            ("an account: series by day", account, steps("day")),
            ("an account: series by hour, up to 31 days", lambda: account(31), steps("hour")),
            *((f"an account: by {what}", account, by(what)) for what in ("model", "key", "user", "error_class")),
            ("an account: percentiles by key", account, latencies("key")),
            ("the largest team: series by day", team, steps("day")),
            ("the largest team: by key", team, by("key")),
            ("the largest team: percentiles by user", team, latencies("user")),
            ("a key: summary", key, summary),
            ("a key: series by day", key, steps("day")),
        ]

    async def weigh(self, pool: Pool) -> None:
        """Bytes and rows of each table, and what ten times the calls would take."""
        self.lines += [
            "",
            "| table | rows | bytes a row, indexes included | GB | GB at ten times the calls |",
            "|---|---|---|---|---|",
        ]
        totals = [0.0, 0.0]
        sizes = "SELECT sum(pg_total_relation_size(relid))::bigint FROM pg_partition_tree('usage_logs')"
        tables = [("usage_logs", await pool.fetchval(sizes), None)]
        tables += [
            (r.table, await pool.fetchval("SELECT pg_total_relation_size($1::regclass)", r.table), r) for r in ROLLUPS
        ]
        for table, size, rollup in tables:
            count = await pool.fetchval(f"SELECT count(*) FROM {table}", timeout=600)
            tenfold = 10.0
            if rollup is not None:
                # How often calls share a sum is read off a sixteenth of them. Growth slows further: a bound.
                key = ", ".join(name if name != "model" else "model_id" for name in rollup.reported)
                failed = "error_class <> 'none' AND " if rollup.of == "failed" else ""
                sample = f"SELECT 1 FROM usage_as_sums WHERE {failed}right(request_id::text, 1) = '7' GROUP BY {key}"
                few = await pool.fetchval(f"SELECT count(*) FROM ({sample}) AS found", timeout=1200)
                many = (
                    count
                    if "model" not in rollup.key
                    else await pool.fetchval(f"SELECT count(*) FROM {table} WHERE model <> 0", timeout=600)
                )
                tenfold = min(10.0, 10 ** (math.log(many / few) / math.log(16)))
            totals = [totals[0] + size, totals[1] + size * tenfold]
            line = (
                f"| `{table}` | {count} | {size / max(count, 1):.0f} | {size / 1e9:.2f} | {size * tenfold / 1e9:.1f} |"
            )
            self.tell(line)
        self.tell(f"| all | | | {totals[0] / 1e9:.1f} | {totals[1] / 1e9:.0f} |")

    async def check(self, pool: Pool) -> None:
        """Checks that every rollup agrees with the rows since the start of yesterday."""
        if self.rows < 1_000_000 and (await check_ledger(pool, self.today - timedelta(days=1))).differences:
            raise RuntimeError("rows and rollups differ")

    async def run(self) -> None:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="litemaas-usage-bench-") as name:
            folder = Path(name)
            postgres = Postgres(self.keep or folder / "postgres", settings=SETTINGS, keep=self.keep is not None)
            try:
                postgres.launch()
                postgres.wait()
                await self.fill(postgres)
                async with new_pool(postgres.url(APP), size=4) as pool:
                    await self.ask_all(pool)
                    writing = WriterBench(postgres, pool, self.keys, self.tell)
                    await writing.write(folder)
                    await writing.weigh_trigger()
                    await self.check(pool)
                    await self.weigh(pool)
            finally:
                if self.keep:
                    postgres.stop()
                else:
                    postgres.discard()
        self.say(f"{time.monotonic() - began:.0f} s in all")
        if self.rows >= 10_000_000:
            self.write_page()

    def write_page(self) -> None:
        slow = ", ".join(f"{name} ({p95:.0f})" for name, p95 in self.slow.items())
        aim = f"A p95 of {AIM_MS} ms or more: {slow}." if slow else f"Each p95 is below {AIM_MS} ms."
        head = (
            f"{self.rows:,} rows over {DAYS} days, {self.users:,} users, {self.keys:,} keys, {self.teams} teams, 20\n"
            f"models; Postgres with `shared_buffers` of {SETTINGS['shared_buffers']}. Measured "
            f"{datetime.now(UTC):%Y-%m-%d} by `make usage-bench` on\n{os.cpu_count()} cores, whose load was "
            f"{min(self.loads):.1f} to {max(self.loads):.1f} while questions were asked, one at a time.\n{aim}\n\n"
        )
        before, _, rest = PAGE.read_text().partition("<!-- usage-bench -->\n")
        _, _, after = rest.partition("<!-- /usage-bench -->")
        lines = "\n".join(self.lines)
        PAGE.write_text(f"{before}<!-- usage-bench -->\n{head}{lines}\n<!-- /usage-bench -->{after}")


def _at(ordered: Sequence[float], share: float) -> float:
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--keep", type=Path)
    arguments = parser.parse_args()
    asyncio.run(Bench(arguments.rows, arguments.runs, arguments.keep).run())
