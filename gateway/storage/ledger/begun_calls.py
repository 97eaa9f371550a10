"""Calls under way, in a file of fixed slots beside the journal.

A call is written into a slot before anything of it goes upstream, and the slot is free when its row is safe. So the
worker that adopts the journal of one that died finds the calls it had begun, even if Redis has lost them. `pwrite()`
survives a kill of the process. It is one write a call: a free slot is overwritten by the next call, or cleared soon
after. A slot that was not cleared yet does no harm, because an estimate never replaces a row.
"""

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING, Final
from uuid import UUID
from zlib import crc32

import structlog

from gateway.domain.ids import milliseconds_of
from gateway.domain.usage_rows import UsageRow
from gateway.storage.counters.layout import Lease

if TYPE_CHECKING:
    from gateway.storage.counters.scripts import Estimate

log = structlog.get_logger(__name__)

HEAD: Final = b"# litemaas begun calls 1\n"
# The first slot is the head's. A note with the longest name of a model fits.
SLOT_BYTES: Final = 2048
SLOTS_AT_ONCE: Final = 64
# Length of the note, ids of call and account, prompt and completion tokens, nano-USD. The note follows, then a CRC-32.
_CALL: Final = Struct("<H16s4q")
_CRC_BYTES: Final = 4
_EMPTY: Final = bytes(_CALL.size)
# More nano-USD than any limit; a larger estimate is written as this.
MAX_COST: Final = 2**53


class BegunCalls:
    """This worker's. Without a file they are kept in memory, and written when there is one; `on_trouble` is called with
    what the disk refused."""

    def __init__(self, on_trouble: Callable[[OSError], None] = lambda _: None) -> None:
        self._on_trouble = on_trouble
        self._path: Path | None = None
        self._file = -1
        # Slot and content, by the request id's number: hashing a UUID takes longer.
        self._calls: dict[int, tuple[int, bytes]] = {}
        # Those that were used last come first: under load they are overwritten before they are cleared.
        self._free: list[int] = []
        self._uncleared: set[int] = set()
        self._used = self._allocated = 0
        self._is_synced = True

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def is_open(self) -> bool:
        """Whether the disk took what was written last."""
        return self._file >= 0

    def is_at(self, path: Path) -> bool:
        """Whether they are written there."""
        return self.is_open and self._path == path

    def open(self, path: Path) -> None:
        """Starts a file with the calls that are under way, in place of one that is there. Raises OSError."""
        self.close()
        new = path.with_name(f"{path.name}.new")
        file = os.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            slots = (len(self._calls) // SLOTS_AT_ONCE + 1) * SLOTS_AT_ONCE
            os.posix_fallocate(file, 0, (1 + slots) * SLOT_BYTES)
            _write(file, HEAD, 0)
            for slot, (number, (_, data)) in enumerate(list(self._calls.items()), 1):
                self._calls[number] = (slot, data)
                _write(file, data, slot)
            new.rename(path)
        except OSError:
            os.close(file)
            with suppress(OSError):
                new.unlink()
            raise
        self._free, self._uncleared = [], set()
        self._used, self._allocated = len(self._calls), slots
        self._path, self._file, self._is_synced = path, file, False

    def write(self, request_id: UUID, account_id: int, estimate: "Estimate", note: bytes) -> None:
        """A call that is about to begin. Does not fail: its lease covers it, too."""
        self._write(self._take_slot(), request_id, account_id, estimate, note)

    def update(self, request_id: UUID, account_id: int, estimate: "Estimate", note: bytes) -> None:
        """A call under way is expected to take more; nothing, if its row is safe."""
        if (call := self._calls.get(request_id.int)) is not None:
            self._write(call[0], request_id, account_id, estimate, note)

    def _write(self, slot: int, request_id: UUID, account_id: int, estimate: "Estimate", note: bytes) -> None:
        (prompt, completion, _), (prompt_cost, completion_cost, _) = estimate.tokens, estimate.cost
        cost = prompt_cost + completion_cost
        if cost > MAX_COST:
            cost = MAX_COST
        data = _CALL.pack(len(note), request_id.bytes, account_id, prompt, completion, cost) + note
        data += crc32(data).to_bytes(_CRC_BYTES, "little")
        self._calls[request_id.int] = (slot, data)
        if self._file >= 0:
            try:
                _write(self._file, data, slot)
            except OSError as exc:
                self._fail(exc)
            self._is_synced = False

    def _take_slot(self) -> int:
        if self._free:
            slot = self._free.pop()
            self._uncleared.discard(slot)
            return slot
        if self._used == self._allocated and self._file >= 0:
            try:
                os.posix_fallocate(self._file, (1 + self._allocated) * SLOT_BYTES, SLOTS_AT_ONCE * SLOT_BYTES)
                self._allocated += SLOTS_AT_ONCE
            except OSError as exc:
                self._fail(exc)
        self._used += 1
        return self._used

    def ended(self, rows: Iterable[UsageRow]) -> None:
        """These rows are safe. Those of other calls than these are ignored."""
        for row in rows:
            if (call := self._calls.pop(row.request_id.int, None)) is not None:
                self._free.append(call[0])
                self._uncleared.add(call[0])

    def clear(self) -> None:
        """Empties the slots of calls that have ended."""
        while self._uncleared and self._file >= 0:
            slot = self._uncleared.pop()
            try:
                _write(self._file, _EMPTY, slot)
            except OSError as exc:
                self._fail(exc)
            self._is_synced = False

    async def sync(self) -> None:
        """What was written is safe from a power loss then. Raises OSError if that is to be tried again."""
        if self._is_synced or self._file < 0:
            return
        # A copy: the file may be replaced while it is being synced.
        file = os.dup(self._file)
        self._is_synced = True
        try:
            await asyncio.to_thread(os.fdatasync, file)
        except OSError as exc:
            self._fail(exc)
        finally:
            os.close(file)

    def _fail(self, cause: OSError) -> None:
        self.close()
        self._on_trouble(cause)

    def close(self) -> None:
        """Leaves the file where it is. May be called twice."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def remove(self) -> None:
        """No call is under way."""
        self.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def _write(file: int, data: bytes, slot: int) -> None:
    if len(data) > SLOT_BYTES:
        # Not understood when it is read: better than to damage the next one.
        data = data[:SLOT_BYTES]
    if os.pwrite(file, data, slot * SLOT_BYTES) < len(data):
        raise OSError("the disk is full")


def read_begun(path: Path) -> list[tuple[int, Lease]]:
    """The calls in a file of a worker that is gone, with their accounts; none if there is no file. Raises OSError."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    return list(_read_slots(path.name, data))


def _read_slots(name: str, data: bytes) -> Iterator[tuple[int, Lease]]:
    for start in range(SLOT_BYTES, len(data), SLOT_BYTES):
        slot = data[start : start + _CALL.size]
        if len(slot) < _CALL.size or slot == _EMPTY:
            continue
        length, request_id, account_id, prompt, completion, nano_usd = _CALL.unpack(slot)
        end = start + _CALL.size + length
        if crc32(data[start:end]).to_bytes(_CRC_BYTES, "little") != data[end : end + _CRC_BYTES]:
            # A power loss, or a version that writes more.
            log.error("begun_call_damaged", file=name, slot=start // SLOT_BYTES)
            continue
        call_id = UUID(bytes=request_id)
        yield (
            account_id,
            Lease(
                request_id=call_id,
                start_ms=milliseconds_of(call_id),
                prompt_tokens=prompt,
                completion_tokens=completion,
                nano_usd=nano_usd,
                note=data[start + _CALL.size : end],
            ),
        )
