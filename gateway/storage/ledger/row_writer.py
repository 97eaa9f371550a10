"""Writes the rows that a journal gives, and accounts for what Postgres did with each of them."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import structlog

from gateway.domain.usage_rows import UsageRow
from gateway.storage.ledger import rejected_rows
from gateway.storage.ledger.chain import Chain
from gateway.storage.ledger.journal_lines import line_of, read_row
from gateway.storage.ledger.rows import Written, find_rows

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

log = structlog.get_logger(__name__)

# What happened to rows, batches and the disk, as metrics name it.
Event = Literal[
    "written", "replaced", "known", "refused", "direct", "restored", "begun", "batch", "batch_failed", "write", "sync"
]


class RowWriter:
    """Of one worker. `folder` is where refused rows are set aside; `on_late` and `on_event` are those of LedgerWriter;
    `record_error(text)` shows an error in `litemaas ledger status`."""

    def __init__(
        self,
        pool: "Pool",
        folder: Path,
        *,
        on_late: Callable[[Sequence[UsageRow]], Awaitable[None]],
        on_event: Callable[[Event, int], None],
        record_error: Callable[[str], None],
    ) -> None:
        self._pool = pool
        self._folder = folder
        self._on_late = on_late
        self._on_event = on_event
        self._record_error = record_error

    async def write(self, rows: Sequence[bytes], chain: Chain, *, is_known_here: bool = False) -> list[bytes]:
        """Returns what Postgres refused; it is set aside, but for what `is_known_here` and was set aside before."""
        if not rows:
            return []
        written, refused = await chain.write(rows)
        for data, cause in refused:
            log.error("usage_row_refused", row=data.decode("utf-8", "replace"), cause=cause)
            if not (is_known_here and rejected_rows.is_set_aside(self._folder, line_of(data))):
                rejected_rows.set_aside_or_log(self._folder, line_of(data))
        if refused:
            self._record_error(f"Postgres refused a row: {refused[0][1]}")
        self._count(written, len(refused))
        if written.kept:
            await self._settle_known(rows, written)
        return [data for data, _ in refused]

    async def _settle_known(self, rows: Sequence[bytes], written: Written) -> None:
        # A reaper found the real row: that is what the lease is to be settled with.
        reaped = {row.request_id for row in map(read_row, rows) if row is not None and row.estimated_why == "reaped"}
        if known := [request_id for request_id in written.kept if request_id in reaped]:
            # What was there may be another reaper's estimate: a lease settled with that takes no real row any more.
            real = [row for row in await find_rows(self._pool, known) if row.estimated_why != "reaped"]
            if real:
                await self._on_late(real)

    def _count(self, written: Written, refused: int) -> None:
        self._on_event("batch", 1)
        counts: tuple[tuple[Event, int], ...] = (
            ("written", written.inserted),
            ("replaced", written.replaced),
            ("known", len(written.kept)),
            ("refused", refused),
        )
        for what, count in counts:
            if count:
                self._on_event(what, count)

    def set_aside(self, lines: Sequence[bytes]) -> None:
        """Lines that are no rows."""
        for line in lines:
            log.error("journal_line_not_understood", bytes=len(line))
            self._on_event("refused", 1)
            rejected_rows.set_aside_or_log(self._folder, line)
