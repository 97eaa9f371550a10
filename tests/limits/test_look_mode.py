"""The `look` mode of the reserve script, used by `GET /v1/limits` and `limits explain`: it takes nothing."""

from collections.abc import AsyncIterator

import pytest
from bench import Bench, RedisSetup, connected, grant_of, limit_of, started_server

from gateway.domain.grants import Grant, KeyRecord
from gateway.domain.reservation_plan import ReservationPlan
from gateway.domain.windows import window_ms
from gateway.storage.counters.state import LimitState


@pytest.fixture(scope="module")
async def redis_setup(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RedisSetup]:
    with started_server("valkey", tmp_path_factory.mktemp("looking")) as (servers, url):
        async with connected(servers, url) as redis_setup:
            yield redis_setup


async def test_a_look_just_before_the_end_of_a_window_shows_the_next_one_if_others_are_in_it(
    redis_setup: RedisSetup,
) -> None:
    bench = redis_setup.new_account()
    daily, monthly = limit_of("tokens", 100, window="day"), limit_of("requests", 5)
    grant = grant_of((daily, monthly), bench.scopes)
    _, midnight = window_ms("day", "UTC", bench.now)
    bench.now = midnight + 200
    await bench.take(daily, monthly, tokens=(10, 0, 10))
    late = bench.new_id(midnight - 100)
    bench.now = midnight - 100
    before = await bench.snapshot()

    taken, _ = await LimitState(bench.counters, Unasked()).look(record(bench, grant), grant, late)

    assert [t.left for t in taken] == [90, 4]
    assert taken[0].entry.b == midnight + 24 * 3600 * 1000
    assert await bench.snapshot() == before


def record(bench: Bench, grant: Grant) -> KeyRecord:
    return KeyRecord(
        key_id=1,
        account_id=bench.account,
        user_id=1,
        time_zone=bench.time_zone,
        epoch=bench.epoch,
        is_account_active=True,
        is_user_active=True,
        is_revoked=False,
        expires_at=None,
        allowed_ips=(),
        grants={grant.model_name: grant},
    )


class Unasked:
    """Fails if a seed is requested: no counter is missing."""

    async def seed(self, record: KeyRecord, plan: ReservationPlan, indexes: tuple[int, ...]) -> None:
        raise AssertionError(f"asked for {indexes}")
