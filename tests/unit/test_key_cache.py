"""Key records of one worker: read once however many ask, never kept if something changed, usable while Postgres is
away."""

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
    """Where records are read: each read waits for `gate`, and says what was true when it began."""

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

    def cache(self, *, grace_s: float = 900.0) -> KeyCache:
        return KeyCache(
            self.load,
            listening=lambda: self.listening,
            last_contact=lambda: self.last_contact,
            grace_s=grace_s,
            clock=lambda: self.now_s,
        )

    async def is_asked(self) -> None:
        """Returns when the first read has begun."""
        while not self.reads:
            await asyncio.sleep(0)


@pytest.fixture
async def source() -> Source:
    return Source()


async def test_however_many_ask_for_a_key_it_is_read_once(source: Source) -> None:
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


async def test_one_who_hangs_up_does_not_fail_the_others_who_wait(source: Source) -> None:
    cache = source.cache()
    source.gate.clear()
    first, second = asyncio.ensure_future(cache.find(DIGEST)), asyncio.ensure_future(cache.find(DIGEST))
    await asyncio.sleep(0)

    first.cancel()
    await asyncio.sleep(0)
    source.gate.set()

    assert await second is RECORD


async def test_a_record_that_changed_while_it_was_read_is_not_kept(source: Source) -> None:
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


async def test_a_change_that_does_not_concern_it_does_not_keep_a_record_from_being_kept(source: Source) -> None:
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
async def test_whatever_may_concern_it_keeps_a_record_from_being_kept(
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


async def test_a_key_that_was_made_while_it_was_looked_for_is_found_at_once(source: Source) -> None:
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


async def test_an_unknown_key_is_not_asked_for_again_at_once(source: Source) -> None:
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
async def test_a_change_drops_what_it_concerns(
    code: str, ids: tuple[int, ...], is_forgotten: bool, source: Source
) -> None:
    cache = source.cache()
    await cache.find(DIGEST)

    cache.invalidate(code, ids)

    assert (cache.peek(DIGEST) is None) == is_forgotten
    await cache.find(DIGEST)
    assert source.reads == 1 + is_forgotten


@pytest.mark.parametrize("failure", [OSError("x"), TimeoutError()])
async def test_an_unknown_key_while_postgres_is_away_is_not_taken_for_unknown(
    failure: Exception, source: Source
) -> None:
    cache = source.cache()
    source.failure = failure

    with pytest.raises(KeysUnavailable):
        await cache.find(DIGEST)
    source.failure = None

    assert await cache.find(DIGEST) is RECORD


async def test_with_postgres_away_what_is_known_goes_on_for_its_grace(source: Source) -> None:
    cache = source.cache(grace_s=100)
    await cache.find(DIGEST)
    source.failure, source.listening = OSError("away"), Listening.AWAY

    assert cache.peek(DIGEST) is RECORD
    source.last_contact -= 101
    assert cache.peek(DIGEST) is None
    with pytest.raises(KeysUnavailable):
        await cache.find(DIGEST)


async def test_what_may_have_been_missed_is_asked_for_anew_but_used_if_postgres_is_away(source: Source) -> None:
    cache = source.cache()
    await cache.find(DIGEST)
    # The listening connection was the first to break: that Postgres is away shows only now.
    source.listening = Listening.DEAF
    cache.invalidate("*", ())
    source.failure = OSError("away")

    assert cache.peek(DIGEST) is None
    assert await cache.find(DIGEST) is RECORD
    source.failure, source.record = None, replace(RECORD, is_revoked=True)
    assert await cache.find(DIGEST) is source.record


async def test_what_is_known_to_have_changed_is_not_used_even_if_postgres_is_away(source: Source) -> None:
    cache = source.cache()
    await cache.find(DIGEST)
    cache.invalidate("k", (1,))
    source.failure = OSError("away")

    with pytest.raises(KeysUnavailable):
        await cache.find(DIGEST)


async def test_a_mistake_of_ours_is_not_taken_for_an_outage(source: Source) -> None:
    cache = source.cache()
    source.failure = ZeroDivisionError()

    with pytest.raises(ZeroDivisionError):
        await cache.find(DIGEST)


@pytest.mark.parametrize(("listening", "age_s", "is_kept"), [
    (Listening.GOOD, 29, True), (Listening.GOOD, 31, False), (Listening.DEAF, 0.7, True), (Listening.DEAF, 0.9, False),
])  # fmt: skip
async def test_a_record_is_read_again_after_a_while_and_sooner_while_no_changes_are_heard(
    listening: Listening, age_s: float, is_kept: bool, source: Source
) -> None:
    cache = source.cache()
    await cache.find(DIGEST)
    source.listening = listening

    source.now_s += age_s

    assert (cache.peek(DIGEST) is RECORD) == is_kept
