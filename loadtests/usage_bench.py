"""Ten million usage rows over 90 days: how fast usage questions are, how fast the writer is, and what it all takes.

`make usage-bench [ROWS=10000000]`. A Postgres of its own in a folder of its own, both gone at the end. The table goes
into docs/usage.md when there are ten million rows or more; fewer are for a quick try.
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

from admin_api.operations import usage_reports
from admin_api.operations.actors import Actor
from admin_api.operations.usage_scope import UsageFilter
from deploy.embedded.postgres import APP, OWNER, Postgres
from gateway.domain.ids import uuid7
from gateway.domain.usage_rows import UsageRow
from gateway.storage.ledger_check import check_ledger
from gateway.storage.ledger_writer import LedgerWriter
from gateway.storage.migrate import migrate
from gateway.storage.postgres import Pool, new_pool
from gateway.storage.rollups import ROLLUPS

PAGE: Final = Path(__file__).parents[1] / "docs" / "usage.md"
SQL: Final = Path(__file__).with_suffix("").with_name("usage_rows.sql")
DAYS: Final = 90
ADMIN: Final = Actor(name="bench", role="admin")
# A modest server: what it caches is far less than what it has.
SETTINGS: Final = {
    "shared_buffers": "1GB",
    "work_mem": "64MB",
    "maintenance_work_mem": "512MB",
    "max_wal_size": "8GB",
    "max_parallel_workers_per_gather": "1",
}
QUESTIONS_HEAD: Final = ("| question | runs | p50 ms | p95 ms | max ms |", "|---|---|---|---|---|")
WRITER_HEAD: Final = (
    "| rows come | rows | written a second | CPU of the writer a row | CPU of Postgres a row |",
    "|---|---|---|---|---|",
)
TABLES_HEAD: Final = (
    "| table | rows | bytes a row, indexes included | GB | GB at ten times the calls, at most |",
    "|---|---|---|---|---|",
)
ZONES: Final = ("UTC", "Europe/Madrid", "America/New_York", "Asia/Kolkata")
Ask = Callable[[UsageFilter], Awaitable[object]]


class Bench:
    """One run."""

    def __init__(self, rows: int, runs: int) -> None:
        self.rows, self.runs = rows, runs
        self.users, self.keys, self.teams = (10_000, 100_000, 200) if rows >= 1_000_000 else (500, 5_000, 20)
        self.today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        self.random = random.Random(1)
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        print(line, flush=True)

    def tell(self, line: str) -> None:
        """Also on the page."""
        self.say(line)
        self.lines.append(line)

    async def fill(self, postgres: Postgres) -> None:
        owner = await asyncpg.connect(postgres.url(OWNER))
        await migrate(owner, app_role=APP)
        sizes = {"days": DAYS, "users": self.users, "keys": self.keys, "teams": self.teams}
        _, partitions, people, rows = SQL.read_text().split("\n---- ")
        for text in (partitions, people):
            await owner.execute("-- " + _with(text, sizes))
        insert = "-- " + _with(rows, sizes)
        await owner.execute("SET synchronous_commit = off; SET jit = off")
        began = time.monotonic()
        for day in range(DAYS):
            share = self.rows * (day + 1) // DAYS - self.rows * day // DAYS
            await owner.execute(insert, self.today - timedelta(days=DAYS - day), share)
            if day % 15 == 14:
                self.say(f"{time.monotonic() - began:6.0f} s  {self.rows * (day + 1) // DAYS} rows")
        await owner.execute("SET work_mem = '512MB'")
        await owner.execute("SELECT rebuild_usage_rollups('-infinity')", timeout=3600)
        self.say(f"{time.monotonic() - began:6.0f} s  all rollups made of them")
        await owner.execute("VACUUM (ANALYZE)", timeout=3600)
        self.say(f"{time.monotonic() - began:6.0f} s  vacuumed")
        await owner.close()

    def some_range(self, longest: int = DAYS) -> dict[str, Any]:
        """Half of the time the last days up to now, else any days, both of any length."""
        length = timedelta(minutes=15 * self.random.randint(96, longest * 96))
        until = self.today + timedelta(days=1)
        if self.random.random() < 0.5:
            back = (timedelta(days=DAYS) - length) * self.random.random()
            until = self.today - timedelta(minutes=15 * int(back / timedelta(minutes=15)))
        return {"since": until - length, "until": until, "time_zone": self.random.choice(ZONES)}

    async def some_call(self, pool: Pool) -> asyncpg.Record:
        """Of a key as calls are: heavy keys more often."""
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
        self.lines += QUESTIONS_HEAD
        for name, wish_of, ask in self.questions(pool):
            taken = []
            for _ in range(self.runs):
                wish = await wish_of()
                began = time.perf_counter()
                await ask(wish)
                taken.append((time.perf_counter() - began) * 1000)
            taken.sort()
            line = f"| {name} | {len(taken)} | {_at(taken, 0.5):.0f} | {_at(taken, 0.95):.0f} | {taken[-1]:.0f} |"
            self.tell(line)

    def questions(self, pool: Pool) -> list[tuple[str, Callable[[], Awaitable[UsageFilter]], Ask]]:
        async def everybody(longest: int = DAYS, **more: Any) -> UsageFilter:
            return UsageFilter(**self.some_range(longest), **more)

        async def account(longest: int = DAYS) -> UsageFilter:
            """A team, or a user: whichever a call is of."""
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
            return lambda wish: usage_reports.break_down(pool, ADMIN, wish, by=what)

        def steps(step: str) -> Ask:
            return lambda wish: usage_reports.trace(pool, ADMIN, wish, step=step)

        def latencies(what: str | None = None) -> Ask:
            return lambda wish: usage_reports.measure_latencies(pool, ADMIN, wish, by=what)

        largest = ["team 1"]
        summary: Ask = lambda wish: usage_reports.summarize(pool, ADMIN, wish)  # noqa: E731  beside its likes
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

    async def write(self, postgres: Postgres, pool: Pool, folder: Path) -> None:
        """Through the real writer as a worker runs it: journal, batches every 100 ms, rows and rollups."""
        keys = {r["id"]: r for r in await pool.fetch("SELECT id, account_id, user_id FROM api_keys")}

        async def nothing(_: Sequence[UsageRow]) -> None:
            return None

        self.lines += ["", *WRITER_HEAD]
        for rate, number in ((200, 2_000), (1_000, 10_000), (None, 30_000)):
            began_ms = int(time.time() * 1000)
            rows = [self.some_row(began_ms + n // 100, n, keys) for n in range(number)]
            writer = LedgerWriter(pool, folder / f"journal-{rate}", most_bytes=2**30, on_late=nothing)
            writer.open()
            wall, own, there = time.monotonic(), time.process_time(), _cpu_of_group(postgres.pid)
            running = asyncio.ensure_future(writer.run())
            step = number if rate is None else rate // 20
            for first in range(0, number, step):
                writer.append(rows[first : first + step])
                await asyncio.sleep(0 if rate is None else 0.05)
            count = "SELECT count(*) FROM usage_logs WHERE request_id >= $1"
            while await pool.fetchval(count, rows[0].request_id) < number and time.monotonic() < wall + 300:
                await asyncio.sleep(0.1)
            wall = time.monotonic() - wall
            own, there = time.process_time() - own, _cpu_of_group(postgres.pid) - there
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await writer.close(10)
            told = "as fast as it can" if rate is None else f"{rate} a second"
            cpu = [f"{seconds / number * 1e6:.0f} µs" for seconds in (own, there)]
            self.tell(f"| {told} | {number} | {number / wall:.0f} | {cpu[0]} | {cpu[1]} |")

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
                key = ", ".join(dict.fromkeys(name if name != "model" else "model_id" for name in rollup.key))
                sample = f"SELECT 1 FROM usage_as_sums WHERE right(request_id::text, 1) = '7' GROUP BY {key}"
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
        """What was written since yesterday's start agrees with every rollup."""
        if self.rows < 1_000_000 and (await check_ledger(pool, self.today - timedelta(days=1))).differences:
            raise RuntimeError("rows and rollups differ")

    async def run(self) -> None:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="litemaas-usage-bench-") as name:
            folder = Path(name)
            postgres = Postgres(folder / "postgres", settings=SETTINGS)
            try:
                postgres.launch()
                postgres.wait()
                await self.fill(postgres)
                async with new_pool(postgres.url(APP), size=4) as pool:
                    await self.ask_all(pool)
                    await self.write(postgres, pool, folder)
                    await self.check(pool)
                    await self.weigh(pool)
            finally:
                postgres.discard()
        self.say(f"{time.monotonic() - began:.0f} s in all")
        if self.rows >= 10_000_000:
            self.write_page()

    def write_page(self) -> None:
        head = (
            f"{self.rows:,} rows over {DAYS} days, {self.users:,} users, {self.keys:,} keys, {self.teams} teams, 20\n"
            f"models, on {os.cpu_count()} cores that other jobs shared; Postgres with `shared_buffers` of "
            f"{SETTINGS['shared_buffers']};\nmeasured {datetime.now(UTC):%Y-%m-%d} by `make usage-bench`.\n\n"
        )
        before, _, rest = PAGE.read_text().partition("<!-- usage-bench -->\n")
        _, _, after = rest.partition("<!-- /usage-bench -->")
        lines = "\n".join(self.lines)
        PAGE.write_text(f"{before}<!-- usage-bench -->\n{head}{lines}\n<!-- /usage-bench -->{after}")


def _with(text: str, sizes: dict[str, int]) -> str:
    for name, size in sizes.items():
        text = text.replace("{" + name + "}", str(size))
    return text


def _at(ordered: Sequence[float], share: float) -> float:
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


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


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--runs", type=int, default=50)
    arguments = parser.parse_args()
    asyncio.run(Bench(arguments.rows, arguments.runs).run())
