"""Seeds whose ledger was read while rows were on their way: calls that end meanwhile are kept, and counted once."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final
from uuid import UUID

import pytest
from bench import Bench, RedisSetup, connected, limit_of, started_server
from model import LEASE_MS, Window

from gateway.domain.windows import window_ms
from gateway.storage.counters.settling import keep_ended_of
from gateway.storage.ledger.rows import InLedger

FOR_MS: Final = 10_000
REQUESTS = limit_of("requests", 1000, "team")
TOKENS = limit_of("tokens", 10**6, "key")
COST = limit_of("cost", 10**9, "user")
OTHERS = limit_of("requests", 1000, "key", scope="k2")
DAILY = limit_of("requests", 1000, "team", window="day")
LIMITS: Final = (REQUESTS, TOKENS, COST)
TEN: Final = (10, 0, 10)


@pytest.fixture(scope="module")
async def redis_setup(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RedisSetup]:
    folder: Path = tmp_path_factory.mktemp("kept")
    with started_server("valkey", folder) as (servers, url):
        async with connected(servers, url, gateways=1) as redis_setup:
            yield redis_setup


@pytest.fixture
def bench(redis_setup: RedisSetup) -> Bench:
    return redis_setup.new_account()


async def used(bench: Bench) -> list[int]:
    """Of REQUESTS, TOKENS and COST, once they are seeded again: nothing but what a seed says is left of before."""
    bench.epoch += 1
    await bench.seed(*LIMITS)
    return await read_used(bench)


async def read_used(bench: Bench) -> list[int]:
    found = [await bench.counter(limit) for limit in LIMITS]
    assert all(isinstance(counter, Window) for counter in found)
    return [counter.used for counter in found if isinstance(counter, Window)]


async def end_call(bench: Bench, **about: int) -> UUID:
    request_id = await bench.take(*LIMITS, tokens=TEN, cost=TEN)
    assert await bench.settle(request_id, tokens=7, cost=30, **about)
    return request_id


async def keep(bench: Bench, for_ms: int = FOR_MS) -> bool:
    return await bench.counters.keep_ended(bench.account, for_ms)


async def test_a_call_that_ends_is_counted_though_the_ledger_was_read_without_its_row(bench: Bench) -> None:
    await end_call(bench)
    assert await used(bench) == [0, 0, 0]

    assert await keep(bench)
    await end_call(bench)
    await end_call(bench, rate=0, window=0)

    assert await used(bench) == [1, 14, 60]
    # Also by a second seed, of a later epoch.
    assert await used(bench) == [1, 14, 60]


async def test_a_kept_call_whose_row_was_read_is_counted_once(bench: Bench) -> None:
    await bench.take(*LIMITS, tokens=TEN, cost=TEN)
    await keep(bench)
    first, second = await end_call(bench), await end_call(bench)
    bench.epoch += 1
    bench.sums = {REQUESTS.field: 11, TOKENS.field: 107, COST.field: 530}

    await bench.seed(*LIMITS, known=[InLedger(first, 1, 7, 30), InLedger(UUID(int=5), 9, 9, 9)])

    assert second
    assert await read_used(bench) == [12, 114, 560]


async def test_a_reaped_call_is_kept_as_estimated_until_its_real_figures_come(bench: Bench) -> None:
    request_id = await bench.take(*LIMITS, tokens=(10, 5, 20), cost=(40, 2, 99))
    bench.now += LEASE_MS + 1
    await keep(bench)
    assert await bench.sweep_and_reap() == 1
    assert await used(bench) == [1, 15, 42]
    bench.epoch += 1
    bench.sums = {REQUESTS.field: 1, TOKENS.field: 15, COST.field: 42}
    await bench.seed(*LIMITS, known=[InLedger(request_id, 1, 15, 42)])
    assert await read_used(bench) == [1, 15, 42]

    assert await bench.settle(request_id, tokens=7, cost=30)

    bench.epoch += 1
    await bench.seed(*LIMITS, known=[InLedger(request_id, 1, 15, 42)])
    assert await read_used(bench) == [1, 7, 30]


async def test_calls_of_other_windows_and_other_scopes_are_not_counted(bench: Bench) -> None:
    _, midnight = window_ms("day", "UTC", bench.now)
    bench.now = midnight - 1
    await bench.take(*LIMITS, tokens=TEN, cost=TEN)
    await keep(bench, 2 * FOR_MS)
    await end_call(bench)
    bench.now = midnight + 1
    await end_call(bench)
    bench.epoch += 1

    await bench.seed(REQUESTS, DAILY, OTHERS)

    month, day, others = [await bench.counter(limit) for limit in (REQUESTS, DAILY, OTHERS)]
    assert isinstance(month, Window)
    assert isinstance(day, Window)
    assert isinstance(others, Window)
    assert (month.used, day.used, others.used) == (2, 1, 0)


async def test_what_was_kept_goes_when_its_time_is_over(bench: Bench) -> None:
    await bench.take(*LIMITS, tokens=TEN, cost=TEN)
    await keep(bench)
    # A shorter time does not shorten it.
    await keep(bench, 10)
    bench.now += FOR_MS - 1
    await end_call(bench)
    await bench.counters.sweep(bench.account)
    account, _ = await bench.state()
    assert (len(account.kept), account.keep) == (1, bench.now + 1)

    bench.now += 1
    await end_call(bench)
    account, _ = await bench.state()
    assert len(account.kept) == 1
    await bench.counters.sweep(bench.account)

    account, _ = await bench.state()
    assert (account.kept, account.keep) == ({}, 0)


async def test_nothing_is_made_of_an_account_that_redis_does_not_know(bench: Bench) -> None:
    assert not await keep(bench)
    assert await bench.fields() == {}


@pytest.mark.parametrize("is_orphan", [False, True])
async def test_an_estimate_in_the_ledger_of_a_call_that_holds_a_lease_is_counted_once(
    bench: Bench, is_orphan: bool
) -> None:
    """Its gateway was late to renew it, or is gone and the lease is about to be closed."""
    request_id = await bench.take(*LIMITS, tokens=(10, 5, 20), cost=(40, 2, 99))
    bench.epoch += 1
    bench.sums = {REQUESTS.field: 1, TOKENS.field: 15, COST.field: 42}

    await bench.seed(*LIMITS, known=[InLedger(request_id, 1, 15, 42)])

    assert await read_used(bench) == [0, 0, 0]
    if is_orphan:
        assert await bench.counters.reap(bench.account, request_id, is_orphan=True)
        assert await read_used(bench) == [1, 15, 42]
    else:
        assert await bench.settle(request_id, tokens=7, cost=30)
        assert await read_used(bench) == [1, 7, 30]


async def test_a_damaged_field_keeps_nothing_and_stops_nothing(bench: Bench) -> None:
    request_id = await bench.take(*LIMITS, tokens=TEN, cost=TEN)
    await bench.command("HSET", "keep", "x")

    assert await bench.settle(request_id, tokens=7, cost=30)
    await bench.counters.sweep(bench.account)

    account, _ = await bench.state()
    assert (account.kept, account.keep) == ({}, 0)


async def test_one_damaged_account_keeps_no_other_back(redis_setup: RedisSetup, bench: Bench) -> None:
    others = [redis_setup.new_account() for _ in range(3)]
    await others[0].take(*LIMITS, tokens=TEN, cost=TEN)
    await others[1].take(*LIMITS, tokens=TEN, cost=TEN)
    await bench.command("SET", "x")

    kept = await keep_ended_of(bench.counters, [bench.account, *(other.account for other in others)])

    assert kept == {others[0].account: True, others[1].account: True, others[2].account: False}
