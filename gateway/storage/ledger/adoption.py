"""Writes the journals of workers that are gone, and an estimate of each call that they had begun."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

import structlog

from gateway.domain.usage_rows import UsageRow
from gateway.storage.failures import POSTGRES_FAILED, cause_of
from gateway.storage.ledger.journal import Journal
from gateway.storage.ledger.journal_files import HEAD, READ_ROWS, Adopted
from gateway.storage.ledger.journal_lines import encode_row, line_of, read_row
from gateway.storage.ledger.reaped_rows import estimated_rows

log = structlog.get_logger(__name__)


class Adoption:
    """Of one worker; the arguments are those of LedgerWriter, and what it does with rows and damaged lines."""

    def __init__(
        self,
        journal: Journal,
        *,
        write: Callable[[Sequence[bytes]], Awaitable[object]],
        set_aside: Callable[[Sequence[bytes]], None],
        on_late: Callable[[Sequence[UsageRow]], Awaitable[None]],
        on_begun: Callable[[Sequence[UsageRow]], Awaitable[None]] | None,
        on_event: Callable[[Literal["begun"], int], None],
    ) -> None:
        self._journal = journal
        self._write = write
        self._set_aside = set_aside
        self._on_late = on_late
        self._on_begun = on_begun
        self._on_event = on_event
        self.bytes_left = 0

    async def adopt_all(self) -> None:
        """Writes the journals of all workers that are gone; one that cannot be written does not hold up others."""
        tried: frozenset[str] = frozenset()
        left = 0
        while (adopted := self._adopt(tried)) is not None:
            tried |= {adopted.name}
            try:
                await self._write_adopted(adopted)
            except BaseException as exc:
                left += adopted.size_bytes
                adopted.leave()
                if not isinstance(exc, POSTGRES_FAILED):
                    raise
                log.warning("journal_not_adopted", worker=adopted.name, cause=cause_of(exc))
        self.bytes_left = left

    def _adopt(self, tried: frozenset[str]) -> Adopted | None:
        try:
            return self._journal.adopt(but=tried)
        except OSError as exc:
            log.error("journal_not_readable", folder=str(self._journal.folder), cause=str(exc))
            return None

    async def _write_adopted(self, adopted: Adopted) -> None:
        rows = 0
        for chunk in adopted.chunks():
            await self._write(chunk.rows)
            self._set_aside(chunk.damaged)
            # Another reaper closes the leases of estimates: a real row may still come for them.
            found = [row for row in map(read_row, chunk.rows) if row is not None]
            await self._on_late([row for row in found if row.estimated_why != "reaped"])
            rows += len(chunk.rows)
        begun = await self._write_begun(adopted)
        adopted.remove()
        log.warning("journal_adopted", worker=adopted.name, rows=rows, begun=begun)

    async def _write_begun(self, adopted: Adopted) -> int:
        """An estimate of each call that was under way; those that have a row keep it."""
        rows = estimated_rows(adopted.begun())
        for start in range(0, len(rows), READ_ROWS):
            batch = rows[start : start + READ_ROWS]
            encoded = [encode_row(row) for row in batch]
            await self._write(encoded)
            # They were in no journal.
            adopted.kept.write(adopted.name, HEAD + b"".join(map(line_of, encoded)))
            self._on_event("begun", len(batch))
            if self._on_begun is not None:
                await self._on_begun(batch)
        return len(rows)
