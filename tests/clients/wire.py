"""A relay between an SDK and a gateway: passes every byte on and counts the requests that really came."""

import asyncio
import re
from time import monotonic
from types import TracebackType
from typing import Final, Self

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_WAIT: Final = re.compile(rb"\r\nretry-after(-ms)?: *(\d+)(?=\r\n)", re.IGNORECASE)


class Wire:
    """Listens at `url` as long as the block lasts."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open: set[asyncio.StreamWriter] = set()
        self.url = ""
        # Since the last `clear()`: when each request was whole here, and the waits that the answers stated.
        self.arrivals: list[float] = []
        self.stated_s: list[float] = []

    def clear(self) -> None:
        self.arrivals, self.stated_s = [], []

    @property
    def tries(self) -> int:
        return len(self.arrivals)

    @property
    def pauses_s(self) -> list[float]:
        """Between one try and the next."""
        return [later - earlier for earlier, later in zip(self.arrivals, self.arrivals[1:], strict=False)]

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for writer in list(self._open):
            writer.close()
        while self._open:
            await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_gateway, to_gateway = await asyncio.open_connection("127.0.0.1", self._port)
        self._open.add(writer)
        answering = asyncio.ensure_future(self._pass_answers(from_gateway, writer))
        try:
            await self._pass_requests(reader, to_gateway)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the caller is done
        finally:
            to_gateway.close()
            await answering
            writer.close()
            self._open.remove(writer)

    async def _pass_requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            body = await reader.readexactly(int(length[1])) if length else b""
            self.arrivals.append(monotonic())
            writer.write(head + body)
            await writer.drain()

    async def _pass_answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(2**16):
                # The gateway writes the head of an answer at once, and a piece this large holds all of it.
                if waits := {bool(in_ms): int(wait) for in_ms, wait in _WAIT.findall(piece)}:
                    self.stated_s.append(waits[True] / 1000 if True in waits else waits[False])
                writer.write(piece)
                await writer.drain()
        except ConnectionError:
            pass  # one of the two has hung up
