"""Batches of one writer, one after another, each of which looks whether the one before is still in the ledger.

Postgres loses commits only from the end: an asynchronous replica that is promoted, a backup or a snapshot that is
restored. So a row of the batch before shows that all before it are there; and it is asked for by the same statement
that writes the next batch, so that nothing can hide the gap.
"""

from collections.abc import Callable, Sequence
from time import monotonic
from typing import TYPE_CHECKING

from gateway.storage.ledger.batches import Refused, write_batch
from gateway.storage.ledger.journal_lines import read_row
from gateway.storage.ledger.rows import Mark, Written, find_missing

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool


class Chain:
    """Of one task: batches of two that write at the same time have no order. `on_lost` is called when the batch before
    is not there any more. After `keep_s` it is not looked for: nothing could bring it back then, and retention may have
    dropped it."""

    def __init__(self, pool: "Pool", *, keep_s: float, on_lost: Callable[[], None]) -> None:
        self._pool = pool
        self._keep_s = keep_s
        self._on_lost = on_lost
        self._marks: Sequence[Mark] = ()
        self._committed_at = 0.0

    @property
    def marks(self) -> Sequence[Mark]:
        """Rows of the last batch, at least one of each of its transactions."""
        return self._marks if monotonic() - self._committed_at < self._keep_s else ()

    async def write(self, rows: Sequence[bytes]) -> tuple[Written, list[Refused]]:
        """As write_batch."""
        marks = self.marks
        written, refused = await write_batch(self._pool, rows, marks[0] if marks else None)
        is_one_transaction = written.inserted == len(rows)
        is_lost = written.is_lost
        if marks and not is_lost and not (is_one_transaction and len(marks) == 1):
            is_lost = bool(await find_missing(self._pool, marks))
        if self._keep_s > 0:
            self._note(rows if not is_one_transaction else rows[-1:], {data for data, _ in refused})
        if is_lost:
            self._on_lost()
        return written, refused

    def _note(self, rows: Sequence[bytes], refused: set[bytes]) -> None:
        if marks := marks_of([data for data in rows if data not in refused]):
            self._marks, self._committed_at = marks, monotonic()


def marks_of(rows: Sequence[bytes]) -> list[Mark]:
    """Of rows as JSON, but for those that this version does not understand."""
    found = [row for row in map(read_row, rows) if row is not None]
    return [Mark(row.request_id, row.estimated_why != "reaped") for row in found]
