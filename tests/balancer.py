"""A load balancer of TCP that asks for readiness, as those before containers do."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Final

import aiohttp

from deploy.embedded.programs import Program

LOOK_S: Final = 0.5


class Balancer:
    """Sends each connection to the next program that was ready at the last look."""

    def __init__(self, programs: Iterable[Program], *, timeout_s: float = 2) -> None:
        """One that does not answer a look within `timeout_s` gets no connections."""
        self._programs = list(programs)
        self._timeout_s = timeout_s
        self._ready: list[Program] = []
        self._turn = 0
        self.without_program = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Its address."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**16)
        looking = asyncio.ensure_future(self._keep_looking())
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            looking.cancel()
            server.close()

    def add(self, program: Program) -> None:
        """It gets connections once it is ready."""
        self._programs.append(program)

    def remove(self, program: Program) -> None:
        """It gets no new connections from now on."""
        self._programs.remove(program)
        self._ready = [one for one in self._ready if one is not program]

    async def _keep_looking(self) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=self._timeout_s)) as http:
            while True:
                looked_at = list(self._programs)
                answers = await asyncio.gather(*(_is_ready(http, one.url) for one in looked_at))
                seen = [one for one, is_ready in zip(looked_at, answers, strict=True) if is_ready]
                self._ready = [one for one in seen if one in self._programs]
                await asyncio.sleep(LOOK_S)

    async def has_all(self) -> bool:
        return len(self._ready) == len(self._programs)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._ready:
            self.without_program += 1
            writer.close()
            return
        for _ in range(len(self._ready)):
            self._turn += 1
            program = self._ready[self._turn % len(self._ready)]
            try:
                there, back = await asyncio.open_connection("127.0.0.1", program.port)
            except OSError:
                continue  # it has ended since; nothing was sent, so the next one may have the connection
            await asyncio.gather(_pass_on(reader, back), _pass_on(there, writer))
            return
        writer.close()


async def _is_ready(http: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with http.get(f"{url}/health/ready") as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()
    writer.close()
