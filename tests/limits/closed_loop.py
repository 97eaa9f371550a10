"""Simulated callers who obey `retry-after`, on a real Valkey, through the gateway's own admission, in simulated time:
which share of a limit in tokens per minute they get, and by how much they exceed it.

`python tests/limits/closed_loop.py` prints the table of docs/limits.md (`make closed-loop`); test_closed_loop.py has
the bounds.
"""

import argparse
import asyncio
import heapq
import math
import random
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import accumulate, count
from pathlib import Path
from statistics import mean
from typing import Final, Literal

from deploy.embedded.valkey import Valkey
from gateway.admit import Admission, LimitExceeded, Reservation
from gateway.domain.calls import Usage
from gateway.domain.grants import Grant, KeyRecord
from gateway.domain.ids import RequestIds
from gateway.domain.limits import Limit
from gateway.domain.retry_pacing import Turns
from gateway.endpoints.requests import Call
from gateway.storage.counters.scripts import SCRIPTS, Counters, Settlement
from gateway.storage.redis.link import Scripts
from gateway.storage.redis.urls import connect
from gateway.web.background import Background

START_MS: Final = 1_778_673_600_000
MINUTE_MS: Final = 60_000
# The first minute spends the full bucket and trains the estimates.
FROM_MINUTE, MINUTES = 1, 11
DISCONNECTS: Final = 0.05
# The relative error of the estimate of a prompt's tokens.
GUESS: Final = (0.4, 1.5)
STRETCHES: Final = (1, 2, 3, 5, 10)
Part = Literal["turns", "learning", "debt"]
_accounts = count(500_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The callers, their calls and the limit."""

    tokens_per_minute: int
    burst: Decimal = Decimal(1)
    clients: int = 64
    gateways: int = 1
    maximum: int | None = None
    completion_mean: float = 300.0
    prompt_mean: float = 150.0
    tokens_per_s: float = 25.0
    # Mechanisms to switch off, to see the bounds fail.
    without: tuple[Part, ...] = ()


@dataclass(slots=True)
class Admitted:
    """One admitted call, with its reservation and its usage."""

    start_ms: int
    end_ms: int
    reserved: int
    used: int

    @property
    def beyond(self) -> int:
        return max(0, self.used - self.reserved)


@dataclass(slots=True)
class Run:
    """The result of one simulation, with one random seed."""

    load: Load
    calls: list[Admitted] = field(default_factory=list)
    refusals: int = 0
    never_fit: int = 0
    waits_s: list[float] = field(default_factory=list)

    @property
    def utilisation(self) -> float:
        """Tokens of calls that ended in minutes 1 to 11, as a fraction of the limit."""
        begins, ends = START_MS + FROM_MINUTE * MINUTE_MS, START_MS + MINUTES * MINUTE_MS
        used = sum(call.used for call in self.calls if begins <= call.end_ms < ends)
        return used / (self.load.tokens_per_minute * (MINUTES - FROM_MINUTE))

    @property
    def beyond_reserved(self) -> float:
        """Tokens used beyond their reservations, as a fraction of those used."""
        return sum(call.beyond for call in self.calls) / sum(call.used for call in self.calls)

    @property
    def refusals_per_call(self) -> float:
        return self.refusals / len(self.calls)

    @property
    def least_refusals(self) -> float:
        """The least number of refusals per call if no wait is longer than a minute."""
        busy = sum(call.end_ms - call.start_ms for call in self.calls) / (MINUTES * MINUTE_MS)
        return max(0.0, self.load.clients - busy) / (len(self.calls) / MINUTES)

    def beyond(self, *, with_given_back: bool = False) -> int:
        """Tokens beyond limit × minutes + limit × burst + what the calls in flight at the end used beyond their
        reservations, in the worst interval; negative if there is none. A call's tokens count at its admission.

        `with_given_back` also permits what the calls in flight at the beginning of an interval released: then this is
        provably at most 0 for any load.
        """
        calls = sorted(self.calls, key=lambda call: call.start_ms)
        sums = [0, *accumulate(call.used for call in calls)]
        at = [call.start_ms for call in calls]
        owing = _under_way(calls, [call.beyond for call in calls])
        giving = _under_way(calls, [max(0, call.reserved - call.used) for call in calls])
        limit, worst = self.load.tokens_per_minute, -(10**9)
        for minutes in STRETCHES:
            first = 0
            for last, ends in enumerate(at):
                while at[first] <= ends - minutes * MINUTE_MS:
                    first += 1
                allowed = limit * minutes + int(limit * self.load.burst) + owing[last]
                if with_given_back:
                    allowed += giving[first] - max(0, calls[first].reserved - calls[first].used)
                worst = max(worst, sums[last + 1] - sums[first] - allowed)
        return worst


def _under_way(calls: list[Admitted], amounts: list[int]) -> list[int]:
    """For the start of each call: the sum over the calls in flight, itself included."""
    ended = sorted(zip((call.end_ms for call in calls), amounts, strict=True))
    sums, held, over = [], 0, 0
    for call, amount in zip(calls, amounts, strict=True):
        held += amount
        while ended[over][0] < call.start_ms:
            held -= ended[over][1]
            over += 1
        sums.append(held)
    return sums


class ExactEstimates(Turns):
    """Everyone gets the same wait: until the call would fit if nobody else came."""

    def wait_s(self, limit_id: int, now_s: float, least_s: float, alone_s: float) -> float:
        return least_s


class Simulation:
    """One account with one limit, its clients and gateways; the clock jumps from event to event."""

    def __init__(self, scripts: Scripts, load: Load, seed: int) -> None:
        self.load = load
        self.run = Run(load)
        self.now_ms = START_MS
        self._chance = random.Random(seed)
        self._counters = Counters(scripts)
        self._background = Background()
        self._account = next(_accounts)
        self._events: list[tuple[int, int, Callable[[], Awaitable[None]]]] = []
        self._numbers = count()
        limit = Limit(
            id=1, level="key", scope="k1", kind="tpm", window=None, amount=load.tokens_per_minute, burst=load.burst
        )
        self._grant = Grant(
            model_id=1,
            model_name="small",
            owned_by="test",
            max_output_tokens=None,
            subscription_id=1,
            subscription_expires_at=None,
            price=None,
            limits=(limit,),
            scopes="k1 k1m1 s1 u1",
        )
        self._record = KeyRecord(
            key_id=1,
            account_id=self._account,
            user_id=1,
            time_zone="UTC",
            epoch=1,
            is_account_active=True,
            is_user_active=True,
            is_revoked=False,
            expires_at=None,
            allowed_ips=(),
            grants={"small": self._grant},
        )
        self._ids = RequestIds(wall_clock=lambda: self.now_ms / 1000)
        self._gateways = [self._new_gateway() for _ in range(load.gateways)]

    def _new_gateway(self) -> Admission:
        async def seed(record: KeyRecord, plan: object, missing: Sequence[int]) -> None:
            raise AssertionError("a bucket needs no seed")

        turns = ExactEstimates if "turns" in self.load.without else Turns
        return Admission(
            self._counters,
            self._ids,
            seed=seed,
            sweep_due=lambda account_id: None,
            free=lambda account_id, request_id: None,
            background=self._background,
            clock=lambda: self.now_ms / 1000,
            turns=turns(spread=self._chance.uniform),
        )

    async def simulate(self) -> Run:
        """Runs until the last minute is over and its calls have ended."""
        for _ in range(self.load.clients):
            self._at(self.now_ms + self._chance.randrange(5_000), self._new_call)
        while self._events:
            self.now_ms, _, happen = heapq.heappop(self._events)
            self._counters.clock_ms = self.now_ms
            await happen()
        await self._background.stop()
        return self.run

    def _at(self, at_ms: int, happen: Callable[[], Awaitable[None]]) -> None:
        heapq.heappush(self._events, (at_ms, next(self._numbers), happen))

    def _lognormal(self, average: float) -> int:
        return max(1, round(self._chance.lognormvariate(math.log(average) - 0.5, 1.0)))

    async def _new_call(self) -> None:
        prompt, completion = self._lognormal(self.load.prompt_mean), self._lognormal(self.load.completion_mean)
        if self.load.maximum is not None:
            completion = min(completion, self.load.maximum)
        call = Call(
            model="small",
            body=b"",
            is_streamed=True,
            wants_usage=True,
            prompt_tokens=prompt * self._chance.uniform(*GUESS),
            prompt_bytes=4 * prompt,
            maximum=self.load.maximum,
            choices=1,
        )
        await self._ask(call, Usage(prompt_tokens=prompt, completion_tokens=completion), self.now_ms)

    async def _ask(self, call: Call, usage: Usage, since_ms: int) -> None:
        if self.now_ms >= START_MS + MINUTES * MINUTE_MS:
            return
        gateway = self._chance.choice(self._gateways)
        try:
            reservation = await gateway.admit(self._ids.new(), self._record, self._grant, call, "chat")
        except LimitExceeded as refused:
            self._come_back(refused, call, usage, since_ms)
            return
        self.run.waits_s.append((self.now_ms - since_ms) / 1000)
        length_s = min(60.0, max(1.0, usage.completion_tokens / self.load.tokens_per_s))
        hangs_up = self._chance.random() < DISCONNECTS
        if hangs_up:
            share = self._chance.random()
            length_s *= share
            usage = Usage(prompt_tokens=usage.prompt_tokens, completion_tokens=int(usage.completion_tokens * share))
        reserved = reservation.reserved_tokens
        end_ms = self.now_ms + round(length_s * 1000)
        self.run.calls.append(Admitted(self.now_ms, end_ms, reserved, usage.total_tokens))

        async def end() -> None:
            await self._settle(gateway, reservation, usage, learns=not hangs_up)

        self._at(end_ms, end)

    def _come_back(self, refused: LimitExceeded, call: Call, usage: Usage, since_ms: int) -> None:
        reported = refused.error.headers.get("retry-after-ms")
        if reported is None:
            self.run.never_fit += 1
            self._at(self.now_ms + 1000, self._new_call)
            return
        self.run.refusals += 1

        async def again() -> None:
            await self._ask(call, usage, since_ms)

        self._at(self.now_ms + int(reported), again)

    async def _settle(self, gateway: Admission, reservation: Reservation, usage: Usage, *, learns: bool) -> None:
        tokens = usage.total_tokens
        if "debt" in self.load.without:
            tokens = min(tokens, reservation.reserved_tokens)
        await self._counters.settle(
            Settlement(
                account_id=self._account,
                request_id=reservation.request_id,
                requests_rate=1,
                requests_window=1,
                tokens=tokens,
                nano_usd=0,
            )
        )
        if learns and "learning" not in self.load.without:
            gateway.estimator.learn(reservation, usage)
        await self._new_call()


async def simulate(scripts: Scripts, load: Load, seeds: Sequence[int]) -> list[Run]:
    """Runs all random seeds concurrently, each with its own account and clock."""
    return await asyncio.gather(*(Simulation(scripts, load, seed).simulate() for seed in seeds))


@asynccontextmanager
async def scripts_of(url: str) -> AsyncIterator[Scripts]:
    """A gateway's connection to the server."""
    scripts = connect(url, SCRIPTS, timeout_s=30)
    await scripts.open()
    yield scripts
    await scripts.close()


# The bounds hold for these; the smallest limit is five times the expected usage of a call.
FIVE_TIMES: Final = Load(tokens_per_minute=6_000)
ORDINARY: Final = Load(tokens_per_minute=20_000)
FOUR_GATEWAYS: Final = Load(tokens_per_minute=20_000, gateways=4)
LARGE: Final = Load(tokens_per_minute=60_000)
BURST: Final = Load(tokens_per_minute=20_000, burst=Decimal(3))
# Slow responses of few tokens: without learning, each would reserve a thousand tokens for a minute.
SLOW: Final = Load(tokens_per_minute=6_000, completion_mean=100, tokens_per_s=2)
TABLE: Final = {
    "6,000": FIVE_TIMES,
    "20,000": ORDINARY,
    "20,000, 4 gateways": FOUR_GATEWAYS,
    "20,000, burst 3": BURST,
    "60,000": LARGE,
    "6,000, short slow answers": SLOW,
    "the same without learning": replace(SLOW, without=("learning",)),
    "20,000, all given the exact wait": replace(ORDINARY, without=("turns",)),
}


COLUMNS: Final = (
    "TPM limit",
    "used in minutes 1–11: mean (worst seed)",
    "beyond the promise, worst",
    "used beyond the reservation",
    "refusals per call (least possible)",
    "wait, mean",
)


def _row(name: str, runs: list[Run]) -> str:
    used = [run.utilisation for run in runs]
    cells = (
        name,
        f"{mean(used):.1%} ({min(used):.1%})",
        f"{max(run.beyond() for run in runs):,}",
        f"{mean(run.beyond_reserved for run in runs):.1%}",
        f"{mean(run.refusals_per_call for run in runs):.1f} ({mean(run.least_refusals for run in runs):.1f})",
        f"{mean(mean(run.waits_s) for run in runs):.0f} s",
    )
    return "| " + " | ".join(cells) + " |\n"


async def _write_table(url: str, seeds: int) -> None:
    sys.stdout.write("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|\n")
    async with scripts_of(url) as scripts:
        for name, load in TABLE.items():
            sys.stdout.write(_row(name, await simulate(scripts, load, range(seeds))))
            sys.stdout.flush()


def main() -> None:
    """Prints the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seeds", type=int, default=10)
    seeds = options.parse_args().seeds
    with tempfile.TemporaryDirectory() as folder, Valkey(Path(folder)) as valkey:
        asyncio.run(_write_table(valkey.url(), seeds))


if __name__ == "__main__":
    main()
