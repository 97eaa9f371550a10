"""A TCP relay for each link that can be cut."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Self


class Link:
    """Listens at `host`:`port` and connects to the same port of 127.0.0.1. While it is cut nothing passes, either way:
    connections stay open and silent, and new ones get no answer, as where a network is split."""

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_whole = asyncio.Event()
        self._is_whole.set()

    async def open(self) -> None:
        host, port = self._address
        self._server = await asyncio.start_server(self._serve, host, port)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        self._is_whole.clear()

    def mend(self) -> None:
        """What was sent meanwhile arrives now, as a network sends it again."""
        self._is_whole.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            await self._is_whole.wait()
            there, back = await asyncio.open_connection("127.0.0.1", self._address[1])
            try:
                await asyncio.gather(self._pass_on(reader, back), self._pass_on(there, writer))
            finally:
                back.close()
        except (OSError, asyncio.CancelledError):
            pass  # one side has gone, or all is over
        finally:
            writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(2**16):
                await self._is_whole.wait()
                writer.write(data)
                await writer.drain()
            await self._is_whole.wait()
        writer.close()


class Links:
    """Those of one program to several servers."""

    def __init__(self, host: str, ports: Iterable[int]) -> None:
        self.host = host
        self._links = [Link(host, port) for port in ports]

    async def __aenter__(self) -> Self:
        for link in self._links:
            await link.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        for link in self._links:
            await link.close()

    def cut(self) -> None:
        for link in self._links:
            link.cut()

    def mend(self) -> None:
        for link in self._links:
            link.mend()
