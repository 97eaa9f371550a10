"""`make ledger-cpu`: processor time of this process that a call's usage row costs, step by step, for several sizes of
batch: a worker with 1,000 calls a second writes batches of 100 rows. Postgres's own time is not in it.

Half of the calls are written beside the journal before they begin, and half are not: what that costs is the difference.
Counted by `process_time` over many real rows, through the real journal, writer and Postgres; prints a table, and with
`--write` puts it into docs/ledger.md. `--profile` says where it goes."""

import argparse
import cProfile
import pstats
import sys
import tempfile
from decimal import Decimal
from pathlib import Path
from time import process_time
from typing import Final

import asyncpg
import uvloop

from admin_api.storage.migrate import migrate
from deploy.embedded.postgres import APP, OWNER, Postgres
from gateway.domain.calls import Usage
from gateway.domain.grants import Grant, KeyRecord
from gateway.domain.ids import RequestIds
from gateway.domain.prices import Price
from gateway.domain.usage_rows import UsageRow
from gateway.endpoints.requests import Call
from gateway.record import Outcome, make_row
from gateway.reservation import Reservation
from gateway.storage.counters.scripts import Estimate
from gateway.storage.ledger.writer import LedgerWriter
from gateway.storage.postgres import Pool, new_pool

PAGE: Final = Path(__file__).parents[1] / "docs" / "ledger.md"
ROWS: Final = 2_000
PASSES: Final = 8
KEYS: Final = 50
SIZES: Final = (10, 100, 1000)
# A lease's note, as admit.py makes it.
NOTE: Final = (
    b'{"user_id":12345,"api_key_id":123456,"subscription_id":23456,"model_id":321,"model":"vendor/model-with-a-name",'
    b'"price_id":54321,"endpoint":"chat_completions","streamed":true}'
)
ESTIMATE: Final = Estimate(tokens=(10, 100, 4000), cost=(10_000, 200_000, 8_000_000))

PRICE: Final = Price(id=7, input=Decimal("0.000001"), output=Decimal("0.000002"))
CALL: Final = Call(
    model="m", body=b"", is_streamed=True, wants_usage=False, prompt_tokens=10.0, prompt_bytes=40, maximum=None,
    choices=1,
)  # fmt: skip


def make_rows(count: int) -> list[UsageRow]:
    """Completed calls of KEYS keys on three models, as `record.py` makes them; `make_row` alone is timed."""
    ids, clock = RequestIds(), 0.0
    grants = [
        Grant(
            model_id=n, model_name=f"vendor/model-{n}", owned_by="x", max_output_tokens=None, subscription_id=n,
            subscription_expires_at=None, price=PRICE, limits=(), scopes="k1",
        )
        for n in (1, 2, 3)
    ]  # fmt: skip
    records = [
        KeyRecord(
            key_id=n, account_id=n // 2, user_id=n // 2, time_zone="UTC", epoch=0, is_account_active=True,
            is_user_active=True, is_revoked=False, expires_at=None, allowed_ips=(), grants={},
        )
        for n in range(1, KEYS + 1)
    ]  # fmt: skip
    outcomes = [
        Outcome(
            ending="completed", status=200, usage=Usage(prompt_tokens=100 + n % 900, completion_tokens=n % 700),
            litellm_nano_usd=None, model_served="vendor/model-2026-01-01", passed_tokens=0, has_passed=True,
            first_byte_at=0.2 + n % 300 / 1000,
        )
        for n in range(count)
    ]  # fmt: skip
    reservations = [
        Reservation(
            request_id=ids.new(), record=records[n % KEYS], grant=grants[n % 3],
            expected=Usage(prompt_tokens=10, completion_tokens=100), expected_is_estimate=False, raw_prompt_tokens=10.0,
            choices=1, counts_tokens=False, is_leased=True, estimate=ESTIMATE, note=NOTE, headers=[],
        )
        for n in range(count)
    ]  # fmt: skip
    rows = []
    began = process_time()
    for n in range(count):
        rows.append(
            make_row(
                reservations[n], endpoint="chat_completions", call=CALL, outcome=outcomes[n], started_at=0.0,
                ended_at=1.0 + n % 5000 / 1000,
            )
        )  # fmt: skip
    clock += process_time() - began
    times["make the row"].append(clock / count)
    return rows


times: dict[str, list[float]] = {}


async def measure_size(pool: Pool, folder: Path, size: int) -> dict[str, float]:
    """Microseconds a row of each step, in batches of `size` rows: of the fastest of PASSES, for others use the machine
    too."""
    steps = ("begin", "make the row", "journal", "journal to Postgres")
    times.update({step: [] for step in steps})

    async def nobody(_: object) -> None:
        return None

    writer = LedgerWriter(pool, folder, max_bytes=2**30, on_late=nobody)
    writer.open()
    begin, clear = writer.journal.begun.write, writer.journal.begun.clear
    for _ in range(PASSES):
        rows = make_rows(ROWS)
        # Of every other batch, the calls were begun: as many begin as end, and a slot is used again.
        appending, writing = [0.0, 0.0], 0.0
        for batch, start in enumerate(range(0, ROWS, size)):
            began, is_begun = process_time(), batch % 2
            # One call ends in each tick of the loop.
            for n in range(start, start + size):
                if is_begun:
                    begin(rows[n].request_id, rows[n].account_id, ESTIMATE, NOTE)
                writer.append(rows[n : n + 1])
            clear()
            middle = process_time()
            await writer.write_all()
            appending[is_begun] += middle - began
            writing += process_time() - middle
        times["begin"].append((appending[1] - appending[0]) / (ROWS / 2))
        times["journal"].append(appending[0] / (ROWS / 2))
        times["journal to Postgres"].append(writing / ROWS)
    await writer.close(5)
    for table, sums in (("usage_logs", "count(*)"), ("usage_days", "sum(calls)::bigint")):
        if await pool.fetchval(f"SELECT {sums} FROM {table}") != PASSES * ROWS:  # noqa: S608  names of this file
            raise SystemExit(f"{table} does not have every row")
    return {step: min(taken) * 1e6 for step, taken in times.items()}


async def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="litemaas-cpu-") as name:
        folder = Path(name)
        with Postgres(folder / "postgres", durable=False) as server:
            owner = await asyncpg.connect(server.url(OWNER))
            await migrate(owner, app_role=APP)
            profiler = cProfile.Profile()
            found = {}
            async with new_pool(server.url(APP), size=2) as pool:
                for size in SIZES:
                    if asked.profile and size == 100:
                        profiler.enable()
                    found[size] = await measure_size(pool, folder / str(size), size)
                    profiler.disable()
                    await owner.execute("TRUNCATE usage_logs; TRUNCATE usage_days, usage_quarter_hours")
            await owner.close()
    lines = ["| µs of processor time a call | " + " | ".join(f"batches of {size}" for size in SIZES) + " |"]
    lines.append("|---" * (len(SIZES) + 1) + "|")
    for step in found[SIZES[0]]:
        lines.append(f"| {step} | " + " | ".join(f"{found[size][step]:.1f}" for size in SIZES) + " |")
    lines.append("| **together** | " + " | ".join(f"**{sum(found[size].values()):.1f}**" for size in SIZES) + " |")
    sys.stdout.write("\n".join(lines) + "\n")
    if asked.profile:
        pstats.Stats(profiler).sort_stats("tottime").print_stats(25)
    if asked.write:
        from tests.contract.tables import with_table

        PAGE.write_text(with_table(PAGE.read_text(), "ledger-cpu", "\n".join(lines)))


if __name__ == "__main__":
    # As the gateway does.
    uvloop.run(main())
