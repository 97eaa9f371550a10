"""`make operations`: the procedures of docs/operations.md, one after the other, under load. Exit code 1: a call failed,
or a count differs.

`--only WORD …` runs those whose name has one of the words, `--write` puts the table into docs/operations.md.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

from accounting import ModelRecord, compare_calls, compare_rollups, read_drift, read_rows, wait_until_still
from chaos.load import Load

from gateway.web.logs import configure_logs
from operations.procedures import PROCEDURES, Procedure
from operations.site import Site, opened

PAGE: Final = Path(__file__).parents[2] / "docs" / "operations.md"
HEAD: Final = (
    "| procedure | calls meanwhile | failed | rows | missing | doubles | drift | repaired | what it showed |",
    "|---|---|---|---|---|---|---|---|---|",
)
CLIENTS: Final = 4
# Of what a command printed.
MAX_LINES: Final = 8


@dataclass(slots=True)
class Line:
    """All but the first three and `drift` should be 0. `drift`: by how many requests a counter differs from the ledger,
    `repaired`: by how much any counter does after `litemaas limits repair`."""

    name: str
    calls: int
    failed: int
    rows: int
    missing: int
    doubles: int
    drift: int
    repaired: int
    note: str

    @property
    def is_exact(self) -> bool:
        return not (self.failed or self.missing or self.doubles or self.repaired)

    def __str__(self) -> str:
        counts = (self.calls, self.failed, self.rows, self.missing, self.doubles, self.drift, self.repaired)
        return f"| {self.name} | " + " | ".join(map(str, counts)) + f" | {self.note} |"


async def measure(site: Site, name: str, procedure: Procedure) -> Line:
    """One procedure, from the first call to the counts."""
    caller, prefix = await site.make_caller(), uuid4().hex[:8]
    record = ModelRecord(site.http, site.model_server.url, prefix)
    # Neither callers who leave nor the longest streams.
    load = Load(caller, prefix, clients=CLIENTS, kinds=(0, 1, 2, 4))
    try:
        await asyncio.sleep(0.7)
        note = await procedure(site, caller)
        await asyncio.sleep(0.7)
        await load.stop()
    finally:
        await load.cancel()
    answered = {one.request_id for one in load.attempts if one.status == 200 and one.request_id}
    url = await asyncio.to_thread(site.node_url, caller.account_id)
    await wait_until_still(site.pool, url, caller.account_id, answered)
    drift = await read_drift(site.pool, site.redis_url, caller.account_id)
    site.command("limits", "repair")
    # Counters are seeded by the next call.
    await asyncio.sleep(1)
    await caller.chat("Hello [tokens=1]")
    await asyncio.sleep(1)
    repaired = await read_drift(site.pool, site.redis_url, caller.account_id)
    rows = await read_rows(site.pool, caller.account_id)
    await record.read()
    found = compare_calls(rows, list(record.calls.values()), answered, lambda _: True)
    failed = {place: n for place, n in load.statuses().items() if place[0] != 200}
    if failed or found.missing:
        note += f" FAILED {failed} MISSING {sorted(found.missing)[:3]}"
    check = await compare_rollups(site.pool)
    return Line(
        name, len(load.attempts), sum(failed.values()), len(rows), len(found.missing),
        found.doubles + len(check.differences), sum(one.difference for one in drift if one.kind == "requests"),
        sum(abs(one.difference) for one in repaired), note,
    )  # fmt: skip


async def run_all(only: list[str]) -> list[Line]:
    """Every procedure whose name has one of these words in it."""
    lines = []
    with tempfile.TemporaryDirectory(prefix="litemaas-operations-") as folder:
        await asyncio.to_thread(Path(folder).chmod, 0o755)
        async with opened(Path(folder)) as site:
            for name, procedure in PROCEDURES.items():
                if not any(word in name for word in only):
                    continue
                began = time.monotonic()
                lines.append(await measure(site, name, procedure))
                say("\n".join(f"    {line}" for text in site.transcript for line in text.splitlines()[:MAX_LINES]))
                site.transcript.clear()
                say(f"{lines[-1]} <!-- {time.monotonic() - began:.0f} s -->")
    return lines


def say(text: str) -> None:
    """At once, also into a pipe."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=[""], nargs="*")
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    configure_logs("error")
    say("\n".join(HEAD))
    lines = asyncio.run(run_all(asked.only))
    if asked.write:
        from contract.tables import with_rows

        PAGE.write_text(with_rows(PAGE.read_text(), "operations", HEAD, PROCEDURES, map(str, lines)))
    return 0 if lines and all(line.is_exact for line in lines) else 1


if __name__ == "__main__":
    raise SystemExit(main())
