"""Requests that offer an upgrade nobody takes, as Java's HttpClient does over http://: served like any other."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
from callers import Caller
from gateways import GatewayThread, Ledger, RedisState

from gateway.web.ignored_upgrades import head_without_upgrade

JDK: Final = json.loads((Path(__file__).parents[1] / "clients" / "recorded" / "jdk.json").read_text())
BODY: Final[bytes] = JDK["body"].encode()


def jdk_head(caller: Caller, *, without: str = "", more: str = "") -> bytes:
    """What the JDK sends, with the caller's key; without a line, and with lines of the test's own."""
    head: str = JDK["head"].replace("(secret)", caller.key)
    lines = [line for line in head.split("\r\n")[:-2] if not (without and line.lower().startswith(without))]
    return "\r\n".join([*lines, *([more] if more else []), "", ""]).encode()


class Connection:
    """One connection to the gateway."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def answer(self) -> tuple[int, Any]:
        """Status and body of the next answer."""
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)).lower()
        if b"content-length:" in head:
            size = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
            body = await self.reader.readexactly(size)
        else:
            body = b""
            while size := int(await self.reader.readline(), 16):
                body += await self.reader.readexactly(size)
                await self.reader.readline()
            await self.reader.readline()
        return int(head.split(b" ", 2)[1]), json.loads(body)


@pytest.fixture
async def connection(gateway: GatewayThread) -> AsyncIterator[Connection]:
    opened = Connection(*await asyncio.open_connection("127.0.0.1", gateway.port))
    yield opened
    opened.writer.close()
    await opened.writer.wait_closed()


async def test_d4_a_jdk_client_is_served_and_its_connection_kept(
    caller: Caller, connection: Connection, ledger: Ledger
) -> None:
    for _ in range(2):
        connection.writer.write(jdk_head(caller) + BODY)
        status, answer = await connection.answer()
        assert (status, answer["object"]) == (200, "chat.completion")
    connection.writer.write(
        f"GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {caller.key}\r\n\r\n".encode()
    )
    assert (await connection.answer())[0] == 200

    assert [row["status"] for row in await ledger.rows(caller.account_id, 2)] == [200, 200]


@pytest.mark.parametrize("pieces", ["head, body", "bytes", "chunked", "two at once"])
async def test_d4_the_body_may_arrive_in_any_way(pieces: str, caller: Caller, connection: Connection) -> None:
    head, answers = jdk_head(caller), 1
    sent = [head, BODY]
    if pieces == "bytes":
        sent = [(head + BODY)[n : n + 1] for n in range(len(head + BODY))]
    elif pieces == "chunked":
        chunked = jdk_head(caller, without="content-length", more="transfer-encoding: chunked")
        sent = [chunked, b"%x\r\n" % len(BODY) + BODY + b"\r\n", b"0\r\n\r\n"]
    elif pieces == "two at once":
        sent, answers = [(head + BODY) * 2], 2
    for piece in sent:
        connection.writer.write(piece)
        await connection.writer.drain()
        await asyncio.sleep(0.02 if len(sent) < 5 else 0)

    assert [(await connection.answer())[0] for _ in range(answers)] == [200] * answers


@pytest.mark.parametrize(
    "more",
    ["transfer-encoding: chunked", "content-length: 5", "content-length: 1e2", "transfer-encoding: x, chunked, y"],
)
async def test_d4_the_length_of_the_body_is_judged_again(
    more: str, caller: Caller, connection: Connection, redis_state: RedisState
) -> None:
    connection.writer.write(jdk_head(caller, more=more) + BODY)
    status = await asyncio.wait_for(connection.reader.readuntil(b"\r\n"), 10)

    assert status == b"HTTP/1.1 400 Bad Request\r\n"
    assert await redis_state.open_leases(caller.account_id) == []


def test_d4_only_the_offer_of_an_upgrade_leaves_the_head() -> None:
    headers = [
        (b"host", b"x"),
        (b"connection", b"keep-alive, Upgrade"),
        (b"connection", b"HTTP2-Settings"),
        (b"upgrade", b"h2c"),
        (b"upgrade", b"foo/2"),
        (b"http2-settings", b"AAEA"),
        (b"content-length", b"5"),
        (b"content-length", b"6"),
        (b"x-upgrade", b"y"),
    ]

    head = head_without_upgrade(b"POST", b"/v1/chat?a=%20", "1.1", headers)

    assert head == (
        b"POST /v1/chat?a=%20 HTTP/1.1\r\nhost: x\r\nconnection: keep-alive\r\n"
        b"content-length: 5\r\ncontent-length: 6\r\nx-upgrade: y\r\n\r\n"
    )
