"""The three counts: of the model server, the ledger and Redis."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import aiohttp
import redis.asyncio
from callers import Caller
from gateways import RedisState

from chaos.load import Load
from chaos.site import Site, wait_for
from gateway.settle import Settlements
from gateway.storage.counters.drift import measure_drift
from gateway.storage.counters.scripts import LEASE_MS, SCRIPTS, Counters
from gateway.storage.ledger.verify import check_ledger
from gateway.storage.ledger.writer import LedgerWriter
from gateway.storage.redis.urls import connect
from gateway.tasks.reap_leases import Reaper

# Calls refused because of an outage never reached the model.
NOT_FORWARDED: Final = ("unreachable", "refused_upstream")


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
        return not (self.missing or self.doubles or self.tokens_off or self.others or self.failed)


class ModelRecord:
    """The model server's calls of one fault, even of a server that was killed in between."""

    def __init__(self, site: Site, prefix: str) -> None:
        self._site = site
        self._prefix = prefix + "."
        self.calls: dict[tuple[float, int], dict[str, Any]] = {}
        self.have_gap = False
        # LiteLLM died: calls it accepted but did not forward are known only to the gateway, and cost nothing.
        self.were_cut_off = False

    async def read(self) -> None:
        """Adds the current calls; nothing while the server is down."""
        since = 0
        try:
            while True:
                params = {"since": since, "limit": 1000}
                async with self._site.http.get(f"{self._site.model_server.url}/_calls", params=params) as answer:
                    found = await answer.json()
                for call in found:
                    since = call["ordinal"]
                    if str(call["mark"]).startswith(self._prefix):
                        self.calls[call["started_at"], call["ordinal"]] = call
                if len(found) < 1000:
                    return
        except aiohttp.ClientError:
            return


async def settle_down(site: Site, caller: Caller, load: Load, *, reaps_now: bool) -> None:
    """Until no lease is open and no row is on its way. `reaps_now`: an hour's patience by the clock of a test."""
    if reaps_now:
        await asyncio.sleep(0.5)
        await reap_now(site, caller.account_id)
    async with redis.asyncio.from_url(site.valkey.url()) as client:
        redis_state = RedisState(client)

        async def is_closed() -> bool:
            return not await redis_state.open_leases(caller.account_id)

        await wait_for(is_closed, "all leases to be closed", 100)
    answered = {attempt.request_id for attempt in load.attempts if attempt.status == 200 and attempt.request_id}
    last = -1

    async def is_still() -> bool:
        nonlocal last
        ids = {str(row) for row in await _ids(site, caller)}
        before, last = last, len(ids)
        await asyncio.sleep(0.4)
        return answered <= ids and before == last

    try:
        await wait_for(is_still, "rows to arrive", 15)
    except TimeoutError:
        return  # the counts show what is missing


async def _ids(site: Site, caller: Caller) -> list[UUID]:
    sql = "SELECT request_id FROM usage_logs WHERE account_id = $1"
    return [row["request_id"] for row in await site.pool.fetch(sql, caller.account_id)]


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


async def compare(site: Site, caller: Caller, load: Load, upstream_log: ModelRecord, line: Line) -> Line:
    """Compares the counts and sets the fields of the line."""
    await upstream_log.read()
    rows = {
        str(row["request_id"]): row
        for row in await site.pool.fetch("SELECT * FROM usage_logs WHERE account_id = $1", caller.account_id)
    }
    calls = {call["call_id"]: call for call in upstream_log.calls.values()}
    answered = {attempt.request_id for attempt in load.attempts if attempt.status == 200}
    real = {i: row for i, row in rows.items() if row["estimated_why"] != "reaped"}
    line.calls, line.rows = len(upstream_log.calls), len(rows)
    line.reaped = len(rows) - len(real)
    line.missing = len((set(calls) | answered) - set(rows))
    line.details += [
        f"missing {i}: {calls.get(i)} {[a for a in load.attempts if a.request_id == i]}"
        for i in (set(calls) | answered) - set(rows)
    ]
    in_sums = await site.pool.fetchval(
        "SELECT coalesce(sum(calls), 0)::bigint FROM usage_days WHERE account_id = $1", caller.account_id
    )
    line.doubles = len(upstream_log.calls) - len(calls) + abs(in_sums - len(rows))
    line.others = (
        0
        if upstream_log.have_gap
        else sum(
            row["ending"] not in NOT_FORWARDED
            and i not in calls
            and i not in answered
            and not (upstream_log.were_cut_off and row["ending"] == "upstream_error" and row["counted_tokens"] == 0)
            for i, row in real.items()
        )
    )
    completed = [(row, calls[i]) for i, row in real.items() if row["ending"] == "completed" and i in calls]
    line.tokens_off = sum(
        abs(row["prompt_tokens"] - call["prompt_tokens"]) + abs(row["completion_tokens"] - call["completion_tokens"])
        for row, call in completed
        if call["ending"] == "complete"
    )
    async with site.pool.acquire() as connection, connection.transaction(isolation="repeatable_read"):
        check = await check_ledger(connection, datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0))
    line.doubles += len(check.differences)
    line.drift = await drift_of(site, caller)
    return line


async def drift_of(site: Site, caller: Caller) -> int:
    # Lost counters are seeded by the next call.
    await caller.chat("Hello [tokens=1]")
    await asyncio.sleep(0.6)
    scripts = connect(site.valkey.url(), SCRIPTS, timeout_s=5)
    await scripts.open()
    try:
        counters = Counters(scripts)
        found = await measure_drift(counters, site.pool, caller.account_id, await counters.now_ms())
    finally:
        await scripts.close()
    return sum(drift.difference for drift in found if drift.kind == "requests")
