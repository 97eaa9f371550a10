"""The promises of docs/limits.md, counted on real servers: Valkey, a cluster, and the server that
LITEMAAS_TEST_REDIS_SERVER names, if any."""

import asyncio
import random
from collections import Counter as Tally
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from itertools import product
from pathlib import Path
from uuid import UUID

import pytest
from bench import NEVER, NOON_MS, SERVERS, Bench, RedisSetup, connected, limit_of, started_server
from model import CLAIM_MS, KEEP_MS, LEASE_MS, UNITS, Bucket, Slots, Window
from redis.exceptions import ResponseError

from gateway.domain.limits import (
    BUCKET_KINDS,
    KINDS,
    LEVELS,
    MAX_AMOUNT,
    MAX_BUCKET_CAPACITY,
    WINDOWED_KINDS,
    Kind,
    Level,
    ReserveMode,
)
from gateway.domain.refusals import decisive, pair, refusal
from gateway.domain.windows import window_ms
from gateway.storage.counters.scripts import SeedEntry, Settlement
from gateway.storage.redis.link import RedisUnavailable

TEN = (4, 6, 30)


@pytest.fixture(scope="session", params=SERVERS)
async def redis_setup(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RedisSetup]:
    folder: Path = tmp_path_factory.mktemp("limits")
    with started_server(request.param, folder) as (servers, url):
        async with connected(servers, url) as redis_setup:
            yield redis_setup


@pytest.fixture
def bench(redis_setup: RedisSetup) -> Bench:
    return redis_setup.new_account()


def asks(kind: Kind, each: int = 10) -> dict[str, tuple[int, int, int]]:
    """The estimate of a call that takes `each` from a limit of this kind, or one if the kind counts calls."""
    return (
        {"tokens": (each, 0, each)}
        if kind in ("tpm", "tokens")
        else {"cost": (each, 0, each)}
        if kind == "cost"
        else {}
    )


def room_for(calls: int, kind: Kind, each: int = 10) -> int:
    return calls * each if kind in ("tpm", "tokens", "cost") else calls


# --- Exactly the limit ---


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_limit_of_five_admits_five_of_a_hundred_concurrent_calls(
    bench: Bench, kind: Kind, level: Level
) -> None:
    limit = limit_of(kind, room_for(5, kind), level)
    calls = [bench.reserve(limit, gateway=n % 4, **asks(kind)) for n in range(100)]

    replies = await asyncio.gather(*calls)

    assert Tally(reply.status for reply in replies) == {"taken": 5, "refused": 95}


async def test_a_limit_of_five_admits_five_of_a_hundred_with_the_clock_of_redis(bench: Bench) -> None:
    limits = [limit_of("rpm", 5), limit_of("concurrency", 50, "team"), limit_of("tokens", 500, "user")]
    start = await bench.counters.now_ms()
    bench.now = start
    calls = []
    for n in range(100):
        request_id = bench.new_id()
        bench.gateway(n % 4)
        calls.append(bench.reserve(*limits, gateway=n % 4, request_id=request_id, tokens=(1, 0, 0)))
    for gateway in bench.gateways:
        gateway.clock_ms = None
    # A bucket of five refills one every 12 s.
    replies = await asyncio.gather(*calls)

    assert Tally(reply.status for reply in replies) == {"taken": 5, "refused": 95}
    assert abs(replies[0].now_ms - start) < 5_000


async def test_limits_of_all_levels_and_kinds_together_admit_what_the_tightest_permits(bench: Bench) -> None:
    limits = [limit_of(kind, room_for(20 + n, kind), level) for n, (kind, level) in enumerate(product(KINDS, LEVELS))]
    tightest = limit_of("cost", room_for(7, "cost"), "subscription", window="day")
    calls = [bench.reserve(*limits, tightest, gateway=n % 4, tokens=(10, 0, 10), cost=(10, 0, 10)) for n in range(100)]

    replies = await asyncio.gather(*calls)

    assert Tally(reply.status for reply in replies) == {"taken": 7, "refused": 93}
    assert await bench.left(tightest) == 0


async def test_one_request_id_sent_a_hundred_times_is_taken_once(bench: Bench) -> None:
    limits = [limit_of(kind, room_for(50, kind)) for kind in KINDS]
    await bench.seed(*(limit for limit in limits if limit.kind not in ("rpm", "tpm")))
    request_id = bench.new_id()
    calls = [
        bench.reserve_once(*limits, gateway=n % 4, request_id=request_id, tokens=TEN, cost=TEN) for n in range(100)
    ]

    replies = await asyncio.gather(*calls)

    assert Tally(reply.status for reply in replies) == {"taken": 1, "repeated": 99}
    assert [await bench.left(limit) for limit in limits] == [49, 490, 49, 49, 490, 490]


async def test_a_look_takes_nothing(bench: Bench) -> None:
    limits = [limit_of(kind, room_for(5, kind)) for kind in KINDS]
    await bench.take(*limits, tokens=TEN, cost=TEN)
    before = await bench.snapshot()

    reply = await bench.reserve_once(*limits, mode="look", tokens=TEN, cost=TEN)

    assert reply.status == "taken"
    assert await bench.snapshot() == before


# --- A refusal, a wrong type and a full Redis change nothing ---


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_refusal_leaves_all_fields_and_the_expiry_unchanged(bench: Bench, kind: Kind, level: Level) -> None:
    others = [limit_of(k, 1000, lev, burst=Decimal(2)) for k in ("rpm", "tpm") for lev in LEVELS]
    others += [limit_of(k, 1000, lev) for k in ("concurrency", *WINDOWED_KINDS) for lev in LEVELS]
    spent = limit_of(kind, room_for(1, kind), level, set_by="owner")
    await bench.take(*others, spent, **{"tokens": (5, 5, 10), "cost": (5, 5, 10)} | asks(kind))
    bench.now += 1_500
    before = await bench.snapshot()

    reply = await bench.reserve(*others, spent, tokens=(10, 0, 10), cost=(10, 0, 10))

    assert reply.status == "refused"
    assert await bench.snapshot() == before


@pytest.mark.parametrize("status", ["repeated", "seed", "late", "clock_skew"])
async def test_a_reply_other_than_taken_writes_nothing(bench: Bench, status: str) -> None:
    limit = limit_of("tokens", 1000, window="day")
    taken = await bench.take(limit, tokens=TEN)
    bench.now += 24 * 3600 * 1000
    await bench.take(limit, tokens=TEN)
    before = await bench.snapshot()
    request_id = {"repeated": taken, "late": bench.new_id(bench.now - 24 * 3600 * 1000)}.get(status, bench.new_id())
    if status == "clock_skew":
        request_id = bench.new_id(bench.now + 5_001)
    if status == "late":
        bench.now -= 24 * 3600 * 1000

    reply = await bench.reserve_once(limit, request_id=request_id, tokens=TEN, epoch=2 if status == "seed" else 1)

    assert reply.status == status
    assert await bench.snapshot() == before


async def all_scripts_fail(bench: Bench, error: type[Exception]) -> None:
    """Each script fails, on an account whose first request id has an expired lease."""
    first = bench.new_id(NOON_MS)
    limits = [limit_of(kind, 1000) for kind in KINDS]
    entries = [SeedEntry("T|k1|month", *window_ms("month", "UTC", bench.now), 5, 2), SeedEntry("c|k1", 0, 0, 0, 2)]
    counters = bench.counters
    for work in (
        lambda: bench.reserve_once(*limits, tokens=TEN, cost=TEN),
        lambda: bench.reserve_once(*limits, tokens=TEN, cost=TEN, mode="force"),
        lambda: bench.settle(first, tokens=11, cost=12),
        lambda: counters.charge(bench.account, first, tokens=1100, nano_usd=1200),
        lambda: counters.renew(bench.account, [first]),
        lambda: counters.sweep(bench.account),
        lambda: counters.reap(bench.account, first),
        lambda: counters.seed(bench.account, entries),
    ):
        with pytest.raises(error):
            await work()


async def test_a_key_of_another_type_fails_every_script_before_it_writes(bench: Bench) -> None:
    await bench.command("SET", "something else", "PX", 1_000_000)
    expires = await bench.command("PEXPIRETIME")

    await all_scripts_fail(bench, ResponseError)

    assert await bench.command("GET") == b"something else"
    assert await bench.command("PEXPIRETIME") == expires


@pytest.mark.parametrize("garbage", [b"", b"garbage", b"9" * 33], ids=["nothing", "short", "long"])
@pytest.mark.parametrize("name", ["r|k1|admin", "t|k1|admin", "c|k1", "R|k1|month", "T|k1|month", "C|k1|month"])
async def test_a_corrupt_counter_fails_scripts_before_they_write(bench: Bench, name: str, garbage: bytes) -> None:
    limits = [limit_of(kind, 1000) for kind in KINDS]
    first = await bench.take(*limits, tokens=TEN, cost=TEN)
    await bench.command("HSET", name, garbage)
    before = await bench.snapshot()

    with pytest.raises(ResponseError):
        await bench.reserve_once(*limits, tokens=TEN, cost=TEN)
    assert await bench.snapshot() == before
    # A script that reads only the lease may skip that counter, but changes nothing partially.
    for work in (
        lambda: bench.counters.charge(bench.account, first, tokens=1100, nano_usd=1200),
        lambda: bench.settle(first, tokens=11, cost=12),
    ):
        before = await bench.snapshot()
        try:
            await work()
        except ResponseError:
            assert await bench.snapshot() == before
        else:
            assert (await bench.command("HGET", name)) == garbage


@pytest.mark.parametrize("garbage", [b"garbage", b"9" * 200], ids=["short", "long"])
async def test_a_corrupt_lease_fails_the_scripts_that_read_it(bench: Bench, garbage: bytes) -> None:
    limits = [limit_of(kind, 1000) for kind in KINDS]
    first = await bench.take(*limits, tokens=TEN, cost=TEN)
    await bench.command("HSET", f"l|{first.hex}", garbage)
    before = await bench.snapshot()
    bench.now += LEASE_MS
    counters, entries = bench.counters, [SeedEntry("c|k1", 0, 0, 0, 2)]

    for work in (
        lambda: bench.settle(first, tokens=11, cost=12),
        lambda: counters.charge(bench.account, first, tokens=1100, nano_usd=1200),
        lambda: counters.renew(bench.account, [first]),
        lambda: counters.sweep(bench.account),
        lambda: counters.reap(bench.account, first),
        lambda: counters.seed(bench.account, entries),
    ):
        with pytest.raises(ResponseError):
            await work()

    assert await bench.snapshot() == before


@contextmanager
def full(redis_setup: RedisSetup) -> Iterator[None]:
    """Redis has no memory left for writes that may grow."""
    clients = redis_setup.clients()
    for client in clients:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "1")
    try:
        yield
    finally:
        for client in clients:
            client.config_set("maxmemory", "0")
            client.close()


async def test_a_full_redis_counts_as_unavailable_and_nothing_is_written(bench: Bench) -> None:
    limits = [limit_of(kind, 1000) for kind in KINDS]
    await bench.take(*limits, tokens=TEN, cost=TEN)
    bench.now += LEASE_MS
    counters, entries = bench.counters, [SeedEntry("c|k1", 0, 0, 0, 2)]
    first = bench.new_id(NOON_MS)
    before = await bench.snapshot()
    with full(bench.redis_setup):
        for work in (
            lambda: bench.reserve_once(*limits, tokens=TEN, cost=TEN),
            lambda: bench.reserve_once(*limits, tokens=TEN, cost=TEN, mode="force"),
            lambda: counters.sweep(bench.account),
            lambda: counters.seed(bench.account, entries),
        ):
            with pytest.raises(RedisUnavailable):
                await work()
        assert (await bench.reserve_once(*limits, mode="look")).status == "taken"
        assert not await bench.settle(first)
        assert await bench.snapshot() == before

    assert (await bench.reserve_once(*limits, tokens=TEN, cost=TEN)).status == "taken"


async def test_a_full_redis_still_settles(bench: Bench) -> None:
    limits = [limit_of(kind, 1000) for kind in KINDS]
    request_id = await bench.take(*limits, tokens=TEN, cost=TEN)
    with full(bench.redis_setup):
        assert await bench.settle(request_id, tokens=12, cost=13)

    assert [await bench.left(limit) for limit in limits] == [999, 988, 1000, 999, 988, 987]


# --- Settle ---


@pytest.mark.parametrize("kind", KINDS)
async def test_settling_twice_counts_once(bench: Bench, kind: Kind) -> None:
    limit = limit_of(kind, 100)
    request_id = await bench.take(limit, tokens=TEN, cost=TEN)

    settled = [await bench.settle(request_id, tokens=25, cost=25) for _ in range(3)]

    assert settled == [True, False, False]
    expected = {"rpm": 99, "tpm": 75, "concurrency": 100, "requests": 99, "tokens": 75, "cost": 75}
    assert await bench.left(limit) == expected[kind]


@pytest.mark.parametrize("kind", KINDS)
async def test_settling_with_zero_refunds_everything(bench: Bench, kind: Kind) -> None:
    limit = limit_of(kind, 100)
    await bench.take(limit, tokens=TEN, cost=TEN)
    before = await bench.counter(limit)
    request_id = await bench.take(limit, tokens=TEN, cost=TEN)

    await bench.settle(request_id, rate=0, window=0)

    assert await bench.counter(limit) == before


async def test_an_unknown_request_id_settles_nothing(bench: Bench) -> None:
    await bench.take(*(limit_of(kind, 100) for kind in KINDS), tokens=TEN, cost=TEN)
    before = await bench.snapshot()

    assert not await bench.settle(bench.new_id(), tokens=5, cost=5)
    assert await bench.snapshot() == before


async def test_a_debt_refuses_calls_until_the_refill_has_paid_it(bench: Bench) -> None:
    limit = limit_of("tpm", 60)
    request_id = await bench.take(limit, tokens=(10, 0, 0))
    await bench.settle(request_id, tokens=90)

    assert await bench.left(limit) == -30
    assert (await bench.reserve(limit, tokens=(1, 0, 0))).status == "refused"
    # One a second: 30 to pay the debt, and one more.
    bench.now += 30_999
    assert (await bench.reserve(limit, tokens=(1, 0, 0))).status == "refused"
    bench.now += 1
    assert (await bench.reserve(limit, tokens=(1, 0, 0))).status == "taken"


async def test_a_call_without_tokens_is_not_refused_by_a_token_debt(bench: Bench) -> None:
    limit = limit_of("tpm", 60)
    await bench.settle(await bench.take(limit, tokens=(10, 0, 0)), tokens=90)

    assert (await bench.reserve(limit, tokens=NEVER)).status == "taken"


async def test_a_refund_never_lifts_a_bucket_above_full(bench: Bench) -> None:
    limit = limit_of("tpm", 60, burst=Decimal("1.5"))
    request_id = await bench.take(limit, tokens=(50, 0, 0))
    bench.now += 45_000
    await bench.settle(request_id, tokens=1)

    assert await bench.left(limit) == 90
    assert await bench.counter(limit) == Bucket(0, bench.now, 60)


async def test_a_bucket_holds_its_burst_and_refills_at_its_rate(bench: Bench) -> None:
    limit = limit_of("rpm", 60, burst=Decimal(2))
    first = [(await bench.reserve(limit)).status for _ in range(130)]
    bench.now += 10_000
    later = [(await bench.reserve(limit)).status for _ in range(20)]

    assert (first.count("taken"), later.count("taken")) == (120, 10)


async def test_a_clock_that_goes_back_refills_nothing_and_never_twice(bench: Bench) -> None:
    limit = limit_of("tpm", 60)
    await bench.take(limit, tokens=(40, 0, 0))
    bench.now -= 5_000

    assert await bench.left(limit) == 20
    await bench.take(limit, tokens=(10, 0, 0))
    bench.now += 5_000
    assert await bench.left(limit) == 10


async def test_a_raised_limit_holds_at_once_and_a_debt_keeps_its_amount(bench: Bench) -> None:
    limit = limit_of("tpm", 60)
    await bench.settle(await bench.take(limit, tokens=(10, 0, 0)), tokens=90)

    assert await bench.left(replace(limit, amount=600)) == 510


async def test_a_call_that_began_in_the_previous_window_does_not_change_the_next_one(bench: Bench) -> None:
    limits = [limit_of(kind, 1000, window="day") for kind in WINDOWED_KINDS]
    bench.now = window_ms("day", "UTC", NOON_MS)[1] - 1_000
    over_midnight = await bench.take(*limits, tokens=TEN, cost=TEN)
    bench.now += 2_000
    await bench.take(*limits, tokens=TEN, cost=TEN)
    before = [await bench.counter(limit) for limit in limits]

    assert await bench.settle(over_midnight, tokens=400, cost=500)
    assert [await bench.counter(limit) for limit in limits] == before


async def test_the_window_after_a_tracked_one_starts_at_zero_without_a_seed(bench: Bench) -> None:
    limit = limit_of("tokens", 100, window="day")
    await bench.settle(await bench.take(limit, tokens=TEN), tokens=100)
    bench.sums[limit.field] = 100
    bench.now += 24 * 3600 * 1000

    assert (await bench.reserve_once(limit, tokens=TEN)).status == "taken"
    assert await bench.left(limit) == 90


async def test_a_call_with_an_outdated_window_is_asked_to_retry(bench: Bench) -> None:
    limit = limit_of("tokens", 100, window="day")
    _, midnight = window_ms("day", "UTC", NOON_MS)
    bench.now = midnight + 1_000
    await bench.take(limit, tokens=TEN)

    assert (await bench.reserve_once(limit, request_id=bench.new_id(midnight - 1), tokens=TEN)).status == "late"


# --- Reap ---


async def test_reaping_frees_the_slot_and_charges_the_estimate(bench: Bench) -> None:
    limits = [limit_of(kind, 100) for kind in KINDS]
    await bench.take(*limits, tokens=TEN, cost=TEN)
    bench.now += LEASE_MS

    assert await bench.sweep_and_reap() == 1
    # The buckets have refilled in between.
    assert [await bench.left(limit) for limit in limits] == [100, 100, 100, 99, 90, 90]
    assert await bench.sweep_and_reap() == 0


async def test_s13_the_lease_of_a_call_whose_gateway_is_gone_is_closed_before_it_expires(bench: Bench) -> None:
    limits = [limit_of(kind, 100) for kind in KINDS]
    request_id = await bench.take(*limits, tokens=TEN, cost=TEN)

    assert not await bench.counters.reap(bench.account, request_id)
    assert await bench.counters.reap(bench.account, request_id, is_orphan=True)
    assert not await bench.counters.reap(bench.account, request_id, is_orphan=True)
    assert [await bench.left(limit) for limit in limits] == [99, 90, 100, 99, 90, 90]
    # A real row may still come.
    await bench.settle(request_id, tokens=1, cost=1)
    assert [await bench.left(limit) for limit in limits] == [99, 99, 100, 99, 99, 99]


async def test_a_reaped_call_is_charged_what_its_ledger_row_has(bench: Bench) -> None:
    """Whatever was reserved: what was left, or the maximum."""
    cut, upper_bound = limit_of("tokens", 30), limit_of("cost", 1000, "user", reserve="maximum")
    rate = limit_of("tpm", 60_000, reserve="maximum")
    await bench.take(cut, upper_bound, rate, tokens=(10, 500, 900), cost=(10, 70, 900))
    assert [await bench.left(limit) for limit in (cut, upper_bound, rate)] == [0, 100, 59_100]
    (request_id,) = (await bench.state())[0].leases
    bench.now += LEASE_MS
    await bench.take(rate, tokens=(0, 0, 50_000))
    (lease,) = (await bench.counters.sweep(bench.account))[1]
    await bench.counters.reap(bench.account, request_id)

    used = [await bench.counter(limit) for limit in (cut, upper_bound)]
    assert [c.used for c in used if isinstance(c, Window)] == [510, 80]
    assert (lease.prompt_tokens + lease.completion_tokens, lease.nano_usd) == (510, 80)
    assert await bench.left(rate) == 10_390
    await bench.settle(request_id, tokens=20, cost=20)
    assert [await bench.left(limit) for limit in (cut, upper_bound, rate)] == [10, 980, 10_880]


async def test_a_reservation_that_arrives_after_its_release_takes_nothing(bench: Bench) -> None:
    limits = [limit_of("concurrency", 1), limit_of("tokens", 100), limit_of("rpm", 5)]
    await bench.seed(*limits[:2])
    late = bench.new_id()
    nothing = Settlement.of_nothing(bench.account, late)
    before = (await bench.state())[0].counters
    # Sent twice: the first reply may be lost as well.
    for _ in range(2):
        assert not await bench.counters.settle(nothing)

    assert (await bench.reserve_once(*limits, request_id=late, tokens=TEN)).status == "repeated"

    account, due = await bench.state()
    assert (account.counters, due) == (before, None)
    assert not account.leases[late].is_open
    assert await bench.command("PTTL") > 0
    bench.now += 8 * 24 * 3600 * 1000
    await bench.counters.sweep(bench.account)
    assert not (await bench.state())[0].leases


async def test_a_hash_with_only_a_mark_expires(bench: Bench) -> None:
    await bench.counters.settle(Settlement.of_nothing(bench.account, bench.new_id()))

    assert await bench.command("PTTL") > 0


async def test_a_reservation_can_be_released_after_it_was_reaped(bench: Bench) -> None:
    limits = [limit_of("concurrency", 2), limit_of("tokens", 100)]
    ids = [await bench.take(*limits, tokens=TEN) for _ in range(2)]
    assert await bench.counters.settle(Settlement.of_nothing(bench.account, ids[0]))
    bench.now += LEASE_MS
    await bench.sweep_and_reap()
    assert await bench.counters.settle(Settlement.of_nothing(bench.account, ids[1]))

    assert [await bench.left(limit) for limit in limits] == [2, 100]
    assert not (await bench.state())[0].leases


async def test_actual_usage_after_a_reap_replaces_the_estimate_once(bench: Bench) -> None:
    limits = [limit_of(kind, 100) for kind in KINDS]
    request_id = await bench.take(*limits, tokens=TEN, cost=TEN)
    bench.now += LEASE_MS
    await bench.sweep_and_reap()

    settled = [await bench.settle(request_id, tokens=35, cost=45) for _ in range(2)]

    assert settled == [True, False]
    assert [await bench.left(limit) for limit in limits] == [100, 75, 100, 99, 65, 55]


async def test_actual_usage_after_a_reap_frees_no_second_slot(bench: Bench) -> None:
    limit = limit_of("concurrency", 2)
    reaped = await bench.take(limit)
    bench.now += LEASE_MS
    await bench.take(limit)
    await bench.sweep_and_reap()
    await bench.settle(reaped)

    assert await bench.left(limit) == 1


async def test_actual_usage_is_accepted_for_seven_days_after_a_reap(bench: Bench) -> None:
    limit = limit_of("tokens", 100, window="year")
    early = await bench.take(limit, tokens=TEN)
    late = await bench.take(limit, tokens=TEN)
    bench.now += LEASE_MS
    await bench.sweep_and_reap()
    bench.now += KEEP_MS - 1
    await bench.counters.sweep(bench.account)
    in_time = await bench.settle(early, tokens=1)
    bench.now += 1
    await bench.counters.sweep(bench.account)

    assert (in_time, await bench.settle(late, tokens=1)) == (True, False)
    assert await bench.left(limit) == 89


async def test_an_expired_lease_keeps_its_slot_until_it_is_reaped(bench: Bench) -> None:
    limit = limit_of("concurrency", 1)
    await bench.take(limit)
    bench.now += 10 * LEASE_MS

    refused = await bench.reserve(limit)

    assert (refused.status, refused.is_sweep_due) == ("refused", True)
    await bench.sweep_and_reap()
    assert (await bench.reserve(limit)).status == "taken"


async def test_a_sweep_is_due_when_the_first_lease_has_expired(bench: Bench) -> None:
    limit = limit_of("concurrency", 10)
    due = []
    for step in (0, 20_000, 20_000, 19_999, 1):
        bench.now += step
        due.append((await bench.reserve(limit)).is_sweep_due)
    await bench.sweep_and_reap()
    for step in (0, 19_999, 1):
        bench.now += step
        due.append((await bench.reserve(limit)).is_sweep_due)

    assert due == [False, False, False, False, True, False, False, True]


async def test_a_sweep_is_due_in_time_for_a_lease_taken_after_the_clock_went_back(bench: Bench) -> None:
    limit = limit_of("concurrency", 10)
    await bench.take(limit)
    bench.now -= 30_000
    await bench.take(limit)

    bench.now += LEASE_MS - 1
    assert not (await bench.reserve(limit, mode="look")).is_sweep_due
    bench.now += 1
    assert (await bench.reserve(limit, mode="look")).is_sweep_due


async def test_a_renewal_revives_an_expired_and_claimed_lease(bench: Bench) -> None:
    request_id = await bench.take(limit_of("concurrency", 1))
    bench.now += LEASE_MS
    await bench.counters.sweep(bench.account)

    assert await bench.counters.renew(bench.account, [request_id]) == set()
    assert not await bench.counters.reap(bench.account, request_id)
    bench.now += LEASE_MS
    _, claimed = await bench.counters.sweep(bench.account)
    assert [lease.request_id for lease in claimed] == [request_id]


async def test_a_renewal_ends_a_claim_even_if_the_clock_has_gone_back(bench: Bench) -> None:
    request_id = await bench.take(limit_of("concurrency", 1))
    bench.now += LEASE_MS
    await bench.counters.sweep(bench.account)
    bench.now -= 10_000
    await bench.counters.renew(bench.account, [request_id])
    _, due = await bench.state()
    bench.now += LEASE_MS

    assert due == bench.now
    _, claimed = await bench.counters.sweep(bench.account)
    assert [lease.request_id for lease in claimed] == [request_id]


async def test_a_renewal_does_not_revive_reaped_leases_and_reports_unknown_ones(bench: Bench) -> None:
    limit = limit_of("concurrency", 1)
    reaped, unknown = await bench.take(limit), bench.new_id()
    bench.now += LEASE_MS
    await bench.sweep_and_reap()

    assert await bench.counters.renew(bench.account, [reaped, unknown]) == {unknown}
    assert await bench.left(limit) == 1
    assert await bench.counters.sweep(bench.account) == (0, [])


async def test_a_renewal_under_a_clock_that_went_back_does_not_shorten_the_lease(bench: Bench) -> None:
    request_id = await bench.take(limit_of("concurrency", 1))
    bench.now -= 100_000
    await bench.counters.renew(bench.account, [request_id])
    account, due = await bench.state()

    assert account.leases[request_id].valid_until == NOON_MS + LEASE_MS == due


async def test_an_expired_lease_is_claimed_by_one_reaper_a_minute(bench: Bench) -> None:
    limit = limit_of("concurrency", 2000)
    await bench.take(limit)
    for _ in range(19):
        await asyncio.gather(*(bench.take(limit) for _ in range(40)))
    bench.now += LEASE_MS

    sweeps = await asyncio.gather(*(bench.gateway(n % 4).sweep(bench.account) for n in range(6)))
    bench.now += CLAIM_MS
    again = await bench.counters.sweep(bench.account)

    claimed = [lease.request_id for _, leases in sweeps for lease in leases]
    assert len(claimed) == len(set(claimed)) == 761
    # A sweep claims a bounded number of leases.
    assert sorted(len(leases) for _, leases in sweeps) == [0, 0, 0, 0, 261, 500]
    assert {open_leases for open_leases, _ in sweeps} == {761}
    assert len(again[1]) == 500


@pytest.mark.parametrize("seed", range(20))
async def test_a_race_of_a_reaper_and_a_late_settlement_leaves_the_actual_usage(bench: Bench, seed: int) -> None:
    limits = [limit_of(kind, 100) for kind in ("concurrency", *WINDOWED_KINDS)]
    request_id = await bench.take(*limits, tokens=TEN, cost=TEN)
    bench.now += LEASE_MS
    works = [
        bench.gateway(1).reap(bench.account, request_id),
        bench.gateway(2).reap(bench.account, request_id),
        bench.settle(request_id, tokens=35, cost=45, gateway=3),
    ]
    random.Random(seed).shuffle(works)

    await asyncio.gather(*works)

    counters = [await bench.counter(limit) for limit in limits]
    ends = window_ms("month", "UTC", bench.now)[1]
    assert counters == [Slots(0, 1), Window(ends, 1, 0, 1), Window(ends, 35, 0, 1), Window(ends, 45, 0, 1)]


async def test_a_lease_that_two_reapers_claimed_is_reaped_once(bench: Bench) -> None:
    limits = [limit_of("concurrency", 10), limit_of("tokens", 100)]
    reaped, _ = await bench.take(*limits, tokens=TEN), await bench.take(*limits, tokens=TEN)
    bench.now += LEASE_MS + CLAIM_MS
    first = await bench.counters.reap(bench.account, reaped)
    after = await bench.snapshot()

    assert (first, await bench.gateway(1).reap(bench.account, reaped)) == (True, False)
    assert await bench.snapshot() == after


async def test_a_stream_of_twenty_minutes_keeps_its_slot_exclusively(bench: Bench) -> None:
    limit = limit_of("concurrency", 2)
    stream = await bench.take(limit)
    admitted = []
    for _ in range(60):
        bench.now += 20_000
        assert await bench.counters.renew(bench.account, [stream]) == set()
        replies = [await bench.reserve(limit) for _ in range(3)]
        admitted.append(sum(reply.status == "taken" for reply in replies))
        # The gateway of the other one dies at once.
        await bench.sweep_and_reap()

    # Another call beside the stream, until its lease has expired and was reaped.
    assert admitted == [1, 0, 0, 0] * 15
    assert await bench.settle(stream)
    bench.now += LEASE_MS
    await bench.sweep_and_reap()
    assert await bench.left(limit) == 2


@pytest.mark.parametrize("seed", range(5))
async def test_no_slot_leaks_however_calls_end(bench: Bench, seed: int) -> None:
    chance = random.Random(seed)
    slots = [limit_of("concurrency", 30, level) for level in LEVELS]
    open_calls: list[UUID] = []
    upper_bound = 0
    for _ in range(60):
        ids = [bench.new_id() for _ in range(4)]
        calls = [
            bench.reserve(*slots, limit_of("tpm", 10_000), request_id=i, tokens=TEN, gateway=n)
            for n, i in enumerate(ids)
        ]
        open_calls += [i for i, reply in zip(ids, await asyncio.gather(*calls), strict=True) if reply.status == "taken"]
        upper_bound = max(upper_bound, 30 - await bench.left(slots[0]))
        bench.now += chance.randrange(0, 4_000)
        for request_id in [i for i in open_calls if chance.random() < 0.3]:
            open_calls.remove(request_id)
            match chance.choice(("normal", "never sent", "twice", "killed")):
                case "normal":
                    await bench.settle(request_id, tokens=chance.randrange(40))
                case "never sent":
                    await bench.settle(request_id, rate=0, window=0)
                case "twice":
                    await asyncio.gather(*(bench.settle(request_id, tokens=11, gateway=n) for n in range(2)))
        if chance.random() < 0.2:
            await bench.sweep_and_reap()
    bench.now += 75_000
    await bench.sweep_and_reap()

    assert 5 < upper_bound <= 30
    assert [await bench.left(limit) for limit in slots] == [30] * 5


# --- Long sessions ---


async def test_a_charge_raises_the_lease_to_the_usage_so_far_once(bench: Bench) -> None:
    limits = [limit_of(kind, 100) for kind in KINDS]
    request_id = await bench.take(*limits, tokens=TEN, cost=TEN)

    for tokens in (25, 25, 20):
        assert await bench.counters.charge(bench.account, request_id, tokens=tokens, nano_usd=3 * tokens)

    assert [await bench.left(limit) for limit in limits] == [99, 75, 99, 99, 75, 25]
    await bench.settle(request_id, tokens=30, cost=80)
    assert [await bench.left(limit) for limit in limits] == [99, 70, 100, 99, 70, 20]


async def test_a_reaped_session_keeps_its_charges(bench: Bench) -> None:
    limit = limit_of("tokens", 100)
    request_id = await bench.take(limit, tokens=TEN)
    await bench.counters.charge(bench.account, request_id, tokens=60, nano_usd=0)
    bench.now += LEASE_MS
    _, (lease,) = await bench.counters.sweep(bench.account)
    await bench.counters.reap(bench.account, request_id)

    assert (lease.prompt_tokens, lease.completion_tokens) == (4, 56)
    assert await bench.left(limit) == 40
    assert not await bench.counters.charge(bench.account, request_id, tokens=70, nano_usd=0)


async def test_a_long_call_is_charged_to_a_bucket_that_was_full_in_between(bench: Bench) -> None:
    """A sweep drops full buckets, but not one that an open lease took from."""
    limit = limit_of("tpm", 600)
    request_id = await bench.take(limit, tokens=TEN)
    for _ in range(60):
        bench.now += 20_000
        await bench.counters.renew(bench.account, [request_id])
        await bench.counters.sweep(bench.account)
    await bench.settle(request_id, tokens=1500)

    # The refill has paid for the ten that were taken first.
    assert await bench.left(limit) == 600 - 1490


async def test_a_sweep_keeps_fields_that_still_count(bench: Bench) -> None:
    limits = [limit_of(kind, 100) for kind in KINDS] + [limit_of(kind, 100, window="day") for kind in WINDOWED_KINDS]
    await bench.take(*limits, tokens=TEN, cost=TEN)
    before = await bench.fields()

    await bench.counters.sweep(bench.account)

    assert await bench.fields() == before


async def test_a_sweep_drops_obsolete_fields(bench: Bench) -> None:
    limits = [limit_of(kind, 100) for kind in BUCKET_KINDS] + [limit_of("tokens", 100, window="day")]
    lasting = limit_of("cost", 100, window="lifetime")
    await bench.settle(await bench.take(*limits, lasting, tokens=TEN, cost=TEN), tokens=10, cost=10)
    bench.now = window_ms("day", "UTC", NOON_MS)[1] + KEEP_MS
    await bench.counters.sweep(bench.account)

    assert set(await bench.fields()) == {lasting.field.encode()}


# --- Estimates ---


async def test_a_budget_of_45_cents_admits_three_of_five_calls_of_at_most_15(bench: Bench) -> None:
    budget = limit_of("cost", 450_000_000, reserve="maximum")
    calls = [bench.reserve(budget, gateway=n % 4, cost=(1_000_000, 2_000_000, 150_000_000)) for n in range(5)]

    replies = await asyncio.gather(*calls)

    assert Tally(reply.status for reply in replies) == {"taken": 3, "refused": 2}
    assert await bench.left(budget) == 0


async def test_a_key_of_100_tpm_admits_one_call_of_130_tokens_and_its_debt_refuses_the_rest(
    bench: Bench,
) -> None:
    limit = limit_of("tpm", 100)
    prompt, completion = 30, 100
    upper_bound = bench.plan([limit]).max_completion
    assert upper_bound is not None
    ids = [bench.new_id() for _ in range(5)]
    tokens = (prompt, min(completion, upper_bound), 0)
    replies = await asyncio.gather(*(bench.reserve(limit, request_id=i, tokens=tokens) for i in ids))
    admitted = [i for i, reply in zip(ids, replies, strict=True) if reply.status == "taken"]

    assert len(admitted) == 1
    await bench.settle(admitted[0], tokens=130)
    assert await bench.left(limit) == -30
    bench.now += 65_000
    assert (await bench.reserve(limit, tokens=tokens)).status == "refused"
    bench.now += 1_000
    assert (await bench.reserve(limit, tokens=tokens)).status == "taken"


async def test_a_prompt_larger_than_the_bucket_is_refused_permanently(bench: Bench) -> None:
    limit = limit_of("tpm", 100)
    plan = bench.plan([limit])
    reply = await bench.reserve(limit, tokens=(130, 0, 0))

    error = refusal(decisive(pair(plan, reply.takings)), 0.0)

    assert (error.status, error.code) == (400, "request_exceeds_limit")


@pytest.mark.parametrize("kind", ["tokens", "cost"])
async def test_an_expected_completion_is_cut_to_the_rest_of_a_window(bench: Bench, kind: Kind) -> None:
    limit = limit_of(kind, 100)
    replies = [await bench.reserve(limit, tokens=(30, 50, 0), cost=(30, 50, 0)) for _ in range(3)]

    assert [reply.status for reply in replies] == ["taken", "refused", "refused"]
    small = await bench.reserve(limit, tokens=(5, 500, 0), cost=(5, 500, 0))
    assert (small.status, small.takings[0].want) == ("taken", 20)
    assert await bench.left(limit) == 0


async def test_an_expected_completion_is_cut_to_the_capacity_of_a_bucket(bench: Bench) -> None:
    """Otherwise a prompt of more than half the bucket would never fit."""
    limit = limit_of("tpm", 100, burst=Decimal("1.5"))

    reply = await bench.reserve(limit, tokens=(120, 75, 0))

    assert (reply.status, reply.takings[0].want) == ("taken", 150)
    assert (await bench.reserve(limit_of("tpm", 100, "user"), tokens=(101, 5, 0))).takings[0].want == 101
    assert (await bench.reserve(limit_of("tpm", 0, "team"), tokens=(0, 5, 0))).status == "refused"


async def test_a_maximum_completion_is_not_cut_to_the_capacity_of_a_bucket(bench: Bench) -> None:
    reply = await bench.reserve(limit_of("tpm", 100, reserve="maximum"), tokens=(10, 20, 130))

    assert (reply.status, reply.takings[0].want) == ("refused", 130)


@pytest.mark.parametrize("kind", ["tokens", "cost"])
async def test_a_spent_window_refuses_a_call_even_if_its_prompt_is_free(bench: Bench, kind: Kind) -> None:
    """A free prompt with a priced completion: cutting the expected completion to zero would admit it."""
    limit = limit_of(kind, 100)
    await bench.settle(await bench.take(limit, tokens=TEN, cost=TEN), tokens=100, cost=100)

    reply = await bench.reserve(limit, tokens=(0, 50, 0), cost=(0, 50, 0))

    assert (reply.status, reply.takings[0].want) == ("refused", 1)


async def test_a_spent_budget_does_not_refuse_a_free_model(bench: Bench) -> None:
    budgets = [limit_of("cost", 100), limit_of("cost", 100, "team", reserve="maximum"), limit_of("cost", 0, "user")]
    spent = await bench.take(*budgets[:2], cost=(10, 0, 10))
    await bench.settle(spent, cost=200)

    assert (await bench.reserve(*budgets, tokens=TEN, cost=NEVER)).status == "taken"
    assert (await bench.reserve(*budgets, tokens=TEN, cost=(1, 0, 1))).status == "refused"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_limit_of_zero_admits_nothing(bench: Bench, kind: Kind) -> None:
    reply = await bench.reserve(limit_of(kind, 0), tokens=TEN, cost=TEN)

    assert reply.status == "refused"


@pytest.mark.parametrize("mode", ["expected", "maximum"])
@pytest.mark.parametrize("kind", ["tokens", "cost"])
@pytest.mark.parametrize("seed", range(3))
async def test_usage_never_exceeds_the_limit_by_more_than_calls_in_flight_exceed_their_reservations(
    bench: Bench, kind: Kind, mode: ReserveMode, seed: int
) -> None:
    chance = random.Random(seed)
    limit = limit_of(kind, 5_000, reserve=mode)
    used = beyond = 0

    async def call(gateway: int) -> None:
        nonlocal used, beyond
        for _ in range(12):
            prompt, completion = chance.randrange(1, 60), chance.randrange(1, 200)
            upper_bound = prompt + 400
            size = (prompt, completion, upper_bound)
            request_id = bench.new_id()
            reply = await bench.reserve(limit, gateway=gateway, request_id=request_id, tokens=size, cost=size)
            if reply.status == "taken":
                await asyncio.sleep(chance.random() / 1000)
                really = min(upper_bound, prompt + round(chance.lognormvariate(4.5, 1)))
                await bench.settle(request_id, tokens=really, cost=really, gateway=gateway)
                used += really
                beyond += max(0, really - reply.takings[0].want)

    await asyncio.gather(*(call(n % 4) for n in range(16)))

    assert 4_000 < used <= 5_000 + beyond
    assert await bench.left(limit) == 5_000 - used
    if mode == "maximum":
        assert beyond == 0


# --- Several limits of one kind ---


async def test_shadow_limits_count_but_never_refuse(bench: Bench) -> None:
    shadows = [limit_of(kind, 0, level, shadow=True) for kind in KINDS for level in LEVELS]
    ids = [await bench.take(*shadows, tokens=TEN, cost=TEN) for _ in range(20)]
    assert all([await bench.left(shadow) < 0 for shadow in shadows])
    for request_id in ids:
        await bench.settle(request_id, tokens=10, cost=10)

    left = {"rpm": -20, "tpm": -200, "concurrency": 0, "requests": -20, "tokens": -200, "cost": -200}
    assert [await bench.left(shadow) for shadow in shadows] == [left[shadow.kind] for shadow in shadows]


async def test_a_shadow_limit_does_not_loosen_the_real_one_beside_it(bench: Bench) -> None:
    """They share the window's counter; the shadow limit has nothing left, so an estimate cut to that would be small."""
    real, shadow = limit_of("tokens", 1000), limit_of("tokens", 10, shadow=True)
    for order in ((real, shadow), (shadow, real)):
        account = bench.redis_setup.new_account()
        replies = [await account.reserve(*order, tokens=(10, 190, 0)) for _ in range(7)]

        assert Tally(reply.status for reply in replies) == {"taken": 5, "refused": 2}


@pytest.mark.parametrize("kind", KINDS)
async def test_the_limits_of_owner_and_admin_both_hold(bench: Bench, kind: Kind) -> None:
    admins, owners = limit_of(kind, room_for(7, kind)), limit_of(kind, room_for(4, kind), set_by="owner")
    calls = [
        bench.reserve(*pair, gateway=n % 4, **asks(kind))
        for n, pair in enumerate([(admins, owners), (owners, admins)] * 10)
    ]

    replies = await asyncio.gather(*calls)

    assert Tally(reply.status for reply in replies) == {"taken": 4, "refused": 16}


async def test_limits_that_share_a_counter_take_the_largest_amount_once_and_release_it_whole(bench: Bench) -> None:
    expected, maximum = limit_of("tokens", 1000), limit_of("tokens", 1000, set_by="owner", reserve="maximum")
    for order in ((expected, maximum), (maximum, expected)):
        bench = bench.redis_setup.new_account()
        request_id = await bench.take(*order, tokens=TEN)
        assert await bench.left(expected) == 970
        await bench.counters.charge(bench.account, request_id, tokens=20, nano_usd=0)
        assert await bench.left(expected) == 970
        await bench.counters.charge(bench.account, request_id, tokens=40, nano_usd=0)
        assert await bench.left(expected) == 960
        await bench.settle(request_id, tokens=15)
        counter = await bench.counter(expected)
        assert isinstance(counter, Window)
        assert (counter.used, counter.reserved) == (15, 0)


async def test_a_temporary_limit_replaces_the_permanent_one_and_leaves_no_debt(bench: Bench) -> None:
    lasting = limit_of("rpm", 6)
    temporary = limit_of("rpm", 60, expires_at=datetime.fromtimestamp(NOON_MS / 1000 + 30, UTC))
    for _ in range(6):
        await bench.take(lasting)

    raised = [(await bench.reserve(lasting, temporary)).status for _ in range(70)]
    bench.now += 30_000
    after = [(await bench.reserve(lasting, temporary)).status for _ in range(5)]

    assert Tally(raised) == {"taken": 60, "refused": 10}
    # Three of the six of the permanent limit have refilled.
    assert Tally(after) == {"taken": 3, "refused": 2}


# --- Seeds ---


async def test_a_new_concurrency_limit_counts_leases_already_open(bench: Bench) -> None:
    ids = [await bench.take(limit_of("rpm", 100)) for _ in range(3)]
    limit = limit_of("concurrency", 3, "subscription")
    bench.epoch += 1

    assert (await bench.reserve(limit)).status == "refused"
    await bench.settle(ids[0])
    assert (await bench.reserve(limit)).status == "taken"
    for request_id in ids[1:]:
        await bench.settle(request_id)
    assert await bench.left(limit) == 2


@pytest.mark.parametrize("kind", WINDOWED_KINDS)
async def test_a_new_window_limit_counts_the_ledger_and_leases_already_open(bench: Bench, kind: Kind) -> None:
    old, limit = limit_of("rpm", 100), limit_of(kind, 100, "user", window="week")
    first = await bench.take(old, tokens=TEN, cost=TEN)
    bench.epoch += 1
    bench.sums[limit.field] = 50

    assert await bench.left(limit) == (49 if kind == "requests" else 40)
    await bench.settle(first, tokens=20, cost=20)
    assert await bench.left(limit) == (49 if kind == "requests" else 30)


async def test_a_new_limit_does_not_count_reaped_leases(bench: Bench) -> None:
    await bench.take(limit_of("rpm", 100), tokens=TEN)
    bench.now += LEASE_MS
    await bench.sweep_and_reap()
    bench.epoch += 1

    assert await bench.left(limit_of("concurrency", 5)) == 5
    # Their rows are in the ledger.
    assert await bench.left(limit_of("tokens", 100)) == 100


async def test_actual_usage_reaches_a_counter_created_after_the_reap(bench: Bench) -> None:
    request_id = await bench.take(limit_of("rpm", 100), tokens=TEN)
    bench.now += LEASE_MS
    await bench.sweep_and_reap()
    new, slots = limit_of("tokens", 100), limit_of("concurrency", 5)
    bench.sums[new.field] = 10
    await bench.seed(new, slots)
    # The mark is no open call: it has a part of its usage, and no slot.
    (lease,) = (await bench.state())[0].leases.values()
    assert {part.name for part in lease.parts} == {limit_of("rpm", 100).field, new.field}
    assert [await bench.left(limit) for limit in (new, slots)] == [90, 5]

    await bench.settle(request_id, tokens=35)

    assert [await bench.left(limit) for limit in (new, slots)] == [65, 5]


async def test_a_restored_concurrency_limit_counts_the_leases_opened_without_it(bench: Bench) -> None:
    limit = limit_of("concurrency", 5)
    first = await bench.take(limit)
    bench.epoch += 1
    await bench.take(limit_of("rpm", 100))
    await bench.settle(first)
    bench.epoch += 1

    assert await bench.left(limit) == 4


async def test_leases_of_other_scopes_and_other_windows_are_not_counted_by_a_seed(bench: Bench) -> None:
    await bench.take(limit_of("rpm", 100), tokens=TEN)
    yesterday = await bench.take(
        limit_of("rpm", 100), tokens=TEN, mode="force", request_id=bench.new_id(NOON_MS - 86_400_000)
    )
    bench.epoch += 1

    for scope in ("k11", "k", "k1m", "k1m11", "s11", "u", "tt"):
        assert await bench.left(limit_of("concurrency", 5, scope=scope)) == 5
    assert await bench.left(limit_of("concurrency", 5)) == 3
    assert await bench.left(limit_of("tokens", 100, window="day")) == 90
    assert await bench.left(limit_of("tokens", 100, window="week")) == 80
    assert await bench.settle(yesterday, tokens=10)


async def test_a_restored_limit_is_seeded_and_does_not_resume_its_old_counter(bench: Bench) -> None:
    limit = limit_of("requests", 10)
    await bench.settle(await bench.take(limit))
    # The limit is removed, three calls pass, and it is set again.
    bench.epoch += 2
    bench.sums[limit.field] = 4

    assert await bench.left(limit) == 6


async def test_a_new_limit_leaves_the_counters_of_all_others_unchanged(bench: Bench) -> None:
    old, new = limit_of("tokens", 1000), limit_of("cost", 1000, epoch=2)
    await bench.take(old, tokens=TEN)
    before = await bench.counter(old)
    # A seed would lose what is not in the ledger yet.
    bench.sums[old.field] = 500

    reply = await bench.reserve_once(old, new, tokens=TEN, cost=TEN)
    assert (reply.status, reply.seed) == ("seed", (1,))
    await bench.seed(new)

    assert await bench.counter(old) == before
    assert await bench.left(new) == 1000


async def test_limits_that_share_a_counter_require_the_latest_of_their_epochs(bench: Bench) -> None:
    admins, owners = limit_of("tokens", 1000), limit_of("tokens", 500, set_by="owner", epoch=3)
    await bench.take(admins, tokens=TEN)

    assert (await bench.reserve_once(admins, owners, tokens=TEN)).seed == (0, 1)
    await bench.seed(admins, owners)

    assert (await bench.reserve_once(admins, tokens=TEN)).status == "taken"


async def test_a_second_seed_changes_nothing(bench: Bench) -> None:
    limits = [limit_of("concurrency", 10), limit_of("tokens", 1000), limit_of("cost", 1000, window="day")]
    await bench.seed(*limits)
    await bench.settle(await bench.take(*limits, tokens=TEN, cost=TEN), tokens=10, cost=10)
    await bench.take(*limits, tokens=TEN, cost=TEN)
    before = await bench.snapshot()

    assert await bench.seed(*limits, gateway=1) == 0
    assert await bench.snapshot() == before


async def test_a_late_seed_of_an_older_epoch_changes_nothing(bench: Bench) -> None:
    limits = [limit_of("concurrency", 10), limit_of("tokens", 1000, window="day")]
    old = [SeedEntry("c|k1", 0, 0, 0, 4), SeedEntry("T|k1|day", NOON_MS - 50_000_000, NOON_MS + 50_000_000, 7, 4)]
    bench.epoch = 5
    await bench.take(*limits, tokens=TEN)
    before = await bench.snapshot()

    assert await bench.counters.seed(bench.account, old) == 0
    assert await bench.snapshot() == before


async def test_a_seed_for_a_past_window_does_not_reset_a_counter_that_moved_on(bench: Bench) -> None:
    """The epoch is raised just before midnight: one gateway knows it and seeds, another does not."""
    limit = limit_of("tokens", 1000, window="day")
    before_midnight = bench.new_id(window_ms("day", "UTC", NOON_MS)[1] - 1)
    bench.now = before_midnight.int >> 80
    await bench.take(limit, tokens=TEN)
    bench.now += 2
    others = await bench.take(limit, tokens=TEN)
    bench.epoch += 1
    bench.sums[limit.field] = 10

    late = await bench.reserve(limit, request_id=before_midnight, tokens=TEN)
    assert await bench.seed(limit, at_ms=bench.now - 2) == 0
    await bench.settle(others, tokens=300)
    bench.sums[limit.field] = 300

    assert late.status == "late"
    assert await bench.left(limit) == 700


@pytest.mark.parametrize("seed", range(40))
async def test_gateways_that_seed_concurrently_end_with_correct_counters(bench: Bench, seed: int) -> None:
    chance = random.Random(seed)
    limits = [
        limit_of("concurrency", 1000),
        limit_of("requests", 1000, "team"),
        limit_of("tokens", 10**6, window="day"),
    ]
    known, newer = limits[: chance.randrange(4)], chance.randrange(3)
    ids = [await bench.take(*known, limit_of("rpm", 1000), tokens=TEN) for _ in range(chance.randrange(6))]
    bench.epoch += 1
    calls, tokens = chance.randrange(100), chance.randrange(10_000)
    ledger = {limits[1].field: calls, limits[2].field: tokens}
    still_open = list(ids)

    async def gateway(n: int) -> None:
        nonlocal calls, tokens
        sums = dict(ledger)
        await asyncio.sleep(chance.random() / 500)
        plan = bench.plan(limits)
        entries = [SeedEntry(e.field, e.a if e.b else 0, e.b, sums.get(e.field, 0), e.epoch) for e in plan.entries]
        for _ in range(1 + chance.randrange(2)):
            await bench.gateway(n).seed(bench.account, entries)
            request_id = bench.new_id()
            reply = await bench.reserve_once(*limits, request_id=request_id, tokens=TEN, gateway=n)
            assert reply.status == "taken"
            still_open.append(request_id)
            if chance.random() < 0.7:
                # It ended in between; its row is not in the sums that others have read.
                ended = still_open.pop(chance.randrange(len(still_open)))
                assert await bench.settle(ended, tokens=25, gateway=n)
                calls, tokens = calls + 1, tokens + 25

    await asyncio.gather(*(gateway(n) for n in range(2 + newer % 3)))

    assert await bench.left(limits[0]) == 1000 - len(still_open)
    requests, day = await bench.counter(limits[1]), await bench.counter(limits[2])
    assert isinstance(requests, Window)
    assert isinstance(day, Window)
    assert (requests.used, requests.reserved) == (calls, len(still_open))
    assert (day.used, day.reserved) == (tokens, 10 * len(still_open))


async def test_a_lost_hash_is_seeded_and_lost_leases_are_taken_again(bench: Bench) -> None:
    limits = [limit_of("concurrency", 2), limit_of("tokens", 100)]
    ids = [await bench.take(*limits, tokens=TEN) for _ in range(2)]
    await bench.command("DEL")
    bench.epoch += 1
    bench.sums["T|k1|month"] = 30

    assert await bench.counters.renew(bench.account, ids) == set(ids)
    for request_id in ids:
        assert (await bench.reserve(*limits, request_id=request_id, tokens=TEN, mode="force")).status == "taken"

    assert [await bench.left(limit) for limit in limits] == [0, 50]
    assert (await bench.reserve(*limits, tokens=TEN)).status == "refused"


async def test_a_lease_retaken_beside_a_past_window_is_settled_where_it_was_taken(bench: Bench) -> None:
    daily, budget, rate = limit_of("tokens", 100, window="day"), limit_of("cost", 100), limit_of("tpm", 100)
    request_id = bench.new_id()
    _, bench.now = window_ms("day", "UTC", bench.now)
    await bench.take(daily, budget, rate, tokens=TEN, cost=TEN)

    taken = await bench.reserve_once(daily, budget, rate, tokens=TEN, cost=TEN, mode="force", request_id=request_id)

    lease = (await bench.state())[0].leases[request_id]
    assert (taken.status, lease.scopes, lease.note) == ("taken", bench.scopes, b"{}")
    assert [(part.name, part.amount) for part in lease.parts] == [(budget.field, 10), (rate.field, 10)]
    await bench.settle(request_id, tokens=25, cost=35)
    assert [await bench.left(limit) for limit in (daily, budget, rate)] == [90, 55, 65]


async def test_retaking_a_lease_never_refuses_and_ignores_past_windows(bench: Bench) -> None:
    limits = [limit_of("concurrency", 1), limit_of("tokens", 1, window="month"), limit_of("requests", 9, window="day")]
    _, midnight = window_ms("day", "UTC", NOON_MS)
    bench.now = midnight + 1_000
    await bench.take(*limits, tokens=(1, 0, 0))
    started_yesterday = bench.new_id(midnight - 1)

    forced = await bench.reserve_once(*limits, request_id=started_yesterday, tokens=(1, 0, 0), mode="force")

    assert forced.status == "taken"
    assert [await bench.left(limit) for limit in limits] == [-1, -1, 8]


@pytest.mark.parametrize("zones", [("America/New_York", "Asia/Tokyo"), ("Asia/Tokyo", "America/New_York")])
async def test_an_account_that_changes_its_time_zone_keeps_working(bench: Bench, zones: tuple[str, str]) -> None:
    """Eastward the new day ends before the old one: the call must not wait for a counter that is ahead."""
    limit = limit_of("tokens", 100, window="day")
    bench.time_zone = zones[0]
    first = await bench.take(limit, tokens=TEN)
    bench.time_zone, bench.epoch = zones[1], 2
    bench.sums[limit.field] = 40

    assert (await bench.reserve(limit, tokens=TEN)).status == "taken"
    assert await bench.left(limit) == 40
    await bench.settle(first, tokens=15)
    assert await bench.left(limit) == 35


@pytest.mark.parametrize("zones", [("America/New_York", "Asia/Tokyo"), ("Asia/Tokyo", "America/New_York")])
async def test_a_gateway_with_an_outdated_time_zone_counts_in_the_new_windows(
    bench: Bench, zones: tuple[str, str]
) -> None:
    limit = limit_of("tokens", 100, window="day")
    bench.time_zone, bench.epoch = zones[1], 2
    await bench.take(limit, tokens=TEN)
    before = await bench.counter(limit)
    assert isinstance(before, Window)

    bench.time_zone, bench.epoch = zones[0], 1
    request_id = await bench.take(limit, tokens=TEN)
    assert await bench.counter(limit) == replace(before, reserved=20)
    await bench.settle(request_id, tokens=30)

    assert await bench.counter(limit) == replace(before, used=30)


async def test_a_window_begun_by_an_outdated_record_is_seeded_by_the_next_current_one(bench: Bench) -> None:
    limit = limit_of("tokens", 100, window="day")
    bench.time_zone, bench.epoch = "Asia/Tokyo", 2
    await bench.take(limit, tokens=TEN)
    # Afternoon in Tokyo, just after midnight in New York: the day of the outdated record ends last.
    bench.now = window_ms("day", "Asia/Tokyo", bench.now)[1] + 14 * 3_600_000
    bench.time_zone, bench.epoch = "America/New_York", 1
    await bench.take(limit, tokens=TEN)

    bench.time_zone, bench.epoch = "Asia/Tokyo", 2
    assert (await bench.reserve_once(limit, tokens=TEN)).status == "seed"
    assert (await bench.reserve(limit, tokens=TEN)).status == "taken"
    assert await bench.left(limit) == 80


# --- Large numbers ---


@pytest.mark.parametrize("kind", ["tokens", "cost"])
@pytest.mark.parametrize("number", [10**14, 10**14 + 1, MAX_AMOUNT - 1, MAX_AMOUNT])
async def test_large_amounts_pass_every_script_unchanged(bench: Bench, kind: Kind, number: int) -> None:
    limit, size = limit_of(kind, MAX_AMOUNT, window="lifetime"), (number - 1, 1, number)
    request_id = await bench.take(limit, tokens=size, cost=size)
    assert await bench.counter(limit) == Window(253_402_300_800_000, 0, number, 1)
    assert await bench.left(limit) == MAX_AMOUNT - number

    # The counter is outdated by a newer epoch: the seed must use the open lease.
    bench.epoch += 1
    await bench.seed(limit)
    assert await bench.counter(limit) == Window(253_402_300_800_000, 0, number, 2)
    bench.now += LEASE_MS
    _, (lease,) = await bench.counters.sweep(bench.account)
    assert lease.prompt_tokens + lease.completion_tokens == number == lease.nano_usd
    await bench.counters.renew(bench.account, [request_id])
    held = (await bench.state())[0].leases[request_id]
    assert (held.prompt, held.completion, held.cost) == (number - 1, 1, number) == (*size[:2], held.parts[0].amount)
    await bench.counters.charge(bench.account, request_id, tokens=MAX_AMOUNT, nano_usd=MAX_AMOUNT)
    assert await bench.counter(limit) == Window(253_402_300_800_000, 0, MAX_AMOUNT, 2)
    refused = await bench.reserve(limit, tokens=(1, 0, 1), cost=(1, 0, 1))
    assert (refused.status, refused.takings[0][:2]) == ("refused", (0, MAX_AMOUNT))
    bench.now += LEASE_MS
    await bench.sweep_and_reap()
    assert await bench.counter(limit) == Window(253_402_300_800_000, MAX_AMOUNT, 0, 2)
    await bench.settle(request_id, tokens=number, cost=number)
    assert await bench.counter(limit) == Window(253_402_300_800_000, number, 0, 2)

    bench.epoch += 1
    bench.sums[limit.field] = number
    assert await bench.left(limit) == MAX_AMOUNT - number


@pytest.mark.parametrize("number", [10**14, 10**14 + 1, MAX_AMOUNT - 1])
async def test_large_counts_of_requests_pass_unchanged(bench: Bench, number: int) -> None:
    limit, slots = limit_of("requests", MAX_AMOUNT, window="lifetime"), limit_of("concurrency", number)
    bench.sums[limit.field] = number
    request_id = await bench.take(limit, slots)
    assert await bench.counter(limit) == Window(253_402_300_800_000, number, 1, 1)
    assert [await bench.left(limit), await bench.left(slots)] == [MAX_AMOUNT - number - 1, number - 1]

    await bench.settle(request_id)
    assert await bench.counter(limit) == Window(253_402_300_800_000, number + 1, 0, 1)


async def test_a_debt_beyond_the_exact_range_is_reported_as_the_maximum(bench: Bench) -> None:
    limit = limit_of("tpm", 1000)
    await bench.settle(await bench.take(limit, tokens=TEN), tokens=MAX_AMOUNT)

    reply = await bench.reserve_once(limit, tokens=TEN)

    assert (reply.status, reply.takings[0].left) == ("refused", -MAX_AMOUNT)


async def test_the_largest_bucket_is_exact_to_the_unit(bench: Bench) -> None:
    limit = limit_of("tpm", MAX_BUCKET_CAPACITY)
    request_id = await bench.take(limit, tokens=(MAX_BUCKET_CAPACITY - 1, 0, 0))

    assert await bench.counter(limit) == Bucket((MAX_BUCKET_CAPACITY - 1) * UNITS, bench.now, MAX_BUCKET_CAPACITY)
    assert (await bench.reserve(limit, tokens=(2, 0, 0))).status == "refused"
    assert (await bench.reserve(limit, tokens=(1, 0, 0))).status == "taken"
    await bench.settle(request_id, tokens=MAX_BUCKET_CAPACITY - 2)
    assert await bench.left(limit) == 1


async def test_every_key_expires_a_month_after_its_last_use(bench: Bench) -> None:
    limits = [limit_of("rpm", 100), limit_of("requests", 100)]
    request_id, another = bench.new_id(), bench.new_id()

    async def take_later() -> None:
        # The first lease is due by now.
        bench.now += LEASE_MS
        await bench.take(limits[0])

    ages = []
    for work in (
        lambda: bench.take(limits[0], request_id=request_id),
        lambda: bench.counters.renew(bench.account, [request_id]),
        lambda: bench.seed(limits[1]),
        take_later,
        lambda: bench.counters.sweep(bench.account),
        lambda: bench.counters.settle(Settlement.of_nothing(bench.account, another)),
    ):
        await work()
        ages.append(await bench.command("PTTL"))
        await bench.command("PEXPIRE", 1_000_000)

    assert all(29 * 86_400_000 < age <= 30 * 86_400_000 for age in ages), ages


async def test_regular_leases_renew_the_expiry(bench: Bench) -> None:
    """Not every reservation renews it: `due` has the time of the next renewal."""
    limit = limit_of("rpm", 6000)
    for _ in range(20):
        bench.now += 10_000
        request_id = await bench.take(limit)
        age = await bench.command("PTTL")
        assert age > 30 * 86_400_000 - LEASE_MS - 1000
        # Emulates the ten seconds.
        await bench.command("PEXPIRE", age - 10_000)
        await bench.settle(request_id)
