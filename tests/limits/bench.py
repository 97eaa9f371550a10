"""A test bench for the Lua scripts: real servers, connections, and a parser of an account's hash."""

import os
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import pytest
import redis
from model import Account, Bucket, Counter, Held, Part, Slots, Window

from deploy.embedded.valkey import Valkey
from deploy.embedded.valkey_cluster import ValkeyCluster
from gateway.domain.grants import Grant
from gateway.domain.ids import milliseconds_of, uuid7
from gateway.domain.limits import WINDOWED_KINDS, Kind, Level, Limit
from gateway.domain.reservation_plan import ReservationPlan, make_reservation_plan
from gateway.storage.counters.layout import Lease, pack_entries, read_counter, read_kept, read_lease
from gateway.storage.counters.scripts import (
    HASH_NAME,
    SCRIPTS,
    Counters,
    Estimate,
    Mode,
    ReserveReply,
    SeedEntry,
    Settlement,
)
from gateway.storage.ledger.rows import InLedger
from gateway.storage.redis.link import Argument, Script, Scripts
from gateway.storage.redis.urls import connect

T = TypeVar("T")

# A second server to run the tests on, e.g. Debian's /usr/bin/redis-server (7.0).
OTHER_SERVER = os.environ.get("LITEMAAS_TEST_REDIS_SERVER")
SERVERS = ("valkey", "cluster", *(("redis",) if OTHER_SERVER else ()))


@contextmanager
def started_server(name: str, folder: Path) -> Iterator[tuple[list[Valkey], str]]:
    """Starts one of SERVERS; yields its nodes and its URL."""
    if name == "cluster":
        with ValkeyCluster(folder) as cluster:
            yield cluster.nodes, cluster.url
        return
    server = Valkey(folder)
    with pytest.MonkeyPatch.context() as patch:
        if name == "redis":
            patch.setenv("LITEMAAS_VALKEY_SERVER", str(OTHER_SERVER))
        server.start()
    try:
        yield [server], server.url()
    finally:
        server.discard()


class PlainScripts:
    """The scripts over a blocking client, so that Hypothesis can run coroutines without an event loop."""

    is_connected = True

    def __init__(self, client: redis.Redis) -> None:
        self.client = client

    async def run(self, script: Script, key: str, *args: Argument) -> Any:
        try:
            return self.client.execute_command("EVALSHA", script.sha, 1, key, *args)
        except redis.exceptions.NoScriptError:
            return self.client.execute_command("EVAL", script.text, 1, key, *args)

    async def command(self, *args: Argument) -> Any:
        return self.client.execute_command(*args)

    def keys_of_primaries(self, prefix: str) -> list[str]:
        return [prefix]

    async def open(self) -> None: ...

    async def close(self) -> None:
        self.client.close()


def drive(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never suspends."""
    try:
        work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("the coroutine suspends")


def read_account(fields: dict[bytes, bytes]) -> tuple[Account, int | None]:
    """The parsed hash, and its `due`."""
    account, due = Account(), None
    for raw, value in fields.items():
        name = raw.decode()
        if name == "due":
            due = int(value)
        elif name == "keep":
            account.keep = int(value)
        elif name.startswith("d|"):
            account.kept[UUID(name[2:])] = read_kept(value)
        elif name.startswith("l|"):
            account.leases[UUID(name[2:])] = _held(read_lease(raw[2:], value))
        else:
            account.counters[name] = _counter(name, value)
    return account, due


def _counter(name: str, value: bytes) -> Counter:
    numbers = read_counter(name, value)
    if name[0] in "rt":
        return Bucket(*numbers)
    return Slots(*numbers) if name[0] == "c" else Window(*numbers)


def _held(lease: Lease) -> Held:
    return Held(
        valid_until=lease.expires_ms,
        is_open=lease.is_open,
        start=lease.start_ms,
        prompt=lease.prompt_tokens,
        completion=lease.completion_tokens,
        cost=lease.nano_usd,
        parts=[Part(*part) for part in lease.parts],
        scopes=lease.scopes,
        note=lease.note,
        claimed_until=lease.claimed_ms,
    )


# Far from any boundary of a day, week, month or year in UTC.
NOON_MS = int(datetime(2026, 5, 13, 12, tzinfo=UTC).timestamp() * 1000)
NEVER = (0, 0, 0)
_accounts = count(1000)


@dataclass(slots=True)
class RedisSetup:
    """One server or cluster, and the connections of several gateways to it."""

    servers: list[Valkey]
    gateways: list[Scripts]

    def new_account(self, **about: Any) -> "Bench":
        return Bench(self, next(_accounts), [Counters(scripts) for scripts in self.gateways], **about)

    def clients(self) -> list[redis.Redis]:
        """A client of each server, for commands that have no key."""
        return [redis.Redis.from_url(server.url()) for server in self.servers]


@asynccontextmanager
async def connected(
    servers: list[Valkey], url: str, *, gateways: int = 4, timeout_s: float = 10
) -> AsyncIterator[RedisSetup]:
    links = [connect(url, SCRIPTS, timeout_s=timeout_s) for _ in range(gateways)]
    for link in links:
        await link.open()
    yield RedisSetup(servers, links)
    for link in links:
        await link.close()


@dataclass(slots=True)
class Bench:
    """One account, a clock that the test sets, and ledger sums that the test sets; limits are arguments."""

    redis_setup: RedisSetup
    account: int
    gateways: list[Counters]
    scopes: str = "k1 k1m1 s1 u1 t"
    time_zone: str = "UTC"
    epoch: int = 1
    now: int = NOON_MS
    # The sums of the ledger, by counter.
    sums: dict[str, int] = field(default_factory=dict)
    _numbers: "count[int]" = field(default_factory=count)

    @property
    def counters(self) -> Counters:
        return self.gateway(0)

    def gateway(self, n: int) -> Counters:
        """The counters of a gateway; all gateways have the same clock."""
        counters = self.gateways[n]
        counters.clock_ms = self.now
        return counters

    def new_id(self, start_ms: int | None = None) -> UUID:
        return uuid7(self.now if start_ms is None else start_ms, next(self._numbers).to_bytes(10))

    def plan(self, limits: Sequence[Limit], at_ms: int | None = None) -> ReservationPlan:
        return make_reservation_plan(
            grant_of(limits, self.scopes), self.time_zone, self.epoch, self.now if at_ms is None else at_ms
        )

    async def reserve_once(
        self,
        *limits: Limit,
        tokens: tuple[int, int, int] = NEVER,
        cost: tuple[int, int, int] = NEVER,
        mode: Mode = "take",
        request_id: UUID | None = None,
        gateway: int = 0,
        epoch: int | None = None,
    ) -> ReserveReply:
        """One run of the reserve script, whatever its reply."""
        counters = self.gateway(gateway)
        request_id = request_id or self.new_id()
        start_ms = milliseconds_of(request_id)
        return await counters.reserve(
            self.account,
            request_id,
            pack_entries([e._replace(epoch=epoch or e.epoch) for e in self.plan(limits, start_ms).entries]),
            Estimate(tokens=tokens, cost=cost),
            start_ms=start_ms,
            scopes=self.scopes,
            note=b"{}",
            mode=mode,
        )

    async def reserve(self, *limits: Limit, gateway: int = 0, **about: Any) -> ReserveReply:
        """Reserves as a gateway does: seeds missing counters and runs the script again."""
        about.setdefault("request_id", self.new_id())
        reply = await self.reserve_once(*limits, gateway=gateway, **about)
        if reply.status == "seed":
            await self.seed(
                *(limits[n] for n in reply.seed), gateway=gateway, at_ms=milliseconds_of(about["request_id"])
            )
            reply = await self.reserve_once(*limits, gateway=gateway, **about)
        return reply

    async def take(self, *limits: Limit, **about: Any) -> UUID:
        """A reservation that must be taken; returns its request id."""
        request_id: UUID = about.setdefault("request_id", self.new_id())
        reply = await self.reserve(*limits, **about)
        assert reply.status == "taken"
        return request_id

    async def left(self, limit: Limit) -> int:
        """What is left of the limit in whole units; negative in debt."""
        (taking,) = (await self.reserve(limit, mode="look")).takings
        return taking.left // 60_000 if limit.window is None and limit.kind != "concurrency" else taking.left

    async def seed(
        self, *limits: Limit, gateway: int = 0, at_ms: int | None = None, known: Sequence[InLedger] = ()
    ) -> int:
        entries = []
        for limit, entry in zip(limits, self.plan(limits, at_ms).entries, strict=True):
            is_window = limit.window is not None
            a, b, total = (entry.a, entry.b, self.sums.get(limit.field, 0)) if is_window else (0, 0, 0)
            entries.append(SeedEntry(entry.field, a, b, total, entry.epoch))
        counters = self.gateway(gateway)
        return await counters.seed(self.account, entries, known)

    async def settle(
        self, request_id: UUID, *, tokens: int = 0, cost: int = 0, rate: int = 1, window: int = 1, gateway: int = 0
    ) -> bool:
        counters = self.gateway(gateway)
        return await counters.settle(
            Settlement(
                account_id=self.account,
                request_id=request_id,
                requests_rate=rate,
                requests_window=window,
                tokens=tokens,
                nano_usd=cost,
            )
        )

    async def sweep_and_reap(self) -> int:
        """Sweeps and reaps as a reaper does, without writing ledger rows; returns the number of reaped leases."""
        _, claimed = await self.counters.sweep(self.account)
        return sum([await self.counters.reap(self.account, lease.request_id) for lease in claimed])

    @property
    def key(self) -> str:
        return HASH_NAME % self.account

    async def command(self, *arguments: Argument) -> Any:
        """Runs a Redis command with the account's key as its first argument."""
        return await self.redis_setup.gateways[0].command(arguments[0], self.key, *arguments[1:])

    async def fields(self) -> dict[bytes, bytes]:
        flat = await self.command("HGETALL")
        return dict(zip(flat[::2], flat[1::2], strict=True))

    async def state(self) -> tuple[Account, int | None]:
        return read_account(await self.fields())

    async def counter(self, limit: Limit) -> Counter | None:
        account, _ = await self.state()
        return account.counters.get(limit.field)

    async def snapshot(self) -> tuple[dict[bytes, bytes], int]:
        """All fields and the expiry of the key: what a refusal must not change."""
        return await self.fields(), await self.command("PEXPIRETIME")


def grant_of(limits: Sequence[Limit], scopes: str) -> Grant:
    return Grant(
        model_id=1,
        model_name="small",
        owned_by="test",
        max_output_tokens=None,
        subscription_id=1,
        subscription_expires_at=None,
        price=None,
        limits=tuple(limits),
        scopes=scopes,
    )


LEVEL_SCOPES: dict[Level, str] = {"key": "k1", "key_model": "k1m1", "subscription": "s1", "user": "u1", "team": "t"}


def limit_of(kind: Kind, amount: int, level: Level = "key", **about: Any) -> Limit:
    """A limit; the default window is a month."""
    about.setdefault("window", "month" if kind in WINDOWED_KINDS else None)
    about.setdefault("scope", LEVEL_SCOPES[level])
    return Limit(id=1, level=level, kind=kind, amount=amount, **about)
