"""The relay that holds back answers, in front of a server that sends back what it gets."""

import asyncio

from loadtests.bench.relay import Relay


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(100):
        writer.write(data)
    writer.close()


async def test_answers_keep_their_order_when_the_delay_becomes_shorter() -> None:
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)
    async with server, Relay(server.sockets[0].getsockname()[1]) as relay:
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        relay.delay_s = 0.3
        writer.write(b"held back, ")
        while not relay.held_back:
            await asyncio.sleep(0.001)
        relay.delay_s = 0.0
        writer.write(b"then sent")

        assert await reader.readexactly(20) == b"held back, then sent"
        writer.close()
