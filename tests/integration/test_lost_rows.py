"""Postgres loses its last commits, as a promoted asynchronous replica or a restored backup does: the rows come back
from what the journals keep. The database is replaced, at the same address, by a copy of an earlier moment."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from conftest import Database, Superuser
from factories import ADMIN
from msgspec.structs import replace
from test_begun_calls import begin, die
from usage_rows import TODAY, make_usage_row, write_rows

from admin_api.operations.maintenance import ledger as upkeep
from gateway.domain.usage_rows import UsageRow
from gateway.storage.counters.epochs import SHARED_EPOCH
from gateway.storage.failures import POSTGRES_FAILED
from gateway.storage.ledger.closed_days import close_due_days
from gateway.storage.ledger.journal_lines import encode_row, line_of
from gateway.storage.ledger.kept_parts import KeptParts
from gateway.storage.ledger.lost_rows import PAUSE_S
from gateway.storage.ledger.rejected_rows import REFUSED_FILE
from gateway.storage.ledger.writer import LedgerWriter
from gateway.storage.postgres import Pool, new_pool

REAPED = {"estimated": True, "estimated_why": "reaped", "ending": "upstream_error", "total_ms": 0}


class Site:
    """Writers on one folder, and a database that can be set back."""

    def __init__(self, pool: Pool, database: Database, superuser: Superuser, folder: Path) -> None:
        self.pool = pool
        self.folder = folder
        self.events: dict[str, int] = {}
        self._name = database.name
        self._superuser = superuser

    def writer(self, *, keep_s: float = 3600.0) -> LedgerWriter:
        async def on_late(_: Sequence[UsageRow]) -> None: ...

        def on_event(what: str, times: int) -> None:
            self.events[what] = self.events.get(what, 0) + times

        made = LedgerWriter(self.pool, self.folder, max_bytes=2**20, keep_s=keep_s, on_late=on_late, on_event=on_event)
        made.open()
        return made

    async def write(self, writer: LedgerWriter, *batches: Sequence[UsageRow]) -> None:
        """Each batch in a segment of its own; the last one stays open."""
        for n, rows in enumerate(batches):
            if n:
                writer.journal.open()
            writer.append(rows)
            # Connections to the database that was there before fail first.
            for _ in range(15):
                with suppress(*POSTGRES_FAILED):
                    await writer.write_all()
                    break
        assert writer.rows_waiting == 0

    async def back_up(self) -> None:
        await self._disconnect()
        await self._superuser.execute(f"CREATE DATABASE {self._name}_copy TEMPLATE {self._name}")

    async def lose(self) -> None:
        """What was committed since the backup."""
        await self._disconnect()
        await self._superuser.execute(f"DROP DATABASE {self._name}")
        await self._superuser.execute(f"ALTER DATABASE {self._name}_copy RENAME TO {self._name}")

    async def _disconnect(self) -> None:
        for connection in await asyncio.gather(*(self.pool.acquire() for _ in range(self.pool.get_size()))):
            await connection.close()
            await self.pool.release(connection)
        connected = f"FROM pg_stat_activity WHERE datname = '{self._name}'"
        await self._superuser.execute(f"SELECT pg_terminate_backend(pid, 5000) {connected}")

    async def rows(self) -> dict[Any, Any]:
        """Why each row is an estimate, by id; checks that every rollup agrees with them."""
        check = await upkeep.verify_ledger(self.pool, ADMIN, days=400)
        assert check.differences == ()
        return dict(await self.pool.fetch("SELECT request_id, estimated_why FROM usage_logs"))

    async def epoch(self) -> int:
        return int(await self.pool.fetchval(SHARED_EPOCH))

    @property
    def kept(self) -> list[Path]:
        return list((self.folder / "kept").glob("*.log"))


@pytest.fixture
async def site(pool: Pool, database: Database, superuser: Superuser, tmp_path: Path) -> AsyncIterator[Site]:
    yield Site(pool, database, superuser, tmp_path / "journal")
    await superuser.execute(f"DROP DATABASE IF EXISTS {database.name}_copy")


def some(count: int, **changes: Any) -> list[UsageRow]:
    return [make_usage_row(TODAY, **changes) for _ in range(count)]


def ids(*batches: Sequence[UsageRow]) -> set[Any]:
    return {row.request_id for rows in batches for row in rows}


async def test_rows_that_were_lost_come_back_once_though_later_ones_were_written(site: Site) -> None:
    writer = site.writer()
    await site.write(writer, before := some(3))
    await site.back_up()
    writer.journal.open()
    await site.write(writer, *(lost := [some(2), some(3)]))
    await site.lose()
    # In the segment of the last ones that were lost, and in one of its own.
    await site.write(writer, after := some(1))
    writer.journal.open()
    await site.write(writer, later := some(1))
    missing, epoch = await site.rows(), await site.epoch()
    await writer.lost.round()

    assert set(missing) == ids(before, after, later)
    assert set(await site.rows()) == ids(before, *lost, after, later)
    assert site.events["restored"] == 5
    # Counters of Redis are seeded again: those of this moment have a larger epoch than any before.
    assert await site.epoch() > epoch + 10**12

    events, epoch = dict(site.events), await site.epoch()
    await writer.lost.round()
    assert (site.events, await site.epoch()) == (events, epoch)
    assert not writer.journal.kept.is_due


async def test_a_loss_is_found_while_no_rows_come(site: Site) -> None:
    writer = site.writer()
    await site.write(writer, before := some(1))
    await writer.lost.round()
    await site.back_up()
    await site.write(writer, lost := some(2))
    await site.lose()
    await writer.lost.round()

    assert set(await site.rows()) == ids(before, lost)


async def test_a_gateway_that_was_stopped_meanwhile_brings_its_rows_back(site: Site) -> None:
    writer = site.writer()
    await site.write(writer, before := some(1))
    await site.back_up()
    await site.write(writer, lost := some(2))
    await writer.close(timeout_s=5)
    await site.lose()
    await site.writer().lost.round()

    assert set(await site.rows()) == ids(before, lost)


async def test_what_one_process_found_another_one_finishes(site: Site) -> None:
    writer = site.writer()
    await site.write(writer, some(1))
    await site.back_up()
    await site.write(writer, *(lost := [some(1), some(1)]))
    await site.lose()
    # Its last rows are there: only the file says that others are missing.
    await site.write(writer, after := some(1))
    assert writer.journal.kept.is_due
    await writer.close(timeout_s=5)
    await site.writer().lost.round()

    assert ids(*lost, after) <= set(await site.rows())


async def test_a_lost_replacement_of_an_estimate_is_made_again(site: Site) -> None:
    """It is in a transaction of its own, after that of the new rows of its batch."""
    writer, [estimate] = site.writer(), some(1, **REAPED)
    real = replace(estimate, estimated=False, estimated_why=None, ending="completed", total_ms=9)
    await site.write(writer, [estimate])
    await site.back_up()
    await site.write(writer, [real, *(new := some(1))])
    await site.lose()
    # Only the second transaction is lost.
    await write_rows(site.pool, new)
    await site.write(writer, some(1))
    await writer.lost.round()

    assert (await site.rows())[real.request_id] is None
    assert set((await site.rows()).values()) == {None}


async def test_a_lost_row_replaces_the_estimate_that_a_reaper_wrote_since(site: Site) -> None:
    writer, [real] = site.writer(), some(1)
    await site.back_up()
    await site.write(writer, [real])
    await site.lose()
    await write_rows(site.pool, [replace(real, **REAPED)])
    await site.write(writer, some(1))
    await writer.lost.round()

    assert set((await site.rows()).values()) == {None}


async def test_a_lost_correction_of_a_closed_day_is_made_again_and_only_once(site: Site) -> None:
    writer, day = site.writer(), TODAY - timedelta(days=12)
    await site.write(writer, [make_usage_row(day)])
    assert await close_due_days(site.pool)
    await site.back_up()
    await site.write(writer, [late := make_usage_row(day)])
    await site.lose()
    # The correction was the whole batch.
    await site.write(writer, some(1))
    await writer.lost.round()
    await writer.lost.round()

    corrections = await site.pool.fetch("SELECT request_id, reason FROM ledger_corrections")
    assert [tuple(one) for one in corrections] == [(late.request_id, "late")]
    await site.rows()


async def test_estimates_of_calls_that_a_dead_worker_had_begun_are_kept(site: Site) -> None:
    dead, begun = site.writer(), some(2)
    begin(dead, begun)
    die(dead)
    await site.back_up()
    adopter = site.writer()
    await adopter.adopt_all()
    assert set(await site.rows()) == ids(begun)
    await site.lose()
    await adopter.lost.round()

    assert await site.rows() == dict.fromkeys(ids(begun), "reaped")


async def test_a_row_that_postgres_refused_is_set_aside_once_and_offered_no_more(site: Site) -> None:
    writer, [bad] = site.writer(), some(1, model_asked="nul \0")
    await site.write(writer, good := some(1))
    await site.back_up()
    writer.journal.open()
    await site.write(writer, [*(lost := some(1)), bad])
    await writer.close(timeout_s=5)
    await site.lose()
    again = site.writer()
    await again.lost.round()
    again.lost._look_at = 0.0
    written = site.events["batch"]
    await again.lost.round()

    assert set(await site.rows()) == ids(good, lost)
    assert (site.folder / REFUSED_FILE).read_bytes() == line_of(encode_row(bad))
    assert site.events["batch"] == written


async def test_parts_are_kept_for_their_time_and_not_removed_before_they_were_looked_for(site: Site) -> None:
    writer = site.writer()
    await site.write(writer, *(batches := [some(1), some(1), some(1)]))
    old, new = sorted(site.kept)
    os.utime(old, (time.time() - 3700,) * 2)
    writer.lost._pool = await new_pool("postgresql://u:p@127.0.0.1:1/x", size=1)
    await writer.lost.round()
    assert set(site.kept) == {old, new}
    writer.lost._pool = site.pool
    await writer.lost.round()

    assert site.kept == [new]
    assert set(await site.rows()) == ids(*batches)


async def test_what_is_kept_and_what_waits_have_the_journals_most_bytes_together(tmp_path: Path) -> None:
    kept = KeptParts(tmp_path, keep_s=3600, max_bytes=1000)
    for n in range(5):
        kept.write(f"w{n}", b"x" * 300)
    oldest = sorted(kept.list(), key=lambda part: part.kept_at)
    kept.prune(waiting=0, expires=False)
    assert (kept.size_bytes, {part.path for part in kept.list()}) == (900, {part.path for part in oldest[2:]})
    kept.prune(waiting=600, expires=False)
    assert kept.size_bytes == 300
    kept.prune(waiting=1000, expires=False)
    assert kept.list() == []


async def test_another_database_gets_no_rows_of_the_one_before(site: Site, database: Database) -> None:
    """One that was set up for the same gateway, with accounts of its own."""
    writer = site.writer()
    await site.write(writer, some(2), some(1))
    await writer.lost.round()
    await site.back_up()
    await site.lose()
    await database.execute_as_owner("DELETE FROM usage_logs; UPDATE schema_migrations SET applied_at = now()")
    await writer.close(timeout_s=5)
    again = site.writer()
    await again.lost.round()

    assert await site.pool.fetch("SELECT FROM usage_logs") == []
    assert site.kept == []


async def test_nothing_is_kept_or_looked_for_where_that_is_off(site: Site) -> None:
    writer = site.writer(keep_s=0)
    await site.write(writer, some(1), some(1))
    await site.back_up()
    await site.write(writer, some(1))
    await site.lose()
    await site.write(writer, some(1))
    await writer.lost.round()

    assert site.kept == []
    assert "restored" not in site.events


async def test_a_loss_that_nothing_can_bring_back_is_found_once(site: Site) -> None:
    writer = site.writer()
    await site.write(writer, some(1))
    await site.back_up()
    # There is no disk, so the row goes straight to Postgres.
    writer.journal._is_open = False
    await writer.append_safely(some(1))
    await site.lose()
    await writer.lost.round()
    epoch = await site.epoch()
    await writer.lost.round()
    assert await site.epoch() == epoch > 10**12


async def test_one_row_of_a_closed_day_does_not_hide_a_loss(site: Site) -> None:
    writer, old = site.writer(), TODAY - timedelta(days=12)
    await site.write(writer, [make_usage_row(old)])
    await close_due_days(site.pool)
    await site.back_up()
    await site.write(writer, lost := some(1))
    await site.lose()
    await site.write(writer, [make_usage_row(old + timedelta(minutes=1))])
    await writer.lost.round()
    assert ids(lost) <= set(dict(await site.pool.fetch("SELECT request_id, 1 FROM usage_logs")))


async def test_a_part_that_the_disk_does_not_show_stops_nothing(site: Site) -> None:
    writer = site.writer()
    await site.write(writer, some(1))
    writer.journal.open()
    await site.write(writer, some(1))
    broken = site.folder / "kept" / "worker.000001.log"
    broken.symlink_to(broken)
    await writer.lost.round()
    assert [part.path for part in writer.journal.kept.list()] == [path for path in site.kept if path != broken]


async def test_what_was_found_while_postgres_is_away_is_not_looked_at_without_a_pause(site: Site) -> None:
    writer = site.writer()
    # Nothing listens on it: it is the discard port.
    writer.lost._pool = await new_pool("postgresql://nobody@127.0.0.1:9/nothing", size=1)
    writer.lost.found()
    began = time.monotonic()
    await writer.lost.round()
    assert time.monotonic() - began >= PAUSE_S
    await writer.lost._pool.close()


async def test_what_postgres_did_not_take_is_offered_again_after_a_pause(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = site.writer()
    await site.write(writer, before := some(1))
    await site.back_up()
    await site.write(writer, lost := some(2))
    await site.lose()

    async def refuse(_: Sequence[bytes]) -> Sequence[bytes]:
        raise asyncpg.ReadOnlySQLTransactionError("cannot execute INSERT in a read-only transaction")

    # A server in recovery can be read before it takes anything.
    with monkeypatch.context() as patch:
        patch.setattr(writer.lost, "_write", refuse)
        await writer.lost.round()
    assert set(await site.rows()) == ids(before)
    async with asyncio.timeout(10):
        await writer.lost.wait(3600)
    await writer.lost.round()
    assert set(await site.rows()) == ids(before, lost)
