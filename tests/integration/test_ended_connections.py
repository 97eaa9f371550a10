"""A server announces the end of a connection before closing it: its use in between counts as an outage."""

import asyncio
from urllib.parse import urlsplit

import pytest
from conftest import Database
from gateways import wait_until

from gateway.storage import failures
from gateway.storage.postgres import Pool, new_pool


class KeepsOpen:
    """A proxy of Postgres: it relays data but not the end of a connection until `close`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.ended = 0
        self._may_end = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._port)
        there = asyncio.ensure_future(self._hand_on(reader, to_server))
        await self._hand_on(from_server, writer)
        self.ended += 1
        await self._may_end.wait()
        writer.close()
        await asyncio.wait((there,))
        to_server.close()

    async def _hand_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
        except ConnectionError:
            return

    def close(self) -> None:
        """Relays the end of connections from now on."""
        self._may_end.set()


async def test_a_connection_terminated_by_the_server_counts_as_an_outage(database: Database, pool: Pool) -> None:
    there = urlsplit(database.app_url)
    between = KeepsOpen(there.port or 5432)
    async with await asyncio.start_server(between, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        url = there._replace(netloc=f"{there.username}:{there.password}@127.0.0.1:{port}").geturl()
        async with new_pool(url, size=1) as through:
            ended = await through.fetchval("SELECT pg_backend_pid()")
            await pool.execute("SELECT pg_terminate_backend($1)", ended)

            async def is_reported() -> bool:
                return between.ended == 1

            await wait_until(is_reported, "the end of the connection")
            with pytest.raises(failures.POSTGRES_FAILED) as raised:
                await through.fetchval("SELECT 1")
            between.close()

            async def is_back() -> bool:
                try:
                    return bool(await through.fetchval("SELECT pg_backend_pid()") != ended)
                except failures.POSTGRES_FAILED:
                    return False

            await wait_until(is_back, "another connection")

    assert isinstance(raised.value, failures.UNAVAILABLE)
    assert failures.explain(raised.value)
