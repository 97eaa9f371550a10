"""Writes a file of rows into the ledger: those that were refused, or a journal that was found."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from gateway.storage.ledger.batches import write_batch
from gateway.storage.ledger.journal_lines import check_line, line_of
from gateway.storage.ledger.rejected_rows import keep_only, read_whole

if TYPE_CHECKING:
    from gateway.storage.postgres import Pool

BATCH: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """The result by rows: `refused` has the reasons of Postgres, `damaged` counts lines that are not rows."""

    written: int
    replaced: int
    known: int
    refused: tuple[str, ...]
    damaged: int


async def replay_file(pool: "Pool", path: Path, *, keep: bool) -> Replay:
    """Rows that are there already change nothing. What is in the ledger is taken out of the file afterwards, unless
    `keep`. Raises OSError, NotTakenOut, and what Postgres raises when it does not answer: nothing is taken out then."""
    # Held open to the end: what another replay puts in its place is another file.
    with await asyncio.to_thread(path.open, "rb" if keep else "r+b") as file:
        return await _replay(pool, path, file, keep=keep)


async def _replay(pool: "Pool", path: Path, file: IO[bytes], *, keep: bool) -> Replay:
    data = await asyncio.to_thread(read_whole, file)
    rows: list[bytes] = []
    damaged: list[bytes] = []
    for line in data.splitlines():
        row = check_line(line)
        if row is not None:
            rows.append(row)
        elif not line.startswith(b"#"):
            damaged.append(line + b"\n")
    written = replaced = known = 0
    refused: list[tuple[bytes, str]] = []
    for start in range(0, len(rows), BATCH):
        done, not_taken = await write_batch(pool, rows[start : start + BATCH])
        written, replaced, known = written + done.inserted, replaced + done.replaced, known + len(done.kept)
        refused += not_taken
    if not keep:
        left = [*(line_of(row) for row, _ in refused), *damaged]
        await asyncio.to_thread(keep_only, path, file, left, seen=len(data))
    return Replay(
        written=written,
        replaced=replaced,
        known=known,
        refused=tuple(cause for _, cause in refused),
        damaged=len(damaged),
    )
