"""What `GET /v1/limits` and `limits explain` go by: a look at the counters that takes nothing."""

from collections.abc import AsyncIterator

import pytest
from places import Bench, Place, grant_of, limit_of, opened, started

from gateway.domain.grants import Grant, KeyRecord
from gateway.domain.reservation_plan import ReservationPlan
from gateway.domain.windows import window_ms
from gateway.storage.counters.state import LimitState


@pytest.fixture(scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    with started("valkey", tmp_path_factory.mktemp("looking")) as (servers, url):
        async with opened(servers, url) as place:
            yield place


async def test_a_look_just_before_a_window_ends_that_others_have_left_shows_the_next_one(place: Place) -> None:
    bench = place.new_account()
    daily, monthly = limit_of("tokens", 100, window="day"), limit_of("requests", 5)
    grant = grant_of((daily, monthly), bench.scopes)
    _, midnight = window_ms("day", "UTC", bench.now)
    bench.now = midnight + 200
    await bench.take(daily, monthly, tokens=(10, 0, 10))
    late = bench.new_id(midnight - 100)
    bench.now = midnight - 100
    before = await bench.picture()

    taken, _ = await LimitState(bench.counters, Unasked()).look(record(bench, grant), grant, late)

    assert [t.left for t in taken] == [90, 4]
    assert taken[0].entry.b == midnight + 24 * 3600 * 1000
    assert await bench.picture() == before


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
    """Seeds nothing: no counter is missing."""

    async def seed(self, record: KeyRecord, plan: ReservationPlan, indexes: tuple[int, ...]) -> None:
        raise AssertionError(f"asked for {indexes}")
