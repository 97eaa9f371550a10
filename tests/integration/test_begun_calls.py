"""Calls that a worker had begun when it died (S13), on real files and a real Postgres: each has one row, and a real row
stays or comes instead of its estimate."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from factories import ADMIN
from msgspec.structs import replace
from usage_rows import TODAY, make_usage_row

from admin_api.operations.maintenance import ledger as upkeep
from gateway.domain.ids import uuid7
from gateway.domain.usage_rows import UsageRow
from gateway.storage.counters.scripts import Estimate
from gateway.storage.ledger.begun_calls import read_begun
from gateway.storage.ledger.journal_status import list_journals
from gateway.storage.ledger.writer import LedgerWriter
from gateway.storage.postgres import Pool


class Site:
    """Writers on one folder; `begun` are the estimates whose leases are to be closed."""

    def __init__(self, pool: Pool, folder: Path) -> None:
        self.pool = pool
        self.folder = folder
        self.begun: list[UsageRow] = []
        self.late: list[UsageRow] = []
        self.events: dict[str, int] = {}

    def writer(self) -> LedgerWriter:
        async def on_late(rows: Sequence[UsageRow]) -> None:
            self.late += rows

        async def on_begun(rows: Sequence[UsageRow]) -> None:
            self.begun += rows

        def on_event(what: str, times: int) -> None:
            self.events[what] = self.events.get(what, 0) + times

        made = LedgerWriter(
            self.pool, self.folder, max_bytes=2**30, on_late=on_late, on_begun=on_begun, on_event=on_event
        )
        made.open()
        return made

    async def why(self) -> dict[object, str | None]:
        """Why each row is an estimate, by id; checks that every rollup agrees with the rows."""
        check = await upkeep.verify_ledger(self.pool, ADMIN, days=400)
        assert check.differences == ()
        return {r["request_id"]: r["estimated_why"] for r in await self.pool.fetch("SELECT * FROM usage_logs")}


@pytest.fixture
def site(pool: Pool, tmp_path: Path) -> Site:
    return Site(pool, tmp_path / "journal")


def die(writer: LedgerWriter) -> None:
    """What the kernel does for a killed process."""
    journal = writer.journal
    for segment in journal.segments:
        segment.close()
    journal.begun.close()
    os.close(journal._lock)
    journal._lock = -1


def rows_of(count: int) -> list[UsageRow]:
    return [make_usage_row(TODAY) for _ in range(count)]


def begin(writer: LedgerWriter, rows: Sequence[UsageRow]) -> None:
    """As forwarded_call.py does, with the note of admit.py."""
    for row in rows:
        note = {
            "user_id": row.user_id, "api_key_id": row.api_key_id, "subscription_id": row.subscription_id,
            "model_id": row.model_id, "model": row.model_asked, "price_id": row.price_id, "endpoint": row.endpoint,
            "streamed": row.streamed,
        }  # fmt: skip
        estimate = Estimate(tokens=(40, 60, 500), cost=(400, 600, 5000))
        writer.journal.begun.write(row.request_id, row.account_id, estimate, msgspec.json.encode(note))


async def test_s13_each_call_a_dead_worker_had_begun_has_one_row(site: Site) -> None:
    worker, other = site.writer(), site.writer()
    under_way, ended, written = rows_of(3), rows_of(2), rows_of(1)
    begin(worker, [*under_way, *ended, *written])
    assert worker.append(written)
    await worker.write_all()
    assert worker.append(ended)
    # Its slots are not cleared yet.
    die(worker)

    await other.adopt_all()
    await other.adopt_all()

    reaped = {row.request_id for row in under_way}
    assert await site.why() == {row.request_id: None for row in (*ended, *written)} | dict.fromkeys(reaped, "reaped")
    estimate = await site.pool.fetchrow("SELECT * FROM usage_logs WHERE request_id = $1", under_way[0].request_id)
    assert estimate is not None
    counted = ("prompt_tokens", "completion_tokens", "counted_tokens", "counted_nano_usd", "counted_requests")
    assert [estimate[name] for name in counted] == [40, 60, 100, 1000, 1]
    # The lease of each is to be closed, and those with a real row are settled by it.
    assert reaped <= {row.request_id for row in site.begun}
    assert {row.request_id for row in site.late} >= {row.request_id for row in ended}
    assert site.events["begun"] == 6
    assert [path.name.split(".")[0] for path in site.folder.iterdir()] == [other.journal.worker] * 3
    # The real row of one turns up later.
    assert other.append([under_way[0]])
    await other.write_all()
    assert (await site.why())[under_way[0].request_id] is None


async def test_s13_a_row_that_is_nowhere_safe_keeps_its_call(site: Site, tmp_path: Path) -> None:
    worker, other = site.writer(), site.writer()
    (row,) = rows_of(1)
    begin(worker, [row])
    worker.journal._is_open = False
    # It waits in memory for Postgres, which it does not reach.
    assert not worker.append([row])
    worker.journal.begun.clear()
    die(worker)

    await other.adopt_all()

    assert await site.why() == {row.request_id: "reaped"}


async def test_s13_a_row_that_went_directly_to_postgres_ends_its_call(site: Site) -> None:
    worker = site.writer()
    (row,) = rows_of(1)
    begin(worker, [row])
    worker.journal._is_open = False
    assert not worker.append([row])

    await worker.write_all()

    assert len(worker.journal.begun) == 0
    assert await site.why() == {row.request_id: None}


async def test_s13_a_worker_that_stops_leaves_only_calls_without_a_row(site: Site) -> None:
    first, second = rows_of(2)
    worker = site.writer()
    begin(worker, [first, second])
    assert worker.append([first])
    await worker.close(5)
    begun, _ = sorted(site.folder.iterdir())
    assert [lease.request_id for _, lease in read_begun(begun)] == [second.request_id]

    worker = site.writer()
    await worker.adopt_all()
    await worker.close(5)

    assert await site.why() == {first.request_id: None, second.request_id: "reaped"}
    assert list(site.folder.iterdir()) == []


async def test_s13_a_file_without_its_lock_or_journal_is_adopted(site: Site) -> None:
    worker, other = site.writer(), site.writer()
    (row,) = rows_of(1)
    begin(worker, [row])
    die(worker)
    for path in site.folder.glob(f"{worker.journal.worker}.*"):
        if path.suffix == ".begun":
            os.utime(path, (0, 0))
        else:
            path.unlink()

    await other.adopt_all()

    assert await site.why() == {row.request_id: "reaped"}


async def test_s13_a_removed_folder_has_the_calls_under_way_again(site: Site) -> None:
    worker, other = site.writer(), site.writer()
    before, after = rows_of(2)
    begin(worker, [before])
    keeping = asyncio.create_task(worker.journal.keep())
    for path in list(site.folder.glob(f"{worker.journal.worker}.*")):
        path.unlink()
    while not list(site.folder.glob(f"{worker.journal.worker}.begun")):
        await asyncio.sleep(0.01)
    begin(worker, [after])
    keeping.cancel()
    die(worker)

    await other.adopt_all()

    assert await site.why() == {before.request_id: "reaped", after.request_id: "reaped"}


async def test_s13_the_status_shows_how_many_calls_are_under_way(site: Site) -> None:
    worker = site.writer()
    begin(worker, rows_of(3))

    (status,) = list_journals(site.folder)

    assert (status.begun, status.rows) == (3, 0)


async def test_s13_a_call_of_another_version_blocks_no_other(site: Site) -> None:
    worker, other = site.writer(), site.writer()
    (row,) = rows_of(1)
    worker.journal.begun.write(uuid7(0, bytes(10)), 1, Estimate(tokens=(1, 1, 1), cost=(1, 1, 1)), b'{"unknown":1}')
    begin(worker, [replace(row, price_id=None)])
    die(worker)

    await other.adopt_all()

    assert await site.why() == {row.request_id: "reaped"}
