"""Limits in Redis: the only module that knows the Lua scripts and the name of an account's hash."""

from collections.abc import Callable, Sequence
from itertools import repeat
from time import monotonic, time
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

import msgspec

from gateway.domain.usage_rows import UsageRow
from gateway.storage.counters.layout import (
    KEPT_PREFIX,
    LEASE_PREFIX,
    REPLY_HEAD,
    TAKING,
    Lease,
    PackedLimits,
    pack_numbers,
    read_lease,
    read_numbers,
)
from gateway.storage.ledger.rows import InLedger
from gateway.storage.redis.link import Argument, RedisUnavailable, Script, Scripts

RESERVE: Final = Script.load("counters", "reserve")
KEEP: Final = Script.load("counters", "keep")
SETTLE, CHARGE, RENEW, SWEEP, REAP, SEED = (
    Script.load("counters", "leases", name) for name in ("settle", "charge", "renew", "sweep", "reap", "seed")
)
SCRIPTS: Final = (RESERVE, SETTLE, CHARGE, RENEW, SWEEP, REAP, SEED, KEEP)
# The layout's version is in the name; the braces keep one account in one slot of a cluster.
HASH_NAME: Final = "lm2:{%d}"
LEASED_ACCOUNTS: Final = "lm2-leased-accounts"
ROUND: Final = "lm2-round-%s"
IDLE_MS: Final = 600_000
LEASE_MS: Final = 60_000
CLAIM_MS: Final = 60_000
KEEP_MS: Final = 7 * 24 * 3600 * 1000
MAX_CLAIMED: Final = 500
# Of nano-USD, in an estimate: more than any limit, and still a whole number in what the script answers.
MAX_COST: Final = 2**53

Mode = Literal["take", "force", "look"]
_encode = msgspec.msgpack.Encoder().encode


class Taking(NamedTuple):
    """What one limit had before this call, and what the call wants of it; a bucket's `left` in 1/60000 units."""

    left: int
    held: int
    want: int


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What a call may take: (prompt, expected completion, at most) in tokens and in nano-USD."""

    tokens: tuple[int, int, int]
    cost: tuple[int, int, int]


class ReserveReply(msgspec.Struct, frozen=True):
    """`status` as in reserve.lua; `seed` are indexes into the entries, for status `seed`."""

    status: Literal["taken", "refused", "repeated", "seed", "late", "clock_skew"]
    now_ms: int
    is_sweep_due: bool
    takings: tuple[Taking, ...] = ()
    seed: tuple[int, ...] = ()


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """What a call really used, for its lease."""

    account_id: int
    request_id: UUID
    requests_rate: int
    requests_window: int
    tokens: int
    nano_usd: int
    # The reservation may reach Redis after this: it must take nothing then.
    is_forestalling: bool = False

    @classmethod
    def of(cls, row: UsageRow) -> "Settlement":
        """What the row says its limits are charged."""
        return cls(
            account_id=row.account_id,
            request_id=row.request_id,
            requests_rate=row.counted_rate_requests,
            requests_window=row.counted_requests,
            tokens=row.counted_tokens,
            nano_usd=row.counted_nano_usd,
        )

    @classmethod
    def of_nothing(cls, account_id: int, request_id: UUID) -> "Settlement":
        """Gives all of a reservation back, whose outcome is unknown."""
        return cls(
            account_id=account_id,
            request_id=request_id,
            requests_rate=0,
            requests_window=0,
            tokens=0,
            nano_usd=0,
            is_forestalling=True,
        )


class SeedEntry(NamedTuple):
    """A counter to seed: the ledger's sum over a window. A count of open leases has no window and no sum."""

    field: str
    start_ms: int
    end_ms: int
    total: int
    epoch: int


_STATUS: Final[dict[int, Literal["taken", "refused", "repeated", "seed", "late", "clock_skew"]]] = {
    1: "taken",
    0: "refused",
    2: "repeated",
    -1: "seed",
    -2: "late",
    -3: "clock_skew",
}


class Counters:
    """Reserve, settle and all else that changes counters. `clock_ms` is for tests only: None is Redis's clock."""

    def __init__(self, scripts: Scripts, on_run: Callable[[str, float | None], None] = lambda *_: None) -> None:
        """`on_run` gets the name of each script that was run, and the seconds until Redis answered; None: it did
        not."""
        self._scripts = scripts
        self._on_run = on_run
        self.clock_ms: int | None = None

    @property
    def _clock(self) -> Argument:
        return b"" if self.clock_ms is None else self.clock_ms

    @property
    def is_connected(self) -> bool:
        """Whether Redis can be asked now."""
        return self._scripts.is_connected

    async def command(self, *parts: Argument) -> Any:
        """A command of Redis's own, of what is no account's. Raises RedisUnavailable."""
        return await self._scripts.command(*parts)

    async def close(self) -> None:
        """Ends the connection."""
        await self._scripts.close()

    async def _run(self, script: Script, key: str, *args: Argument) -> Any:
        began_at = monotonic()
        try:
            answer = await self._scripts.run(script, key, *args)
        except RedisUnavailable:
            self._on_run(script.name, None)
            raise
        self._on_run(script.name, monotonic() - began_at)
        return answer

    async def reserve(
        self,
        account_id: int,
        request_id: UUID,
        limits: PackedLimits,
        estimate: Estimate,
        *,
        start_ms: int,
        scopes: str,
        note: bytes,
        mode: Mode = "take",
    ) -> ReserveReply:
        """One round trip; takes from every limit or from none. Raises RedisUnavailable: the outcome is unknown."""
        prompt, completion, most = estimate.cost
        numbers = pack_numbers(
            LEASE_MS, start_ms, *estimate.tokens,
            min(prompt, MAX_COST), min(completion, MAX_COST), min(most, MAX_COST), limits.counters,
        )  # fmt: skip
        # Not by `_run`, as of every call: another coroutine is half a microsecond.
        began_at = monotonic()
        try:
            reply = await self._scripts.run(
                RESERVE, HASH_NAME % account_id, self._clock, request_id.hex, mode, numbers, scopes, note,
                limits.fields, limits.numbers,
            )  # fmt: skip
        except RedisUnavailable:
            self._on_run(RESERVE.name, None)
            raise
        self._on_run(RESERVE.name, monotonic() - began_at)
        status_code, now_ms, sweep = REPLY_HEAD.unpack_from(reply)
        status, rest = _STATUS[status_code], reply[REPLY_HEAD.size :]
        if status == "seed":
            return ReserveReply(status, now_ms, sweep == 1, seed=tuple(n - 1 for n in read_numbers(rest)))
        # As `Taking(*three)` of each, without calling Python for it.
        takings = tuple(map(tuple.__new__, repeat(Taking), TAKING.iter_unpack(rest)))
        return ReserveReply(status, now_ms, sweep == 1, takings)

    async def settle(self, settlement: Settlement) -> bool:
        """Whether there was a lease, open or reaped, that this replaced."""
        s = settlement
        numbers = pack_numbers(s.requests_rate, s.requests_window, s.tokens, s.nano_usd)
        began_at = monotonic()
        try:
            was_leased = await self._scripts.run(
                SETTLE, HASH_NAME % s.account_id, self._clock, s.request_id.hex, numbers, int(s.is_forestalling)
            )
        except RedisUnavailable:
            self._on_run(SETTLE.name, None)
            raise
        self._on_run(SETTLE.name, monotonic() - began_at)
        return bool(was_leased)

    async def charge(self, account_id: int, request_id: UUID, *, tokens: int, nano_usd: int) -> bool:
        """Raises an open lease to what was used so far, cumulative; False: there is none."""
        key = HASH_NAME % account_id
        return bool(await self._run(CHARGE, key, self._clock, request_id.hex, tokens, nano_usd))

    async def renew(self, account_id: int, request_ids: Sequence[UUID]) -> set[UUID]:
        """Makes the leases valid for another LEASE_MS; returns those of which Redis knows nothing any more."""
        ids = [i.hex for i in request_ids]
        lost = await self._run(RENEW, HASH_NAME % account_id, self._clock, LEASE_MS, *ids)
        return {UUID(i.decode()) for i in lost}

    async def sweep(self, account_id: int) -> tuple[int, list[Lease]]:
        """(open leases, expired ones claimed by this call for CLAIM_MS); drops what is long over."""
        answer = await self._run(SWEEP, HASH_NAME % account_id, self._clock, CLAIM_MS, KEEP_MS, MAX_CLAIMED)
        claimed = [read_lease(i, value) for i, value in zip(answer[1::2], answer[2::2], strict=True)]
        return answer[0], claimed

    async def announce(self, account_id: int) -> None:
        """Names the account in the index that reapers go by. Beside the account's own hash, so not atomic with it:
        said before the reserve, again while leases are renewed, and again by the reaper that sweeps open ones."""
        await self._scripts.command("ZADD", LEASED_ACCOUNTS, int(time() * 1000), account_id)

    async def accounts_with_leases(self) -> list[int]:
        """Those named in the index; some may have none any more."""
        return [int(a) for a in await self._scripts.command("ZRANGE", LEASED_ACCOUNTS, 0, -1)]

    async def forget_idle_accounts(self) -> None:
        """Takes those out of the index that were not announced for a while."""
        before = int(time() * 1000) - IDLE_MS
        await self._scripts.command("ZREMRANGEBYSCORE", LEASED_ACCOUNTS, "-inf", before)

    async def claim_round(self, name: str, for_ms: int) -> bool:
        """Whether this gateway makes the round of that name now; no other one does for so long."""
        return await self._scripts.command("SET", ROUND % name, "1", "NX", "PX", for_ms) is not None

    async def read_account(self, account_id: int) -> dict[str, bytes]:
        """Every field of the account's hash as it is stored."""
        flat = await self._scripts.command("HGETALL", HASH_NAME % account_id)
        pairs = flat.items() if isinstance(flat, dict) else zip(flat[::2], flat[1::2], strict=True)
        return {name.decode(): value for name, value in pairs}

    async def eviction_policy(self) -> str:
        """What Redis does when it is full; '' where it does not say."""
        info: bytes = await self._scripts.command("INFO", "memory")
        lines = (line.partition(":") for line in info.decode().splitlines())
        return next((value.strip() for name, _, value in lines if name == "maxmemory_policy"), "")

    async def now_ms(self) -> int:
        """Redis's clock."""
        seconds, micros = await self._scripts.command("TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    async def reap(self, account_id: int, request_id: UUID, *, is_orphan: bool = False) -> bool:
        """Closes an expired lease whose estimated row is written; False: renewed, settled or reaped meanwhile. One that
        `is_orphan` has no gateway any more, so it is closed whether it has expired or not."""
        key = HASH_NAME % account_id
        return bool(await self._run(REAP, key, self._clock, request_id.hex, int(is_orphan)))

    async def seed(self, account_id: int, entries: Sequence[SeedEntry], known: Sequence[InLedger] = ()) -> int:
        """Seeds those counters that still need it; returns how many. `known` is what the entries' sums have of calls
        whose ids `ids_of_calls` gave."""
        rows = [(row.request_id.hex, *row[1:]) for row in known]
        return int(await self._run(SEED, HASH_NAME % account_id, self._clock, _encode(entries), _encode(rows)))

    async def keep_ended(self, account_id: int, for_ms: int) -> bool:
        """For so long, what each call of the account counts in the end is kept: a seed adds it where the ledger was
        read without that call's row. False: nothing is known of the account."""
        return bool(await self._run(KEEP, HASH_NAME % account_id, self._clock, for_ms))

    async def ids_of_calls(self, account_id: int) -> tuple[set[UUID], set[UUID]]:
        """Of the account's leases, open or reaped; and of calls that are kept and have none."""
        names = await self._scripts.command("HKEYS", HASH_NAME % account_id)
        leased, kept = (
            {UUID(name[2:].decode()) for name in names if name.startswith(prefix.encode())}
            for prefix in (LEASE_PREFIX, KEPT_PREFIX)
        )
        return leased, kept - leased
