"""The file of begun calls: what a reader finds in it at any moment."""

import errno
import os
from pathlib import Path
from random import Random
from uuid import UUID

import msgspec
import pytest
from usage_rows import TODAY, make_usage_row

from gateway.domain.ids import uuid7
from gateway.storage.counters.layout import Lease
from gateway.storage.counters.scripts import Estimate
from gateway.storage.ledger import begun_calls
from gateway.storage.ledger.begun_calls import MAX_COST, SLOT_BYTES, SLOTS_AT_ONCE, BegunCalls, read_begun

ESTIMATE = Estimate(tokens=(7, 11, 900), cost=(13, 17, 9000))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "worker.begun"


@pytest.fixture
def calls(path: Path) -> BegunCalls:
    made = BegunCalls()
    made.open(path)
    return made


def begin(calls: BegunCalls, note: bytes = b"{}") -> UUID:
    request_id = uuid7(1_700_000_000_000, os.urandom(10))
    calls.write(request_id, 5, ESTIMATE, note)
    return request_id


def end(calls: BegunCalls, *ids: UUID) -> None:
    calls.ended([make_usage_row(TODAY, request_id=i) for i in ids])


def found(path: Path) -> set[UUID]:
    return {lease.request_id for _, lease in read_begun(path)}


def test_s13_a_begun_call_is_found_as_it_was_written(calls: BegunCalls, path: Path) -> None:
    request_id = begin(calls, b'{"model":"demo-chat"}')

    ((account_id, lease),) = read_begun(path)

    assert account_id == 5
    assert lease == Lease(
        request_id=request_id,
        start_ms=1_700_000_000_000,
        prompt_tokens=7,
        completion_tokens=11,
        nano_usd=30,
        note=b'{"model":"demo-chat"}',
    )


def test_s13_a_reader_finds_every_call_under_way_and_soon_no_other(path: Path) -> None:
    """Any order of beginnings, ends and clearings, beyond what the file has at first."""
    random, calls = Random(13), BegunCalls()
    calls.open(path)
    under_way: list[UUID] = []
    ended: set[UUID] = set()
    for step in range(4000):
        if random.random() < 0.8 - len(under_way) / (4 * SLOTS_AT_ONCE):
            under_way.append(begin(calls))
        elif under_way:
            gone = [under_way.pop(random.randrange(len(under_way))) for _ in range(min(3, len(under_way)))]
            end(calls, *gone)
            ended.update(gone)
        if step % 100 == 0:
            assert set(under_way) <= found(path) <= set(under_way) | ended
            calls.clear()
            assert found(path) == set(under_way)
    # The slots of calls that have ended are used again.
    assert path.stat().st_size <= (1 + 6 * SLOTS_AT_ONCE) * SLOT_BYTES


def test_s13_more_calls_than_slots_make_the_file_larger(calls: BegunCalls, path: Path) -> None:
    ids = {begin(calls) for _ in range(2 * SLOTS_AT_ONCE + 1)}

    assert found(path) == ids
    assert path.stat().st_size == (1 + 3 * SLOTS_AT_ONCE) * SLOT_BYTES


def test_s13_a_larger_estimate_replaces_the_first_while_the_call_is_under_way(calls: BegunCalls, path: Path) -> None:
    request_id, larger = begin(calls), Estimate(tokens=(70, 0, 70), cost=(2**60, 0, 2**60))

    calls.update(request_id, 5, larger, b"{}")
    ((_, lease),) = read_begun(path)
    end(calls, request_id)
    calls.update(request_id, 5, larger, b"{}")
    calls.clear()

    assert (lease.prompt_tokens, lease.completion_tokens, lease.nano_usd) == (70, 0, MAX_COST)
    assert found(path) == set()


def test_s13_the_longest_note_fits_and_a_longer_one_damages_no_other(calls: BegunCalls, path: Path) -> None:
    number = 2**63 - 1
    fields = ("user_id", "api_key_id", "subscription_id", "model_id", "price_id")
    # Each character is six bytes of JSON.
    longest = msgspec.json.encode(
        {name: number for name in fields}
        | {"model": "\x01" * 255, "endpoint": "chat_completions_and_more", "streamed": False}
    )
    first, fits = begin(calls), begin(calls, longest)
    end(calls, first)
    longer = begin(calls, bytes(SLOT_BYTES))

    assert found(path) == {fits}
    end(calls, longer, fits)
    calls.clear()
    assert found(path) == set()


def test_s13_a_damaged_slot_hides_no_other(calls: BegunCalls, path: Path) -> None:
    first, second = begin(calls), begin(calls)
    with path.open("r+b") as file:
        file.seek(SLOT_BYTES + 10)
        file.write(b"\xff")

    assert found(path) == {second} != {first}


def test_s13_without_a_disk_calls_go_on_and_are_written_later(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    troubles: list[OSError] = []
    calls = BegunCalls(troubles.append)
    calls.open(path)
    before = begin(calls)

    def fail(*_: object) -> int:
        raise OSError(errno.EIO, "a broken disk")

    with monkeypatch.context() as patch:
        patch.setattr(begun_calls.os, "pwrite", fail)
        ids = {before, *(begin(calls) for _ in range(SLOTS_AT_ONCE))}
        end(calls, before)
    assert (len(troubles), calls.is_open) == (1, False)
    calls.clear()
    # A file that cannot be started leaves the one that is there.
    with monkeypatch.context() as patch:
        patch.setattr(begun_calls.os, "posix_fallocate", fail)
        with pytest.raises(OSError, match="broken"):
            calls.open(path)
    assert found(path) == {before}
    calls.open(path)

    assert found(path) == ids - {before}
    assert list(tmp_path.iterdir()) == [path]
    more = {begin(calls) for _ in range(SLOTS_AT_ONCE)}
    assert found(path) == (ids | more) - {before}
    # Each has a slot of its own in the new file, too.
    end(calls, *ids)
    calls.clear()
    assert found(path) == more


def test_s13_a_short_write_is_a_failure(calls: BegunCalls, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.pwrite
    monkeypatch.setattr(begun_calls.os, "pwrite", lambda file, data, at: whole(file, data[:-1], at))

    begin(calls)

    assert not calls.is_open
