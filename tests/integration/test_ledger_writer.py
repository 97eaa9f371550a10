"""The journal and its writer on real files and a real Postgres: whatever fails, each row is written once."""

import asyncio
import contextlib
import os
import resource
import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import asyncpg
import msgspec
import pytest
import structlog.testing
from conftest import Database
from factories import ADMIN
from msgspec.structs import replace
from structlog.testing import capture_logs
from usage_rows import TODAY, make_usage_row, write_rows

from admin_api.operations.maintenance import ledger as upkeep
from gateway.domain.errors import GatewayError
from gateway.domain.ids import uuid7
from gateway.domain.usage_rows import UsageRow
from gateway.settle import Settlements
from gateway.storage.ledger import writer as ledger_writer
from gateway.storage.ledger.adoption import Adoption
from gateway.storage.ledger.batches import write_batch
from gateway.storage.ledger.chain import Chain
from gateway.storage.ledger.journal import Journal, JournalFull
from gateway.storage.ledger.journal_files import Chunk, Segment, lock_file
from gateway.storage.ledger.journal_lines import encode_row, line_of
from gateway.storage.ledger.kept_parts import KeptParts
from gateway.storage.ledger.rejected_rows import REFUSED_FILE, set_aside
from gateway.storage.ledger.rows import write_lines
from gateway.storage.ledger.sums import WindowSum, sum_windows
from gateway.storage.ledger.writer import LedgerUnavailable, LedgerWriter
from gateway.storage.postgres import Pool, new_pool
from gateway.tasks.maintain_partitions import PartitionKeeper


class Site:
    """Writers on one folder, and what they logged."""

    def __init__(self, pool: Pool, folder: Path) -> None:
        self.pool = pool
        self.folder = folder
        self.late: list[UsageRow] = []
        self.events: dict[str, int] = {}

    def writer(self, *, max_bytes: int = 2**30, pool: "Pool | None" = None) -> LedgerWriter:
        """An opened writer without its background tasks."""

        async def on_late(rows: Sequence[UsageRow]) -> None:
            self.late += rows

        def on_event(what: str, times: int) -> None:
            self.events[what] = self.events.get(what, 0) + times

        made = LedgerWriter(pool or self.pool, self.folder, max_bytes=max_bytes, on_late=on_late, on_event=on_event)
        made.open()
        return made

    async def rows(self) -> dict[Any, Any]:
        """The rows by id; checks that every rollup agrees with them."""
        check = await upkeep.verify_ledger(self.pool, ADMIN, days=400)
        assert check.differences == ()
        return {row["request_id"]: row for row in await self.pool.fetch("SELECT * FROM usage_logs")}

    @property
    def refused(self) -> list[bytes]:
        file = self.folder / REFUSED_FILE
        return file.read_bytes().splitlines() if file.exists() else []


@pytest.fixture
def site(pool: Pool, tmp_path: Path) -> Site:
    return Site(pool, tmp_path / "journal")


@pytest.fixture
async def away(database: Database) -> Pool:
    """A pool of an unreachable Postgres."""
    return await new_pool("postgresql://u:p@127.0.0.1:1/x", size=1)


def die(writer: LedgerWriter) -> None:
    """Emulates a SIGKILL: the files stay, the lock is released."""
    journal = writer.journal
    for segment in journal.segments:
        segment.close()
    os.close(journal._lock)
    journal._lock = -1


def some(count: int, **changes: Any) -> list[UsageRow]:
    return [make_usage_row(TODAY, **changes) for _ in range(count)]


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Emulates a full disk by a maximum file size, which also holds for pytest's own log file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        with capture_logs():
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def ids(rows: Sequence[UsageRow]) -> set[Any]:
    return {row.request_id for row in rows}


# --- the disk ---


async def test_rows_truncated_by_a_full_disk_stay_in_memory_with_their_leases_and_reach_postgres(site: Site) -> None:
    writer, before, cut = site.writer(), some(3), some(3)
    assert writer.append(before)

    with largest_file(writer.journal.segments[0].size + 1200):
        assert not writer.append(cut)
        assert not writer.append(more := some(1))
        assert not writer.journal.is_writable
        assert writer.is_accepting
        assert site.late == []
        await writer.write_all()

    assert set(await site.rows()) == ids([*before, *cut, *more])
    assert ids(site.late) == ids([*cut, *more])
    assert writer.rows_waiting == 0
    assert (site.events["direct"], site.events["write"]) == (4, 1)
    # Space again: the next row is journaled.
    assert writer.journal.open()
    assert writer.append(some(1))


async def test_rows_written_before_the_disk_was_full_are_adopted(site: Site, away: Pool) -> None:
    """Even if Postgres is down and the other rows of their batch are lost with the process."""
    writer, cut = site.writer(pool=away), some(3)
    with largest_file(writer.journal.segments[0].size + 1200):
        assert not writer.append(cut)
        await writer.close(timeout_s=0.1)

    await site.writer().adopt_all()

    whole = 1200 // len(line_of(encode_row(cut[0])))
    assert whole == 2
    assert set(await site.rows()) == ids(cut[:whole])


async def test_an_existing_row_of_another_version_blocks_no_other(site: Site) -> None:
    """Postgres has it already, because a journal may be written twice."""
    strange, other = some(2)
    line = encode_row(strange).replace(b'"streamed":true', b'"streamed":"yes"')
    assert line != encode_row(strange)
    await write_lines(site.pool, [line])

    written = await write_lines(site.pool, [line, encode_row(other)])

    assert (written.inserted, written.kept) == (1, (strange.request_id,))
    assert set(await site.rows()) == ids([strange, other])


async def test_without_disk_and_postgres_no_row_is_accepted_and_waiting_rows_are_kept(
    site: Site, away: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_writer, "MAX_WAITING", 3)
    monkeypatch.setattr(ledger_writer, "BATCH_S", 0.01)
    writer, under_way = site.writer(pool=away), some(2)
    task = asyncio.create_task(writer._keep_writing())
    with largest_file(1):
        assert not writer.append(under_way)
        async with asyncio.timeout(5):
            while writer.is_accepting:
                await asyncio.sleep(0.01)
        with pytest.raises(LedgerUnavailable):
            writer.append(some(2))
        with pytest.raises(LedgerUnavailable):
            await writer.append_safely(some(1))
    task.cancel()
    # The disk recovers first: journaled, and settled only then.
    assert writer.journal.open()
    with contextlib.suppress(OSError):
        await writer.write_all()
    assert ids(site.late) == ids(under_way)
    assert writer.journal.rows_waiting == 2


async def test_a_disk_that_failed_is_written_again_after_its_recovery(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system makes a disk read-only when a write to it fails: the file that was made cannot be removed then."""
    writer = site.writer()
    writer.append(before := some(1))

    def fail(*_: object, **__: object) -> None:
        raise OSError("read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr("gateway.storage.ledger.journal_files.HEAD", b"x" * 5000)
        patch.setattr(Path, "unlink", fail)
        with largest_file(4096):
            assert not writer.journal.open()
            open_files = len(os.listdir("/proc/self/fd"))
            assert not writer.journal.open()
            assert len(os.listdir("/proc/self/fd")) == open_files
    assert writer.journal.open()
    assert writer.append(after := some(1))
    die(writer)
    await site.writer().adopt_all()

    assert set(await site.rows()) == ids([*before, *after])
    assert list(site.folder.glob(f"{writer.journal.worker}*")) == []


async def test_rows_in_a_write_when_the_writer_restarts_do_not_wait_for_another_row(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, rows = site.writer(), some(3)
    is_writing = asyncio.Event()

    async def hang(*_: object) -> None:
        is_writing.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr(writer._rows, "write", hang)
        writing = asyncio.create_task(writer.run())
        writer.append(rows)
        async with asyncio.timeout(10):
            await is_writing.wait()
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)

    writing = asyncio.create_task(writer.run())
    async with asyncio.timeout(10):
        while writer.rows_waiting:
            await asyncio.sleep(0.02)
    writing.cancel()
    assert set(await site.rows()) == ids(rows)


async def test_a_postgres_that_is_back_while_a_try_hangs_is_tried_again_at_once(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_writer, "MIN_PAUSE_S", 3600.0)
    monkeypatch.setattr(ledger_writer, "MAX_PAUSE_S", 3600.0)
    writer, rows = site.writer(), some(3)
    write, tries = writer._rows.write, 0

    async def fail_late(*args: Any) -> Any:
        nonlocal tries
        tries += 1
        if tries == 1:
            writer.postgres_is_back()
            raise TimeoutError
        return await write(*args)

    monkeypatch.setattr(writer._rows, "write", fail_late)
    writing = asyncio.create_task(writer.run())
    writer.append(rows)
    async with asyncio.timeout(10):
        while writer.rows_waiting:
            await asyncio.sleep(0.02)
    writing.cancel()
    assert set(await site.rows()) == ids(rows)


async def test_unreadable_rows_are_reported_as_waiting_and_read_later(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_writer, "MAX_PAUSE_S", 0.2)
    writer, old = site.writer(), some(2)
    writer.append(old)
    unreadable, read = writer.journal.segments[0], Segment.read

    def fail(segment: Segment) -> Chunk:
        if segment is unreadable:
            raise OSError("input/output error")
        return read(segment)

    writing = asyncio.create_task(writer.run())
    with monkeypatch.context() as patch, capture_logs():
        patch.setattr(Segment, "read", fail)
        assert writer.journal.open()
        writer.append(new := some(1))
        async with asyncio.timeout(10):
            while len(await site.rows()) < 1:
                await asyncio.sleep(0.05)
        before = writer.waiting_s
        writer.append(newer := some(1))
        async with asyncio.timeout(10):
            while len(await site.rows()) < 2:
                await asyncio.sleep(0.05)
        assert writer.waiting_s > before
        assert set(await site.rows()) == ids([*new, *newer])
    async with asyncio.timeout(10):
        while writer.rows_waiting:
            await asyncio.sleep(0.02)
    writing.cancel()
    assert set(await site.rows()) == ids([*old, *new, *newer])
    assert writer.waiting_s == 0


async def test_a_removed_folder_loses_no_row(site: Site) -> None:
    writer, rows = site.writer(), some(5)
    writer.append(rows)
    shutil.rmtree(site.folder)

    keeping = asyncio.create_task(writer.journal.keep())
    async with asyncio.timeout(5):
        while not list(site.folder.glob("*.log")):
            await asyncio.sleep(0.02)
    keeping.cancel()
    later = some(2)
    assert writer.append(later)
    await writer.write_all()

    assert set(await site.rows()) == ids([*rows, *later])


def test_a_journal_is_bounded_by_its_waiting_rows(tmp_path: Path) -> None:
    journal = Journal(tmp_path, max_bytes=3000)
    journal.open()
    for _ in range(50):
        journal.append(some(2))
        segment = journal.segments[-1]
        journal.give_up(segment, segment.read())

    assert (journal.size_bytes, journal.rows_waiting) == (0, 0)
    while journal.is_taking:
        journal.append(some(1))
    with pytest.raises(JournalFull):
        journal.append(some(1))
    assert 3000 <= journal.size_bytes < 4000
    journal.close()


def test_segments_are_removed_once_postgres_has_their_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.storage.ledger.journal.SEGMENT_BYTES", 1000)
    journal = Journal(tmp_path, max_bytes=64_000)
    journal.open()
    for _ in range(9):
        journal.append(some(1))
    assert len(journal.segments) > 3

    for segment in list(journal.segments):
        journal.give_up(segment, segment.read())
    journal.drop_finished()

    assert len(list(tmp_path.glob("*.log"))) == len(journal.segments) == 1
    journal.close()
    assert list(tmp_path.iterdir()) == []


def test_a_segment_that_cannot_be_read_or_removed_stays_and_blocks_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path, max_bytes=2**20)
    for row in some(4):
        journal.open()
        journal.append([row])
    for segment in journal.segments[:-1]:
        journal.give_up(segment, segment.read())
    first, second, *others = journal.segments
    read, finish = Segment.read, Segment.finish

    def fail_to_read(segment: Segment) -> Chunk:
        if segment is first:
            raise OSError("input/output error")
        return read(segment)

    def fail_to_remove(segment: Segment, kept: KeptParts) -> None:
        if segment is second:
            raise OSError("read-only file system")
        finish(segment, kept)

    with monkeypatch.context() as patch:
        patch.setattr(Segment, "read", fail_to_read)
        patch.setattr(Segment, "finish", fail_to_remove)
        journal.drop_finished()

    assert journal.segments == [first, second, others[-1]]
    journal.drop_finished()
    assert journal.segments == others[-1:]
    journal.close()


@pytest.mark.parametrize("seed", range(20))
def test_rows_are_written_once_and_in_order_from_memory_and_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """While Postgres writes a batch, more rows arrive, and memory may have to drop some."""
    monkeypatch.setattr("gateway.storage.ledger.journal.SEGMENT_BYTES", 9000)
    monkeypatch.setattr("gateway.storage.ledger.journal_files.READ_BYTES", 4000)
    monkeypatch.setattr("gateway.storage.ledger.journal_files.READ_ROWS", 3)
    monkeypatch.setattr("gateway.storage.ledger.journal_files.MAX_FRESH", 8)
    chance, journal = Random(seed), Journal(tmp_path, max_bytes=2**20)
    journal.open()
    given: list[bytes] = []
    taken: list[bytes] = []
    came_from_memory = 0

    def append() -> None:
        count = min(chance.choice([0, 1, 1, 2, 5]), 150 - len(given))
        rows = some(count, error_code="x" * chance.randrange(50))
        if rows:
            journal.append(rows)
            given.extend(map(encode_row, rows))

    for _ in range(1000):
        append()
        segment = next((one for one in journal.segments if one.waiting), None)
        if segment is None and len(given) == 150:
            break
        if segment is None or chance.random() < 0.4:
            continue
        piece = segment.read()
        came_from_memory += segment.offset == segment._fresh_from
        append()
        if chance.random() < 0.2:
            continue  # Postgres did not respond: read again
        taken += piece.rows
        journal.give_up(segment, piece)
        assert sum(len(one._fresh) for one in journal.segments) <= 8
        journal.drop_finished()

    assert taken == given
    assert came_from_memory > 0
    assert journal.size_bytes == sum(len(one._fresh) for one in journal.segments) == 0
    journal.close()
    assert list(tmp_path.iterdir()) == []


# --- contents of a journal ---


async def test_a_corrupt_journal_yields_every_complete_row_and_keeps_the_rest(site: Site) -> None:
    rows = some(6)
    lines = [line_of(msgspec.json.encode(row)) for row in rows]
    older = msgspec.json.decode(lines[4][9:])
    del older["total_ms"]
    newer = msgspec.json.decode(lines[5][9:]) | {"colour": "blue"}
    damaged = lines[1].replace(b'"small"', b'"large"')
    site.folder.mkdir()
    found = site.folder / "found.000001.log"
    parts = [lines[0], damaged, lines[2], line_of(msgspec.json.encode(older)), line_of(msgspec.json.encode(newer))]
    # Blocks that were never written, and a line truncated by a crash.
    found.write_bytes(b"".join(parts) + b"\0" * 300_000 + b"\n" + lines[3] + lines[3][:50])
    os.utime(found, (0, 0))
    writer = site.writer()

    await writer.adopt_all()

    assert set(await site.rows()) == ids([rows[0], rows[2], rows[3], rows[5]])
    assert damaged.strip() in site.refused
    assert any(b"total_ms" not in line and b"small" in line for line in site.refused)
    assert site.events["refused"] >= 2
    assert not found.exists()


async def test_rows_postgres_rejects_are_set_aside_and_can_be_replayed(site: Site, pool: Pool) -> None:
    writer, good = site.writer(), some(40)
    bad = [make_usage_row(TODAY, error_code="a\0b"), make_usage_row(TODAY, prompt_tokens=2**63 - 1, status=40_000)]
    writer.append([*good[:10], bad[0], *good[10:30], bad[1], *good[30:]])

    await writer.write_all()

    assert set(await site.rows()) == ids(good)
    assert len(site.refused) == site.events["refused"] == 2
    assert writer.rows_waiting == 0

    # One of them is repaired by hand; a third arrives in between.
    file = site.folder / REFUSED_FILE
    file.write_bytes(line_of(msgspec.json.encode(replace(bad[0], error_code="ab"))) + site.refused[1] + b"\n")
    done = await upkeep.replay(pool, ADMIN, file, keep=False)
    set_aside(site.folder, line_of(msgspec.json.encode(third := some(1)[0])))

    assert (done.written, len(done.refused)) == (1, 1)
    assert set(await site.rows()) == ids([*good, bad[0]])
    assert len(site.refused) == 2
    again = await upkeep.replay(pool, ADMIN, file, keep=False)
    assert (again.written, again.known, len(again.refused)) == (1, 0, 1)
    assert third.request_id in await site.rows()
    assert await pool.fetchval("SELECT count(*) FROM audit_logs WHERE action = 'ledger.replay'") == 2


def refusable(count: int) -> list[UsageRow]:
    """Rows that Postgres rejects, each for another reason."""
    return [make_usage_row(TODAY, error_code=f"{n}\0") for n in range(count)]


async def test_a_rejected_row_truncated_by_a_full_disk_damages_no_other(site: Site, pool: Pool) -> None:
    writer, rows = site.writer(), refusable(3)
    file = site.folder / REFUSED_FILE
    set_aside(site.folder, line_of(encode_row(rows[0])))
    with largest_file(file.stat().st_size + 100), pytest.raises(OSError, match="full"):
        set_aside(site.folder, line_of(encode_row(rows[1])))

    writer.append([rows[2]])
    await writer.write_all()

    done = await upkeep.replay(pool, ADMIN, file, keep=False)
    assert (len(done.refused), done.damaged) == (2, 1)
    assert [line for line in site.refused if str(rows[2].request_id).encode() in line] != []


async def test_concurrent_replays_lose_no_row_added_in_between(
    site: Site, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.writer()
    file = site.folder / REFUSED_FILE
    for row in (*(good := some(5)), *(bad := refusable(2))):
        set_aside(site.folder, line_of(encode_row(row)))
    both_have_read, late = asyncio.Barrier(2), refusable(1)[0]

    async def write_when_both_have_read(*args: Any) -> Any:
        done = await write_batch(*args)
        if (await both_have_read.wait()) == 0:
            async with asyncio.timeout(10):
                while len(site.refused) > len(bad):
                    await asyncio.sleep(0.01)
            set_aside(site.folder, line_of(encode_row(late)))
        return done

    monkeypatch.setattr("gateway.storage.ledger.replay.write_batch", write_when_both_have_read)
    await asyncio.gather(*(upkeep.replay(pool, ADMIN, file, keep=False) for _ in range(2)))

    assert set(await site.rows()) == ids(good)
    assert {line_of(encode_row(row)) for row in (*bad, late)} == {line + b"\n" for line in site.refused}


async def test_a_read_only_file_keeps_its_rows_and_is_reported(site: Site, pool: Pool) -> None:
    site.writer()
    file = site.folder / REFUSED_FILE
    for row in (*(good := some(3)), *refusable(1)):
        set_aside(site.folder, line_of(encode_row(row)))
    before = file.read_bytes()

    with (
        largest_file(100),
        pytest.raises(GatewayError, match=r"written, but could not be removed from the file.*File too large"),
    ):
        await upkeep.replay(pool, ADMIN, file, keep=False)

    assert set(await site.rows()) == ids(good)
    assert file.read_bytes() == before
    assert [path.name for path in site.folder.glob("*.new")] == []


async def test_a_rejected_row_that_cannot_be_set_aside_is_logged(site: Site) -> None:
    writer, good = site.writer(), some(2)
    (site.folder / REFUSED_FILE).mkdir()
    writer.append([*good, make_usage_row(TODAY, error_code="tell\0tale")])

    with structlog.testing.capture_logs() as logged:
        await writer.write_all()

    assert set(await site.rows()) == ids(good)
    assert "tale" in str(logged)


# --- repetition and concurrency ---


async def test_replayed_rows_that_were_committed_before_change_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, rows = site.writer(), some(20)
    writer.append(rows)
    monkeypatch.setattr(writer.journal, "give_up", lambda *_: (_ for _ in ()).throw(ConnectionError))
    for _ in range(2):
        with pytest.raises(ConnectionError):
            await writer.write_all()
    die(writer)

    await site.writer().adopt_all()

    assert set(await site.rows()) == ids(rows)
    assert (site.events["written"], site.events["known"]) == (20, 40)


async def test_a_journal_is_adopted_by_one_worker_and_only_after_its_owner_died(site: Site) -> None:
    dead, alive, rows = site.writer(), site.writer(), some(30)
    dead.append(rows)
    alive.append(own := some(1))
    die(dead)

    await asyncio.gather(*(site.writer().adopt_all() for _ in range(4)))

    assert set(await site.rows()) == ids(rows)
    assert len(site.late) == 30
    assert alive.rows_waiting == len(own)


async def test_a_journal_that_cannot_be_adopted_blocks_no_other(site: Site) -> None:
    writers = [site.writer() for _ in range(3)]
    for writer in writers:
        writer.append(some(1))
        die(writer)
    last = site.writer()
    first = min(writer.journal.worker for writer in writers)

    async def fail_first(adopted: Any) -> None:
        if adopted.name == first:
            raise TimeoutError
        await Adoption._write_adopted(last.adoption, adopted)

    last.adoption._write_adopted = fail_first  # type: ignore[method-assign]
    await last.adopt_all()

    assert len(await site.rows()) == 2
    assert last.bytes_left > 500


async def test_a_journal_that_cannot_be_opened_is_adopted_later_and_blocks_no_other(site: Site) -> None:
    """One segment of two; the other one and the lock must be released for the next attempt."""
    writers = sorted((site.writer() for _ in range(3)), key=lambda writer: writer.journal.worker)
    rows = [some(1) for _ in writers]
    for writer, own in zip(writers, rows, strict=True):
        writer.append(own)
        die(writer)
    in_the_way = site.folder / f"{writers[0].journal.worker}.000002.log"
    in_the_way.symlink_to(in_the_way)

    await (trying := site.writer()).adopt_all()
    assert set(await site.rows()) == ids([*rows[1], *rows[2]])
    in_the_way.unlink()
    await site.writer().adopt_all()

    assert set(await site.rows()) == ids([row for own in rows for row in own])
    assert [path.name for path in site.folder.glob("*.lock") if path.stem == writers[0].journal.worker] == []
    assert trying.bytes_left == 0


async def test_a_journal_still_being_copied_into_the_folder_loses_no_row(site: Site) -> None:
    """From another disk, as `mv` does it: in steps, and without a lock."""
    dead, rows = site.writer(), some(10)
    dead.append(rows)
    (segment,) = dead.journal.segments
    data = segment.path.read_bytes()
    die(dead)
    for path in site.folder.glob(f"{dead.journal.worker}*"):
        path.unlink()
    adopter, found = site.writer(), site.folder / "found.000001.log"

    with found.open("wb") as file:
        for part in (data[:2000], data[2000:]):
            file.write(part)
            file.flush()
            await adopter.adopt_all()
            assert await site.rows() == {}
    made_at = found.stat().st_mtime - 60
    os.utime(found, (made_at, made_at))
    await adopter.adopt_all()

    assert set(await site.rows()) == ids(rows)
    assert not found.exists()


async def test_a_journal_is_adopted_in_steps_while_postgres_fails_repeatedly(site: Site) -> None:
    dead, rows = site.writer(), some(4)
    for row in rows:
        dead.append([row])
        dead.journal.open()
    die(dead)
    adopter, left = site.writer(), []
    write, taken = adopter._rows.write, 0

    async def fail_every_third_time(piece: Sequence[bytes], chain: Chain) -> list[bytes]:
        nonlocal taken
        taken += 1
        if taken % 3 == 0:
            raise ConnectionError
        return await write(piece, chain)

    adopter._rows.write = fail_every_third_time  # type: ignore[method-assign]
    for _ in range(3):
        await adopter.adopt_all()
        left.append(adopter.bytes_left)

    assert left[0] > left[1] > left[2] == 0
    assert set(await site.rows()) == ids(rows)
    assert len(site.late) == 4
    assert list(site.folder.glob(f"{dead.journal.worker}*")) == []


async def test_a_journal_that_cannot_be_removed_does_not_stop_adoption(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that became read-only while its journals were written."""
    dead, rows = site.writer(), some(3)
    for row in rows:
        dead.append([row])
        dead.journal.open()
    die(dead)
    adopter, removed, unlink = site.writer(), [], Path.unlink

    def unlink_one(path: Path, missing_ok: bool = False) -> None:
        if removed:
            raise OSError("read-only file system")
        removed.append(path)
        unlink(path, missing_ok=missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", unlink_one)
        await adopter.adopt_all()
    assert adopter.bytes_left == 0
    await site.writer().adopt_all()

    assert set(await site.rows()) == ids(rows)
    assert list(site.folder.glob(f"{dead.journal.worker}*")) == []


async def test_estimates_of_a_dead_reaper_are_not_settled_as_actual_usage(site: Site) -> None:
    dead = site.writer()
    reaped = make_usage_row(TODAY, estimated=True, estimated_why="reaped", ending="upstream_error")
    dead.append([reaped, *(real := some(1))])
    die(dead)

    await site.writer().adopt_all()

    assert ids(site.late) == ids(real)


async def test_an_existing_estimate_leaves_the_lease_to_the_actual_row(site: Site) -> None:
    """A reaper that died, or lost Redis, before it closed the lease: the next one writes the same estimate again."""
    writer = site.writer()
    unknown, known = (
        make_usage_row(TODAY, estimated=True, estimated_why="reaped", ending="upstream_error") for _ in range(2)
    )
    real = replace(known, estimated=False, estimated_why=None, ending="completed", completion_tokens=9)
    await write_rows(site.pool, [unknown, real])

    await writer.append_safely([unknown, known])
    await writer.write_all()

    assert site.late == [real]
    assert len(await site.rows()) == 2


@pytest.mark.parametrize("isolation", ["read committed", "serializable"])
async def test_a_race_of_reapers_and_replays_leaves_one_actual_row_for_each_call(
    site: Site, database: Database, isolation: str
) -> None:
    owner = await asyncpg.connect(database.owner_url)
    await owner.execute(f"ALTER DATABASE {database.name} SET default_transaction_isolation = '{isolation}'")
    await owner.execute(f"ALTER DATABASE {database.name} SET synchronous_commit = off")
    await owner.close()
    chance = Random(5)
    real = [make_usage_row(TODAY + timedelta(minutes=n), api_key_id=n % 3, account_id=n % 2) for n in range(60)]
    estimates = [
        replace(row, estimated=True, estimated_why="reaped", ending="upstream_error", completion_tokens=1000)
        for row in real
    ]
    async with new_pool(database.app_url, size=8) as pool:

        async def write(rows: list[UsageRow]) -> None:
            mixed = chance.sample(rows, len(rows))
            for start in range(0, len(mixed), 7):
                while True:
                    try:
                        await write_rows(pool, mixed[start : start + 7])
                        break
                    except (asyncpg.DeadlockDetectedError, asyncpg.SerializationError):
                        await asyncio.sleep(0.01)

        await asyncio.gather(*(write(rows) for rows in (real, estimates, real, estimates, [*real, *estimates])))

    rows = await site.rows()
    assert set(rows) == ids(real)
    assert {row["estimated_why"] for row in rows.values()} == {None}


@pytest.mark.parametrize("is_there", [False, True], ids=["new", "reaped before"])
async def test_an_estimate_and_the_actual_row_in_one_batch_leave_the_actual_row_once(
    site: Site, pool: Pool, is_there: bool
) -> None:
    real = some(2)
    estimates = [
        replace(row, estimated=True, estimated_why="reaped", ending="upstream_error", completion_tokens=1000)
        for row in real
    ]
    if is_there:
        await write_rows(pool, estimates)

    done = await write_rows(pool, [real[0], estimates[0], estimates[1], real[1]])
    again = await write_rows(pool, [*estimates, *(replace(row, completion_tokens=7) for row in real)])

    assert (done.inserted, done.replaced) == ((0, 2) if is_there else (2, 0))
    assert (again.inserted, again.replaced, set(again.kept)) == (0, 0, ids(real))
    rows = await site.rows()
    assert {(row["estimated_why"], row["completion_tokens"]) for row in rows.values()} == {(None, 6)}
    assert await pool.fetchval("SELECT sum(calls) FROM usage_days") == 2


# --- months ---


def months_ago(count: int) -> datetime:
    month = TODAY.year * 12 + TODAY.month - 1 - count
    return datetime(month // 12, month % 12 + 1, 15, tzinfo=UTC)


async def test_a_row_of_a_month_without_a_partition_creates_it(site: Site) -> None:
    writer = site.writer()
    writer.append([old := make_usage_row(months_ago(8)), new := make_usage_row(TODAY)])

    await writer.write_all()

    assert set(await site.rows()) == ids([old, new])
    assert site.refused == []


async def test_rows_with_an_impossible_time_are_set_aside(site: Site) -> None:
    writer, good = site.writer(), some(3)
    odd = [make_usage_row(TODAY, request_id=uuid7(ms, bytes(10))) for ms in (0, 2**47, 2**48 - 1)]
    writer.append([good[0], odd[0], good[1], *odd[1:], good[2]])

    await writer.write_all()

    assert set(await site.rows()) == ids(good)
    assert len(site.refused) == 3


async def test_retention_drops_months_and_keeps_their_sums(site: Site, pool: Pool) -> None:
    old, older = make_usage_row(months_ago(6)), make_usage_row(months_ago(20))
    writer = site.writer()
    writer.append([old, older, new := make_usage_row(TODAY)])
    await writer.write_all()
    keeper = PartitionKeeper(pool, retention_months=3)

    dropped = await keeper.look(datetime.now(UTC))
    assert await keeper.look(datetime.now(UTC)) == []

    assert [name[-6:] for name in dropped] == [f"{months_ago(n):%Y%m}" for n in (20, 6)]
    assert set(await site.rows()) == ids([new])
    left = await pool.fetch("SELECT relname FROM pg_class WHERE relname ~ '^usage_logs_[0-9]{6}$'")
    assert len(left) == 5  # this month, the one before and three ahead
    audited = await pool.fetch("SELECT target_id, actor FROM audit_logs WHERE action = 'ledger.drop_month' ORDER BY id")
    assert [row["target_id"] for row in audited] == [f"{months_ago(n):%Y-%m}" for n in (20, 6)]

    # What a lifetime budget is seeded from, and a year.
    lifetime = WindowSum(1, "cost", "k1", 0, 253_402_300_800_000)
    assert await sum_windows(pool, [lifetime]) == [3 * 23_000]

    # A row that comes after its month was dropped could be there twice in the sums: it is set aside.
    writer.append([make_usage_row(months_ago(6))])
    await writer.write_all()
    assert len(site.refused) == 1
    assert await sum_windows(pool, [lifetime]) == [3 * 23_000]
    with pytest.raises(GatewayError, match="were dropped"):
        await upkeep.rebuild_rollups(pool, ADMIN, first=months_ago(6).date(), last=TODAY.date())


async def test_retention_keeps_its_number_of_whole_months_and_the_current_one(site: Site, pool: Pool) -> None:
    kept = [make_usage_row(months_ago(n)) for n in (0, 1, 2, 3)]
    await write_batch(pool, [encode_row(row) for row in (*kept, make_usage_row(months_ago(4)))])

    dropped = await PartitionKeeper(pool, retention_months=3).look(datetime.now(UTC))

    assert [name[-6:] for name in dropped] == [f"{months_ago(4):%Y%m}"]
    rows = await pool.fetch("SELECT request_id FROM usage_logs")
    assert {row["request_id"] for row in rows} == ids(kept)


@pytest.mark.parametrize("ahead", [timedelta(days=40), timedelta(days=400), timedelta(days=36_000)])
async def test_a_clock_that_is_ahead_drops_no_month_too_early(pool: Pool, ahead: timedelta) -> None:
    kept = [make_usage_row(months_ago(n)) for n in (0, 1, 2)]
    await write_batch(pool, [encode_row(row) for row in (*kept, make_usage_row(months_ago(4)))])

    dropped = await PartitionKeeper(pool, retention_months=3).look(datetime.now(UTC) + ahead)

    assert [name[-6:] for name in dropped] == [f"{months_ago(4):%Y%m}"]
    assert {row["request_id"] for row in await pool.fetch("SELECT request_id FROM usage_logs")} == ids(kept)


async def test_a_partition_is_created_while_the_ledger_is_read(pool: Pool) -> None:
    async with pool.acquire() as reader, reader.transaction():
        await reader.fetch("SELECT count(*) FROM usage_logs")
        async with asyncio.timeout(5):
            await pool.fetchval("SELECT ensure_usage_partitions(12)")
            await write_rows(pool, some(1))


async def test_a_month_under_a_long_read_is_dropped_later(pool: Pool) -> None:
    await pool.fetchval("SELECT ensure_usage_partition($1)", months_ago(6))
    keeper = PartitionKeeper(pool, retention_months=3)
    async with pool.acquire() as reader, reader.transaction():
        await reader.fetch("SELECT count(*) FROM usage_logs")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await keeper.look(datetime.now(UTC))

    assert len(await keeper.look(datetime.now(UTC))) == 1


# --- upkeep ---


async def test_rollups_are_rebuilt_while_rows_are_written(site: Site, pool: Pool) -> None:
    days = [TODAY - timedelta(days=n) for n in range(3)]
    await write_rows(pool, [make_usage_row(day, api_key_id=n) for n, day in enumerate(days * 4)])
    await pool.execute("UPDATE usage_days SET calls = calls + 5; DELETE FROM usage_account_months")
    await pool.execute("DELETE FROM usage_quarter_hours WHERE started_at >= $1", TODAY)
    assert (await upkeep.verify_ledger(pool, ADMIN, days=5)).differences != ()
    is_over = False

    async def write_on() -> int:
        written = 0
        while not is_over:
            estimate = make_usage_row(TODAY, estimated=True, estimated_why="reaped", ending="upstream_error")
            real = replace(estimate, estimated=False, estimated_why=None, ending="completed", completion_tokens=9)
            for row in (estimate, real, make_usage_row(days[1])):
                with contextlib.suppress(asyncpg.DeadlockDetectedError):
                    await write_rows(pool, [row])
            written += 1
        return written

    writing = [asyncio.create_task(write_on()) for _ in range(3)]
    for _ in range(3):
        count = await upkeep.rebuild_rollups(pool, ADMIN, first=days[-1].date(), last=TODAY.date())
        assert count == 3
    is_over = True
    assert min(await asyncio.gather(*writing)) > 0
    # What a deadlock took from a writer would be tried again by it; here the last word is one more time of all.
    await upkeep.rebuild_rollups(pool, ADMIN, first=days[-1].date(), last=TODAY.date())

    assert (await upkeep.verify_ledger(pool, ADMIN, days=5)).differences == ()


class Held:
    """A connection in the place of a pool, so that what is written stays open."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def acquire(self) -> Any:
        return contextlib.nullcontext(self._connection)


# A rebuild of a day stops in its midst while somebody has this lock.
HOLD = """
CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NULL; END $$;
CREATE TRIGGER hold BEFORE DELETE ON usage_days FOR EACH STATEMENT EXECUTE FUNCTION hold();
SELECT pg_advisory_lock(4711)
"""


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
async def test_a_rebuild_that_waited_for_a_writer_includes_its_rows(
    site: Site, pool: Pool, database: Database, isolation: str
) -> None:
    owner = await asyncpg.connect(database.owner_url)
    await owner.execute(f"ALTER DATABASE {database.name} SET default_transaction_isolation = '{isolation}'")
    await write_rows(pool, some(3))
    async with new_pool(database.app_url, size=2) as strict, strict.acquire() as writer:
        begun = writer.transaction(isolation="read_committed")
        await begun.start()
        await write_rows(Held(writer), some(2))  # type: ignore[arg-type]  # as much of a pool as is used
        rebuilding = asyncio.create_task(upkeep.rebuild_rollups(strict, ADMIN, first=TODAY.date(), last=TODAY.date()))
        async with asyncio.timeout(10):
            while not await owner.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                assert not rebuilding.done()
                await asyncio.sleep(0.02)
        await begun.commit()
        assert await rebuilding == 1
    await owner.close()

    assert len(await site.rows()) == 5


async def test_a_row_written_during_a_rebuild_waits_and_is_counted_once(
    site: Site, pool: Pool, database: Database
) -> None:
    await write_rows(pool, some(3))
    owner = await asyncpg.connect(database.owner_url)
    await owner.execute(HOLD)

    async def waits(count: int, task: "asyncio.Task[Any]") -> None:
        async with asyncio.timeout(10):
            while await owner.fetchval("SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted") < count:
                assert not task.done()
                await asyncio.sleep(0.02)

    rebuilding = asyncio.create_task(upkeep.rebuild_rollups(pool, ADMIN, first=TODAY.date(), last=TODAY.date()))
    await waits(1, rebuilding)
    # Of an account, a key and a model that no sum has yet: nothing else would hold it up.
    writing = asyncio.create_task(write_rows(pool, some(1, account_id=9, user_id=9, api_key_id=9, model_id=9)))
    await waits(2, writing)
    await owner.close()

    assert (await rebuilding, (await writing).inserted) == (1, 1)
    assert len(await site.rows()) == 4


async def test_status_has_the_waiting_rows_and_the_last_error(
    site: Site, pool: Pool, away: Pool, tmp_path: Path
) -> None:
    alive, dead, cut_off = site.writer(), site.writer(), site.writer(pool=away)
    alive.append(some(3))
    await alive.write_all()
    alive.append(some(2))
    alive.journal._write_offsets()
    dead.append(some(4))
    die(dead)
    cut_off.append(some(1))
    cut_off.journal.record_error("Postgres: away")
    set_aside(site.folder, b"something\n")

    status = await upkeep.ledger_status(pool, ADMIN, tmp_path)

    reported = {journal.worker: journal for journal in status.journals}
    assert {(j.rows, j.is_alive) for j in reported.values()} == {(2, True), (4, False), (1, True)}
    assert reported[cut_off.journal.worker].error == "Postgres: away"
    assert reported[dead.journal.worker].oldest is not None
    assert status.refused == 1
    assert len(status.partitions) == 5
    # It took nobody's lock.
    with pytest.raises(BlockingIOError):
        lock_file(site.folder / f"{alive.journal.worker}.lock")


async def test_a_lease_is_settled_only_after_its_row_is_durable(site: Site) -> None:
    settled: list[Any] = []

    class Counters:
        async def settle(self, settlement: Any) -> bool:
            settled.append(settlement.request_id)
            return True

    writer = site.writer()
    settlements = Settlements(Counters(), writer)  # type: ignore[arg-type]
    writer._on_late = settlements.settle_late
    with largest_file(1):
        settlements.close_call(direct := some(1)[0], is_leased=True)
        await asyncio.sleep(0)
        await settlements.drain(5)
        assert settled == []
        assert await site.rows() == {}
        await writer.write_all()
    await settlements.drain(5)

    assert settled == [direct.request_id]
    assert set(await site.rows()) == {direct.request_id}


async def test_without_an_admin_api_each_changed_account_is_stored_once(pool: Pool) -> None:
    await pool.execute("INSERT INTO accounts_to_check SELECT 1 + n % 3 FROM generate_series(1, 600) AS n")

    await PartitionKeeper(pool, retention_months=0).look(datetime.now(UTC))

    rows = await pool.fetch("SELECT account_id FROM accounts_to_check ORDER BY 1")
    assert [row["account_id"] for row in rows] == [1, 2, 3]
