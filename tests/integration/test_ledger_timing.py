"""Periodic tasks of the ledger: partitions created ahead of time, and journal files synced to disk."""

import asyncio
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest
from conftest import Database
from structlog.testing import capture_logs
from usage_rows import TODAY, make_usage_row, write_rows

from gateway.storage.counters.scripts import Estimate
from gateway.storage.ledger.begun_calls import read_begun
from gateway.storage.ledger.journal import Journal
from gateway.storage.ledger.partitions import list_partitions
from gateway.storage.ledger.rejected_rows import REFUSED_FILE, keep_only, set_aside
from gateway.storage.postgres import Pool
from gateway.tasks.maintain_partitions import PartitionKeeper

ESTIMATE = Estimate(tokens=(1, 1, 1), cost=(1, 1, 1))


def month(ahead: int) -> datetime:
    """The start of the month `ahead` months after this one."""
    count = TODAY.year * 12 + TODAY.month - 1 + ahead
    return datetime(count // 12, count % 12 + 1, 1, tzinfo=UTC)


async def test_a_gateway_creates_partitions_three_months_ahead(pool: Pool, database: Database) -> None:
    owner = await asyncpg.connect(database.owner_url)
    for ahead in (0, 1, 2, 3):
        await owner.execute(f"DROP TABLE usage_logs_{month(ahead):%Y%m}")
    await owner.close()

    assert await PartitionKeeper(pool, retention_months=0).look(datetime.now(UTC)) == []

    made = [f"usage_logs_{month(ahead):%Y%m}" for ahead in (-1, 0, 1, 2, 3)]
    assert [partition.name for partition in await list_partitions(pool)] == made  # type: ignore[arg-type]  # a pool will do
    written = await write_rows(pool, [make_usage_row(month(ahead)) for ahead in (-1, 0, 1, 2, 3)])
    assert written.inserted == 5
    with pytest.raises(asyncpg.CheckViolationError, match="no partition"):
        await write_rows(pool, [make_usage_row(month(4))])


@contextmanager
def seen_syncs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, int]]]:
    """Synced files with their size."""
    synced: list[tuple[int, int]] = []
    fsync = os.fsync

    def see(file: int) -> None:
        about = os.fstat(file)
        fsync(file)
        synced.append((about.st_ino, about.st_size))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", see)
        yield synced


async def test_written_files_are_synced_once_per_interval_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.storage.ledger.journal.SYNC_S", 0.05)
    monkeypatch.setattr("gateway.storage.ledger.journal.SEGMENT_BYTES", 20_000)
    journal = Journal(tmp_path, max_bytes=2**20)
    journal.open()
    folder = os.stat(tmp_path).st_ino
    with seen_syncs(monkeypatch) as synced:
        keeping = asyncio.create_task(journal.keep())

        async def all_is_safe() -> None:
            async with asyncio.timeout(10):
                while not {(os.fstat(s.file).st_ino, s.size) for s in journal.segments if s.waiting} <= set(synced):
                    await asyncio.sleep(0.01)

        for calls in (1, 5, 70):
            before, names = len(synced), len(journal.segments)
            for _ in range(calls):
                # No call waits for it: the event loop does not run in between.
                journal.append([make_usage_row(TODAY)])
            assert len(synced) == before
            await all_is_safe()
            await asyncio.sleep(0.3)
            files = [inode for inode, _ in synced[before:] if inode != folder]
            assert len(files) == sum(segment.waiting > 0 for segment in journal.segments)
            # The directory as well, once for all new files.
            has_new_names = calls == 1 or len(journal.segments) > names
            assert len(synced) - before - len(files) == has_new_names
        assert len(journal.segments) > 2
        keeping.cancel()
    journal.close()


async def test_s13_begun_calls_are_synced_once_per_interval_and_written_again_after_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.storage.ledger.journal.SYNC_S", 0.05)
    monkeypatch.setattr("gateway.storage.ledger.journal.RETRY_S", 0.1)
    troubles: list[str] = []
    journal = Journal(tmp_path, max_bytes=2**20, on_trouble=troubles.append)
    journal.open()
    file = tmp_path / f"{journal.worker}.begun"
    synced: list[int] = []
    fails = False
    fdatasync = os.fdatasync

    def see(descriptor: int) -> None:
        if fails:
            raise OSError("the disk is broken")
        fdatasync(descriptor)
        synced.append(len(read_begun(file)))

    monkeypatch.setattr(os, "fdatasync", see)
    rows = [make_usage_row(TODAY) for _ in range(3)]
    keeping = asyncio.create_task(journal.keep())

    async def are_synced(count: int) -> None:
        async with asyncio.timeout(10):
            while synced[-1:] != [count]:
                await asyncio.sleep(0.01)

    await are_synced(0)
    for number, row in enumerate(rows, 1):
        before = len(synced)
        journal.begun.write(row.request_id, 1, ESTIMATE, b"{}")
        assert len(synced) == before
        await are_synced(number)
        # What is on disk is not synced again.
        await asyncio.sleep(0.3)
        assert len(synced) == before + 1
    fails = True
    journal.begun.ended(rows[:1])
    async with asyncio.timeout(10):
        while not troubles:
            await asyncio.sleep(0.01)
    fails = False
    await are_synced(2)
    keeping.cancel()
    journal.close()

    assert {lease.request_id for _, lease in read_begun(file)} == {row.request_id for row in rows[1:]}


def test_a_rejected_row_and_its_file_name_are_synced_to_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, folder = tmp_path / REFUSED_FILE, tmp_path.stat().st_ino
    with seen_syncs(monkeypatch) as synced:
        set_aside(tmp_path, b"one\n")
        set_aside(tmp_path, b"other\n")
        first = file.stat().st_ino
        with file.open("r+b") as opened:
            keep_only(file, opened, [b"other\n"], seen=10)

    assert [inode for inode, _ in synced] == [first, folder, first, file.stat().st_ino, folder]
    assert file.read_bytes() == b"other\n"


async def test_a_sync_that_failed_for_too_many_open_files_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.storage.ledger.journal.SYNC_S", 0.02)
    journal = Journal(tmp_path, max_bytes=2**20)
    journal.open()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with seen_syncs(monkeypatch) as synced:
        keeping = asyncio.create_task(journal.keep())
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            journal.append([make_usage_row(TODAY)])
            await asyncio.sleep(0.2)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert synced == []
        segment = journal.segments[0]
        async with asyncio.timeout(10):
            while (os.fstat(segment.file).st_ino, segment.size) not in synced:
                await asyncio.sleep(0.01)
        keeping.cancel()
    journal.close()


async def test_a_file_whose_sync_failed_is_closed_and_loses_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.storage.ledger.journal.RETRY_S", 0.1)
    troubles: list[str] = []
    journal = Journal(tmp_path, max_bytes=2**20, on_trouble=troubles.append)
    journal.open()

    def fail(_: int) -> None:
        raise OSError("the disk is broken")

    journal.append([first := make_usage_row(TODAY)])
    with capture_logs() as logged, monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        keeping = asyncio.create_task(journal.keep())
        async with asyncio.timeout(10):
            while journal.is_writable:
                await asyncio.sleep(0.01)
        assert not journal.is_taking
    async with asyncio.timeout(10):
        while not journal.is_taking:
            await asyncio.sleep(0.01)
    keeping.cancel()
    size = journal.segments[0].size
    journal.append([make_usage_row(TODAY)])

    assert troubles == ["sync"]
    assert [line["event"] for line in logged if line["log_level"] == "error"] == ["journal_not_written"]
    assert [segment.waiting for segment in journal.segments] == [1, 1]
    assert os.fstat(journal.segments[0].file).st_size == size
    assert str(first.request_id).encode() in journal.segments[0].read().rows[0]
    journal.close()
