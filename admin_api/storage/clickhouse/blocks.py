"""Sends entries of the ledger to ClickHouse, in blocks."""

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Final

from admin_api.storage.clickhouse.entries import COLUMNS, TABLE
from admin_api.storage.clickhouse.link import TIMEOUT_S, ClickHouseFailed

if TYPE_CHECKING:
    from admin_api.storage.clickhouse.link import ClickHouse
    from gateway.storage.postgres import Executor

# Of an INSERT: each makes a part of the table that has to be merged, so not too small.
BLOCK_BYTES: Final = 16 * 1024 * 1024


class Blocks:
    """Puts what is read of many times together. `count` is how many entries were read; `flush` sends what is no whole
    block."""

    def __init__(self, clickhouse: "ClickHouse") -> None:
        self.count = 0
        self._clickhouse = clickhouse
        self._waiting = bytearray()
        self._failure: BaseException | None = None

    async def read(self, executor: "Executor", statement: str, start: datetime, end: datetime) -> None:
        """What READ_ENTRIES or READ_SUMS reads of a time. Raises ClickHouseFailed."""
        await executor.copy_from_query(statement, start, end, output=self.take, format="text", timeout=TIMEOUT_S)
        if self._failure is not None:
            raise self._failure

    async def take(self, chunk: bytes) -> None:
        """Some bytes of a COPY. What fails is raised after its end: the connection could not be used again before."""
        if self._failure is not None:
            return
        self.count += chunk.count(b"\n")
        self._waiting += chunk
        if len(self._waiting) >= BLOCK_BYTES:
            try:
                await self._send(self._waiting.rfind(b"\n") + 1)
            except (ClickHouseFailed, asyncio.CancelledError) as exc:
                self._failure = exc

    async def flush(self) -> None:
        """Sends the rest. Raises ClickHouseFailed."""
        if self._waiting:
            await self._send(len(self._waiting))

    async def _send(self, size: int) -> None:
        block = bytes(self._waiting[:size])
        del self._waiting[:size]
        await self._clickhouse.insert(TABLE, COLUMNS, block)
