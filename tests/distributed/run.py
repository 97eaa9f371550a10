"""One fault under load, from the first call to its line of the table."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Final
from uuid import uuid4

import aiohttp
import redis.asyncio
from accounting import (
    ModelRecord,
    Row,
    compare_calls,
    compare_rollups,
    may_be_unknown,
    read_drift,
    read_rows,
    wait_for,
)
from admin_client import LOGIN
from callers import Caller
from chaos.load import Attempt, Load
from gateways import RedisState

from deploy.embedded.valkey import Valkey
from distributed.admin_load import AdminLoad, number_of
from distributed.callers_view import Seen
from distributed.site import GATEWAYS, Site
from gateway.storage.counters.layout import read_counter
from gateway.storage.counters.scripts import HASH_NAME

# Of the account whose limit is used up during the fault.
LIMIT: Final = 90
SLOTS: Final = 1000
THROUGH_BALANCER: Final = 5
# A gateway that has refused as many in a row has nothing left; the last two may be under way.
LAST: Final = 8
# Leases of a gateway that died are reaped after a minute.
LEASES_S: Final = 100.0
RECOVERY_S: Final = 90.0
# Calls that never reached the model.


@dataclass(slots=True)
class Line:
    """One fault's outcome."""

    fault: str
    through: Seen | None = None
    direct: Seen | None = None
    admin: Seen | None = None
    recovery_s: float = 0.0
    missing: int = 0
    doubles: int = 0
    slots: int = 0
    others: int = 0  # rows that nobody else knows of
    tokens_off: int = 0  # of completed calls, against the model server
    drift: int = 0  # requests that Redis counts beyond the ledger, or short of it
    over: int = 0
    bound: int = 0
    lost_rows: int = 0  # that Postgres had committed and lost
    stale: int = 0  # what was served though it was revoked or used up, confirmed and not there, or never tried
    details: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether every promise was kept."""
        counts = (self.missing, self.doubles, self.others, self.tokens_off, self.slots, self.drift, self.stale)
        return not any(counts) and self.over <= self.bound


class Run:
    """The load of one fault, which sets `cut_off`, the workers that go on without Redis, `loses_changes`, whether
    changes by the admin API may be lost, `has_litellm_died`, and `not_replicated`, the limited account's calls that a
    promoted replica lacks."""

    def __init__(self, site: Site, fault: str) -> None:
        self.site = site
        self.line = Line(fault)
        self.cut_off = 0
        self.loses_changes = False
        self.has_litellm_died = False
        self.not_replicated = 0
        self.left = 0
        self.prefix = uuid4().hex[:8]
        self.caller: Caller
        self.limited: Caller
        self._loads: list[Load] = []
        self._limited_loads: list[Load] = []
        self._admin: AdminLoad

    async def begin(self) -> None:
        """Starts the load; returns when every gateway has seen how much is left of the limit."""
        site = self.site
        self.caller, self.limited = await site.make_caller(), await site.make_caller()
        await self.caller.limit("concurrency", SLOTS)
        for kind in ("requests", "tokens", "cost"):
            await self.caller.limit(kind, 10**12, window="month")
        await self.limited.limit("requests", LIMIT, window="day")
        self.record = ModelRecord(site.http, site.model_server.url, self.prefix)
        await self._known_everywhere(self.caller)
        await self._known_everywhere(self.limited)
        self._loads = [Load(self.caller, self.prefix, clients=THROUGH_BALANCER)]
        self._loads += [
            Load(self.caller.at(gateway.url), f"{self.prefix}.{n}", clients=1)
            for n, gateway in enumerate(site.gateways)
        ]
        self._admin = AdminLoad(site, await site.make_caller())
        await asyncio.sleep(1)
        # A second time, one after the other, so that all have seen the same.
        await self._known_everywhere(self.limited)
        self.left = LIMIT - len(await read_rows_now(site, self.limited.account_id))

    async def _known_everywhere(self, caller: Caller) -> None:
        for gateway in self.site.gateways:

            async def passes(url: str = gateway.url) -> bool:
                return (await caller.at(url).chat(f"Hello [tokens=1] [mark={self.prefix}.first]")).status == 200

            await wait_for(passes, "a gateway to know the key", 10)

    def count_admitted(self) -> int:
        """Calls of the limited account until now."""
        admitted = sum(one.status == 200 for load in self._limited_loads for one in load.attempts)
        return LIMIT - self.left + admitted

    async def is_used_up(self) -> bool:
        """Whether every gateway refuses the limited account."""
        last = [load.attempts[-LAST:] for load in self._limited_loads]
        return all(len(some) == LAST and all(one.status not in (0, 200) for one in some[:-2]) for some in last)

    def use_up(self) -> None:
        """Calls of the limited account at every gateway, as fast as they are answered."""
        self._limited_loads = [
            Load(self.limited.at(gateway.url), f"{self.prefix}.l{n}", clients=2, kinds=(0,))
            for n, gateway in enumerate(self.site.gateways)
        ]

    async def recover(self) -> None:
        """Until every part is back and calls pass at every gateway."""
        began = monotonic()
        await wait_for(self.site.is_whole, "all parts to be ready again", RECOVERY_S)
        for gateway in self.site.gateways:

            async def passes(url: str = gateway.url) -> bool:
                try:
                    prompt = f"Hello [tokens=1] [mark={self.prefix}.again]"
                    return all(one.status == 200 for one in await self.caller.at(url).chats(5, prompt))
                except (aiohttp.ClientError, TimeoutError):
                    return False

            await wait_for(passes, "calls to pass again", RECOVERY_S)
        self.line.recovery_s = monotonic() - began

    async def end(self) -> Line:
        """Stops the load, waits for what is on its way, and compares."""
        await asyncio.sleep(1)
        for load in (*self._loads, *self._limited_loads, self._admin):
            await load.stop()
        line = self.line
        line.through = Seen.of(self._loads[0].attempts)
        line.direct = Seen.of(attempt for load in self._loads[1:] for attempt in load.attempts)
        line.admin = Seen.of(self._admin.attempts)
        await self.record.read()
        for caller in (self.caller, self.limited):
            line.slots += await self._count_slots(caller.account_id)
        attempts = [attempt for load in (*self._loads, *self._limited_loads) for attempt in load.attempts]
        await self._compare(attempts)
        await self._check_limit()
        await self._check_admin()
        return line

    async def cancel(self) -> None:
        for load in (*self._loads, *self._limited_loads):
            await load.cancel()
        if hasattr(self, "_admin"):
            await self._admin.cancel()

    def owner(self, caller: Caller) -> Valkey:
        """The Valkey node that has the account's counters now."""
        return self.site.cluster.owner_of(HASH_NAME % caller.account_id)

    async def _count_slots(self, account_id: int) -> int:
        """Leases and slots that are held though no call is under way."""
        node = await asyncio.to_thread(self.site.cluster.owner_of, HASH_NAME % account_id)
        async with redis.asyncio.from_url(node.url()) as client:
            state = RedisState(client)

            async def is_closed() -> bool:
                return not await state.open_leases(account_id)

            try:
                await wait_for(is_closed, "all leases to be closed", LEASES_S)
            except TimeoutError:
                self.line.details.append(f"leases: {await state.open_leases(account_id)}")
            fields = await state.everything(account_id)
            held = sum(int(read_counter("c", value)[0]) for name, value in fields.items() if name[:2] == b"c|")
            return max(held, len(await state.open_leases(account_id)))

    async def _compare(self, attempts: Iterable[Attempt]) -> None:
        line, site = self.line, self.site
        answered = {one.request_id for one in attempts if one.status == 200 and one.request_id}
        ids = [self.caller.account_id, self.limited.account_id]
        rows: dict[str, Row] = {}
        calls = list(self.record.calls.values())
        known = {call["call_id"] for call in calls} | answered

        async def are_there() -> bool:
            rows.update(await read_rows(site.pool, ids[0]) | await read_rows(site.pool, ids[1]))
            return known <= rows.keys()

        # Else they are missing.
        with suppress(TimeoutError):
            await wait_for(are_there, "rows to arrive", 20)
        found = compare_calls(
            rows, calls, answered, lambda row: may_be_unknown(row, has_litellm_died=self.has_litellm_died)
        )
        line.missing, line.others, line.tokens_off = len(found.missing), len(found.others), found.tokens_off
        by_id = {call["call_id"]: call for call in calls}
        line.details += [f"missing {i}: {by_id.get(i)}" for i in sorted(found.missing)[:5]]
        line.details += [f"unknown {i}: {dict(rows[i])}" for i in sorted(found.others)[:5]]
        line.details += [f"tokens off: {found.tokens_off}"] if found.tokens_off else []
        in_sums = await site.pool.fetchval(
            "SELECT coalesce(sum(calls), 0)::bigint FROM usage_days WHERE account_id = ANY($1)", ids
        )
        line.doubles = found.doubles + abs(in_sums - len(rows)) + len((await compare_rollups(site.pool)).differences)
        for caller in (self.caller, self.limited):
            # Counters that were lost, or are of an older epoch, are seeded by the next call.
            await caller.at(site.gateways[0].url).chat("Hello [tokens=1]")
            await self._count_slots(caller.account_id)
            await read_rows_now(site, caller.account_id)
            drifts = await read_drift(site.pool, site.cluster.url, caller.account_id)
            wrong = [drift for drift in drifts if drift.kind == "requests" and drift.difference]
            line.drift += sum(abs(drift.difference) for drift in wrong)
            line.details += map(str, wrong)

    async def _check_limit(self) -> None:
        line = self.line
        rows = await read_rows(self.site.pool, self.limited.account_id)
        used = sum(int(row["counted_requests"]) for row in rows.values())
        line.over = max(0, used - LIMIT)
        # Where Postgres lost commits, counters are computed while rows are on their way back.
        line.bound = self.cut_off * (self.left // GATEWAYS) + self.not_replicated
        if used < LIMIT:
            line.stale += 1
            line.details.append(f"the limit was not used up: {used} of {LIMIT}")
        # What was used without Redis is counted now, by every gateway.
        for gateway in self.site.gateways if used >= LIMIT else ():
            status = (await self.limited.at(gateway.url).chat("Hello [tokens=1]")).status
            if status != 429:
                line.stale += 1
                line.details.append(f"limit used up ({used} of {LIMIT}), and {gateway.url} answers {status}")
        each = [sum(one.status == 200 for one in load.attempts) for load in self._limited_loads]
        line.details.append(f"limit {LIMIT}, left {self.left}, used {used}, at each gateway {each}")

    async def _check_admin(self) -> None:
        """What was confirmed is there, and a revoked key is refused by every gateway within seconds."""
        site, line = self.site, self.line
        sql = "SELECT name FROM api_keys WHERE id = $1"
        name = await site.pool.fetchval(sql, self._admin.key_id)
        if not self.loses_changes and number_of(name) < number_of(self._admin.saved):
            line.stale += 1
            line.details.append(f"confirmed {self._admin.saved!r}, there is {name!r}")
        url = f"{site.admins[0].url}/api/v1/api-keys/{self.caller.key_id}"
        async with site.http.delete(url, headers=LOGIN) as answer:
            assert answer.status == 200, await answer.text()
        for gateway in site.gateways:

            async def is_refused(url: str = gateway.url) -> bool:
                return (await self.caller.at(url).chat("Hello [tokens=1]")).status == 401

            try:
                await wait_for(is_refused, "the key to be refused", 3)
            except TimeoutError:
                line.stale += 1
                line.details.append(f"revoked key served by {gateway.url}")


async def read_rows_now(site: Site, account_id: int) -> dict[str, Row]:
    """Once no more arrive."""
    rows: dict[str, Row] = {}

    async def is_still() -> bool:
        nonlocal rows
        before = len(rows)
        rows = await read_rows(site.pool, account_id)
        await asyncio.sleep(0.3)
        return len(rows) == before > 0

    await wait_for(is_still, "rows to arrive", 10)
    return rows
