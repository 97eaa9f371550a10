"""A TCP relay that holds back answers: by how much later a call ends, one sees how often its caller waits for them."""

import asyncio
from collections import deque
from typing import Self


class Relay:
    """In front of a server on loopback; `delay_s` may change while it runs. Answers keep their order and overlap."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.delay_s = 0.0
        self.held_back = 0  # answers
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._target)
        try:
            await asyncio.gather(_copy(reader, server_writer), self._copy_late(server_reader, writer))
        except OSError:
            pass  # one side has gone
        finally:
            server_writer.close()
            writer.close()

    async def _copy_late(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        held: deque[bytes] = deque()

        def pass_on_oldest() -> None:
            # Whichever timer is first: a delay that has become shorter lets nothing overtake.
            self.held_back -= 1
            if data := held.popleft():
                writer.write(data)
            else:
                writer.close()

        due = 0.0
        while True:
            held.append(await reader.read(1 << 16))
            self.held_back += 1
            due = max(due, loop.time() + self.delay_s)
            loop.call_at(due, pass_on_oldest)
            if not held[-1]:
                return


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
    writer.close()
