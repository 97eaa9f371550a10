"""The three counts: of the model server, the ledger and Redis."""

import asyncio
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final

from accounting import (
    ModelRecord,
    Row,
    compare_calls,
    compare_rollups,
    may_be_unknown,
    read_drift,
    read_rows,
    wait_until_still,
)
from callers import Caller

from chaos.load import Load
from chaos.site import Site
from gateway.settle import Settlements
from gateway.storage.counters.scripts import LEASE_MS, SCRIPTS, Counters
from gateway.storage.ledger.writer import LedgerWriter
from gateway.storage.redis.urls import connect
from gateway.tasks.reap_leases import Reaper

# For gateways to seed once more what a new Redis has lost.
SEEDED_S: Final = 8.0


@dataclass(slots=True)
class Line:
    """One fault's outcome. All but the first three should be 0, `reaped` for kills excepted."""

    fault: str
    rounds: int = 1
    calls: int = 0  # the model server's count
    rows: int = 0
    missing: int = 0  # calls of the model server, or answered to callers, without a row
    doubles: int = 0  # rows beyond one a call, in the ledger or its sums
    reaped: int = 0
    tokens_off: int = 0  # of completed calls, against the model server
    drift: int = 0  # requests that Redis counts beyond the ledger, or short of it
    others: int = 0  # real rows that nobody else knows of and no failure explains
    failed: int = 0  # calls that failed for what should fail no call
    note: str = ""
    details: list[str] = field(default_factory=list)

    @property
    def is_exact(self) -> bool:
        """Nothing lost, nothing twice, nothing made up."""
        return not (self.missing or self.doubles or self.tokens_off or self.others or self.failed or self.drift)


class UpstreamRecord(ModelRecord):
    """The model server's calls of one fault."""

    def __init__(self, site: Site, prefix: str) -> None:
        super().__init__(site.http, site.model_server.url, prefix)
        self.have_gap = False
        self.has_litellm_died = False

    def explains(self, row: Row) -> bool:
        """Why the model server may not know of the row."""
        return self.have_gap or may_be_unknown(row, has_litellm_died=self.has_litellm_died)


async def settle_down(site: Site, caller: Caller, load: Load, *, reaps_now: bool) -> None:
    """Until no lease is open and no row is on its way. `reaps_now`: an hour's patience by the clock of a test."""
    if reaps_now:
        await asyncio.sleep(0.5)
        await reap_now(site, caller.account_id)
    answered = {attempt.request_id for attempt in load.attempts if attempt.status == 200 and attempt.request_id}
    await wait_until_still(site.pool, site.valkey.url(), caller.account_id, answered)


async def reap_now(site: Site, account_id: int) -> int:
    """Reaps as a gateway does a minute later."""
    scripts = connect(site.valkey.url(), SCRIPTS, timeout_s=5)
    await scripts.open()
    counters = Counters(scripts)
    counters.clock_ms = await counters.now_ms() + LEASE_MS + 1000

    async def settle(rows: Any) -> None:
        await settlements.settle_late(rows)
        await settlements.drain(5)

    ledger = LedgerWriter(site.pool, site.folder / "reaper" / "journal", max_bytes=2**20, on_late=settle)
    settlements = Settlements(counters, ledger)
    ledger.open()
    reaped = await Reaper(counters, ledger).reap_account(account_id)
    await ledger.write_all()
    await ledger.close(5)
    await scripts.close()
    return reaped


async def compare(site: Site, caller: Caller, load: Load, upstream_log: UpstreamRecord, line: Line) -> Line:
    """Compares the counts and sets the fields of the line."""
    await upstream_log.read()
    rows = await read_rows(site.pool, caller.account_id)
    calls = list(upstream_log.calls.values())
    answered = {attempt.request_id for attempt in load.attempts if attempt.status == 200}
    found = compare_calls(rows, calls, answered, upstream_log.explains)
    line.calls, line.rows = len(calls), len(rows)
    line.reaped = sum(row["estimated_why"] == "reaped" for row in rows.values())
    line.missing, line.others, line.tokens_off = len(found.missing), len(found.others), found.tokens_off
    by_id = {call["call_id"]: call for call in calls}
    line.details += [
        f"missing {i}: {by_id.get(i)} {[a for a in load.attempts if a.request_id == i]}" for i in found.missing
    ]
    in_sums = await site.pool.fetchval(
        "SELECT coalesce(sum(calls), 0)::bigint FROM usage_days WHERE account_id = $1", caller.account_id
    )
    line.doubles = found.doubles + abs(in_sums - len(rows)) + len((await compare_rollups(site.pool)).differences)
    line.drift = await drift_of(site, caller)
    return line


async def drift_of(site: Site, caller: Caller) -> int:
    """What is left of it within SEEDED_S."""
    deadline = monotonic() + SEEDED_S
    while True:
        # Lost counters are seeded by the next call.
        await caller.chat("Hello [tokens=1]")
        await asyncio.sleep(0.6)
        found = await read_drift(site.pool, site.valkey.url(), caller.account_id)
        drift = sum(drift.difference for drift in found if drift.kind == "requests")
        if not drift or monotonic() > deadline:
            return drift
