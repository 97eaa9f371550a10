"""The key cache of a worker: concurrent lookups read once, an outdated record is never cached, and records are usable
while Postgres is down."""

import asyncio
from dataclasses import replace

import pytest

from gateway.domain.grants import Grant, KeyRecord
from gateway.storage.changes import Listening
from gateway.storage.key_cache import KeyCache, KeysUnavailable

GRANT = Grant(
    model_id=30, model_name="m", owned_by="x", max_output_tokens=None, subscription_id=40,
    subscription_expires_at=None, price=None, limits=(), scopes="",
)  # fmt: skip
RECORD = KeyRecord(
    key_id=1, account_id=10, user_id=20, time_zone="UTC", epoch=0, is_account_active=True, is_user_active=True,
    is_revoked=False, expires_at=None, allowed_ips=(), grants={"m": GRANT},
)  # fmt: skip
DIGEST = b"d" * 32


class Source:
    """The storage behind the cache: each read waits for `gate` and returns the state at its beginning."""

    def __init__(self) -> None:
        self.record: KeyRecord | None = RECORD
        self.failure: Exception | None = None
        self.reads = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.listening = Listening.GOOD
        self.now_s = self.last_contact = 1000.0

    async def load(self, _: bytes) -> KeyRecord | None:
        self.reads += 1
        record, failure = self.record, self.failure
        await self.gate.wait()
        if failure is not None:
            raise failure
        return record

    def cache(self, *, grace_s: float = 900.0, patience_s: float = 0.0) -> KeyCache:
        return KeyCache(
            self.load,
            listening=lambda: self.listening,
            last_contact=lambda: self.last_contact,
            grace_s=grace_s,
            patience_s=patience_s,
            clock=lambda: self.now_s,
        )

    async def is_asked(self) -> None:
        """Returns once the first read has begun."""
        while not self.reads:
            await asyncio.sleep(0)


@pytest.fixture
async def source() -> Source:
    return Source()


async def test_concurrent_lookups_of_a_key_read_it_once(source: Source) -> None:
    cache = source.cache()
    source.gate.clear()

    asked = [asyncio.ensure_future(cache.find(DIGEST)) for _ in range(50)]
    await asyncio.sleep(0)
    source.gate.set()
    found = await asyncio.gather(*asked)

    assert (found, source.reads) == ([RECORD] * 50, 1)
    assert cache.peek(DIGEST) is RECORD
    assert await cache.find(DIGEST) is RECORD
    assert source.reads == 1


async def test_a_disconnect_during_a_lookup_does_not_fail_the_other_waiters(source: Source) -> None:
    cache = source.cache()
    source.gate.clear()
    first, second = asyncio.ensure_future(cache.find(DIGEST)), asyncio.ensure_future(cache.find(DIGEST))
    await asyncio.sleep(0)

    first.cancel()
    await asyncio.sleep(0)
    source.gate.set()

    assert await second is RECORD


async def test_a_record_that_changed_while_it_was_read_is_not_cached(source: Source) -> None:
    cache = source.cache()
    source.gate.clear()
    asked = asyncio.ensure_future(cache.find(DIGEST))
    await source.is_asked()

    source.record = replace(RECORD, is_revoked=True)
    cache.invalidate("k", (1,))
    source.gate.set()
    await asked

    assert cache.peek(DIGEST) is None
    assert (await cache.find(DIGEST)) is source.record


async def test_an_unrelated_change_during_the_read_does_not_prevent_caching(source: Source) -> None:
    cache = source.cache()
    source.gate.clear()
    asked = asyncio.ensure_future(cache.find(DIGEST))
    await source.is_asked()

    for code, ids in (("a", (11,)), ("u", (21,)), ("k", (2, 3))):
        cache.invalidate(code, ids)
    source.gate.set()
    await asked

    assert cache.peek(DIGEST) is RECORD


@pytest.mark.parametrize(("code", "ids"), [("a", (10,)), ("u", (20,)), ("m", (30,)), ("m", (31,)), ("*", ())])
async def test_a_possibly_related_change_during_the_read_prevents_caching(
    code: str, ids: tuple[int, ...], source: Source
) -> None:
    cache = source.cache()
    source.gate.clear()
    asked = asyncio.ensure_future(cache.find(DIGEST))
    await source.is_asked()

    cache.invalidate(code, ids)
    source.gate.set()
    await asked

    assert cache.peek(DIGEST) is None


async def test_a_key_created_during_its_lookup_is_found_at_once(source: Source) -> None:
    cache = source.cache()
    source.record = None
    source.gate.clear()
    asked = asyncio.ensure_future(cache.find(DIGEST))
    await source.is_asked()

    source.record = RECORD
    cache.invalidate("k", (1,))
    source.gate.set()

    assert await asked is None
    assert await cache.find(DIGEST) is RECORD


async def test_an_unknown_key_is_cached_for_a_short_time(source: Source) -> None:
    cache = source.cache()
    source.record = None

    found = [await cache.find(DIGEST) for _ in range(5)]

    assert (found, source.reads) == ([None] * 5, 1)
    cache.invalidate("k", (7,))
    source.record = RECORD
    assert await cache.find(DIGEST) is RECORD


@pytest.mark.parametrize(("code", "ids", "is_forgotten"), [
    ("a", (9, 10), True), ("a", (1, 20, 30), False),
    ("u", (20,), True), ("u", (10,), False),
    ("k", (1,), True), ("k", (2,), False),
    ("m", (30,), True), ("m", (31,), True),
    ("*", (), True),
])  # fmt: skip
async def test_a_change_invalidates_the_records_it_concerns(
    code: str, ids: tuple[int, ...], is_forgotten: bool, source: Source
) -> None:
    cache = source.cache()
    await cache.find(DIGEST)

    cache.invalidate(code, ids)

    assert (cache.peek(DIGEST) is None) == is_forgotten
    await cache.find(DIGEST)
    assert source.reads == 1 + is_forgotten


@pytest.mark.parametrize("failure", [OSError("x"), TimeoutError()])
async def test_a_failed_lookup_during_an_outage_is_not_cached_as_an_unknown_key(
    failure: Exception, source: Source
) -> None:
    cache = source.cache()
    source.failure = failure

    with pytest.raises(KeysUnavailable):
        await cache.find(DIGEST)
    source.failure = None

    assert await cache.find(DIGEST) is RECORD


async def test_during_a_postgres_outage_cached_records_work_for_their_grace_period(source: Source) -> None:
    cache = source.cache(grace_s=100)
    await cache.find(DIGEST)
    source.failure, source.listening = OSError("away"), Listening.AWAY

    assert cache.peek(DIGEST) is RECORD
    source.last_contact -= 101
    assert cache.peek(DIGEST) is None
    with pytest.raises(KeysUnavailable):
        await cache.find(DIGEST)


async def test_a_possibly_outdated_record_is_read_again_but_used_during_a_postgres_outage(source: Source) -> None:
    cache = source.cache()
    await cache.find(DIGEST)
    # The listening connection broke first: that Postgres is down shows only now.
    source.listening = Listening.DEAF
    cache.invalidate("*", ())
    source.failure = OSError("away")

    assert cache.peek(DIGEST) is None
    assert await cache.find(DIGEST) is RECORD
    source.failure, source.record = None, replace(RECORD, is_revoked=True)
    assert await cache.find(DIGEST) is source.record


async def test_a_record_known_to_have_changed_is_not_used_even_during_a_postgres_outage(source: Source) -> None:
    cache = source.cache()
    await cache.find(DIGEST)
    cache.invalidate("k", (1,))
    source.failure = OSError("away")

    with pytest.raises(KeysUnavailable):
        await cache.find(DIGEST)


async def test_a_programming_error_is_not_treated_as_an_outage(source: Source) -> None:
    cache = source.cache()
    source.failure = ZeroDivisionError()

    with pytest.raises(ZeroDivisionError):
        await cache.find(DIGEST)


@pytest.mark.parametrize(("listening", "age_s", "is_kept"), [
    (Listening.GOOD, 29, True), (Listening.GOOD, 31, False), (Listening.DEAF, 0.7, True), (Listening.DEAF, 0.9, False),
])  # fmt: skip
async def test_a_record_expires_and_sooner_while_the_change_listener_is_down(
    listening: Listening, age_s: float, is_kept: bool, source: Source
) -> None:
    cache = source.cache()
    await cache.find(DIGEST)
    source.listening = listening

    source.now_s += age_s

    assert (cache.peek(DIGEST) is RECORD) == is_kept


async def test_a_key_of_which_nothing_is_known_waits_for_a_postgres_that_comes_back(source: Source) -> None:
    cache = source.cache(patience_s=3.0)
    source.failure = OSError("recovers")

    waiting = [asyncio.ensure_future(cache.find(DIGEST)) for _ in range(20)]
    await asyncio.sleep(0.3)
    assert not any(task.done() for task in waiting)
    source.failure = None

    assert await asyncio.gather(*waiting) == [RECORD] * 20
    # Once at first, and then a few times a second, however many wait.
    assert source.reads <= 4


async def test_it_is_refused_once_the_wait_is_over(source: Source) -> None:
    cache = source.cache(patience_s=3.0)
    source.failure = OSError("away")

    waiting = asyncio.ensure_future(cache.find(DIGEST))
    await source.is_asked()
    await asyncio.sleep(0)
    source.now_s += 3.0

    with pytest.raises(KeysUnavailable):
        await asyncio.wait_for(waiting, 2)


async def test_so_many_keys_wait_at_once_and_those_known_do_not(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.storage.key_cache.MAX_PATIENT", 2)
    cache = source.cache(patience_s=3.0)
    await cache.find(DIGEST)
    cache.invalidate("*", ())
    source.failure = OSError("away")

    assert await asyncio.wait_for(cache.find(DIGEST), 0.1) is RECORD
    waiting = [asyncio.ensure_future(cache.find(bytes([number]) * 32)) for number in range(2)]
    await asyncio.sleep(0.05)
    with pytest.raises(KeysUnavailable):
        await asyncio.wait_for(cache.find(b"c" * 32), 0.1)
    assert await asyncio.wait_for(cache.find(DIGEST), 0.1) is RECORD
    source.failure = None
    assert await asyncio.gather(*waiting) == [RECORD, RECORD]
