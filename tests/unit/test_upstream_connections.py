"""What happens between and around calls: which connection is used, how many there are, and when they end."""

import asyncio
import socket
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import pytest
from certificates import Certificate
from scripted_upstream import CHUNKED, GOOD, OK, Then, all_of, call, scripted_upstream, upstream_at

from gateway.tls import TlsFiles
from gateway.upstream.client import Timeouts, Upstream
from gateway.upstream.connection import MAX_HELD
from gateway.upstream.connections import RECEIVED_AT_ONCE
from gateway.upstream.failures import UpstreamBroken, UpstreamSilent, UpstreamUnreachable


async def test_one_call_after_another_uses_one_connection() -> None:
    async with scripted_upstream([GOOD]) as server:
        upstream = upstream_at(server.url)
        for _ in range(5):
            assert await call(upstream) == (200, b"good")
        assert server.connections == 1
        await upstream.close()


async def test_a_request_is_sent_as_it_was_given() -> None:
    async with scripted_upstream([GOOD]) as server:
        upstream = Upstream(
            server.url + "/base/",
            api_key="sk-u",
            timeouts=Timeouts(connect_s=1, first_byte_s=1, idle_s=1),
            connections=1,
        )
        answer = await upstream.send("/v1/responses/a b%2Fc", {"x-call": "é"}, b'{"a":1}')
        await all_of(answer)
        answer.close()
        answer = await upstream.send("/v1/models", {}, b"", method="GET")
        await all_of(answer)
        answer.close()
        await upstream.close()
    host = server.url.removeprefix("http://").encode()
    own = b"host: " + host + b"\r\nauthorization: Bearer sk-u\r\naccept-encoding: identity\r\n"
    assert [request[1:] for request in server.requests] == [
        (
            b"POST /base/v1/responses/a%20b%2Fc HTTP/1.1\r\n" + own + b"x-call: \xe9\r\ncontent-length: 7\r\n\r\n",
            b'{"a":1}',
        ),
        (b"GET /base/v1/models HTTP/1.1\r\n" + own + b"\r\n", b""),
    ]


@pytest.mark.parametrize("value", ["a\r\nx-other: b", "a\nb", "a\rb", "a\0b"])
async def test_no_header_can_begin_another(value: str) -> None:
    async with scripted_upstream([GOOD]) as server:
        upstream = upstream_at(server.url)
        with pytest.raises(ValueError, match="control character"):
            await upstream.send("/v1/x", {"x-call": value}, b"{}")
        assert server.requests == []
        await upstream.close()


@pytest.mark.parametrize(("says", "is_kept"), [(b"", True), (b"keep-alive: max=9, timeout=1\r\n", False)])
async def test_a_connection_is_not_used_after_the_server_said_it_would_close(says: bytes, is_kept: bool) -> None:
    async with scripted_upstream([OK + says + b"content-length: 4\r\n\r\ngood"]) as server:
        upstream = upstream_at(server.url)
        await call(upstream)
        await asyncio.sleep(0.1)
        await call(upstream)
        assert server.connections == (1 if is_kept else 2)
        await upstream.close()


async def test_idle_connections_are_closed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.upstream.connections.KEEP_ALIVE_S", 0.3)
    async with scripted_upstream([GOOD]) as server:
        upstream = upstream_at(server.url, idle_s=1.0)
        await asyncio.gather(*[call(upstream) for _ in range(4)])
        assert (server.connections, server.ended) == (4, 0)
        await asyncio.sleep(0.6)
        assert server.ended == 4
        await call(upstream)
        assert server.connections == 5
        await upstream.close()


async def test_at_most_so_many_connections_and_who_waits_first_is_served_first() -> None:
    order: list[int] = []
    async with scripted_upstream([0.02, GOOD]) as server:
        upstream = upstream_at(server.url, connections=2)

        async def numbered(number: int) -> None:
            assert await call(upstream) == (200, b"good")
            order.append(number)

        tasks = []
        for number in range(12):
            tasks.append(asyncio.create_task(numbered(number)))
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)
        assert server.connections == 2
        # Two are served at a time, so neighbours may finish in either order.
        assert all(abs(number - place) <= 1 for place, number in enumerate(order))
        await upstream.close()


async def test_those_in_line_are_served_whatever_becomes_of_the_calls_before_them() -> None:
    async with scripted_upstream([Then.WAIT_FOR_CLIENT], [OK, Then.RESET], [Then.CLOSE], [GOOD]) as server:
        upstream = upstream_at(server.url, connections=1)
        hanging = asyncio.create_task(call(upstream))
        await asyncio.sleep(0.05)
        broken = [asyncio.create_task(call(upstream)) for _ in range(2)]
        leaves = [asyncio.create_task(call(upstream)) for _ in range(3)]
        stays = [asyncio.create_task(call(upstream)) for _ in range(3)]
        await asyncio.sleep(0.05)
        for task in [*leaves, hanging]:
            task.cancel()
        for task in broken:
            with pytest.raises(UpstreamBroken):
                await task
        assert await asyncio.wait_for(asyncio.gather(*stays), 5) == [(200, b"good")] * 3
        assert server.connections == 4
        await upstream.close()


async def test_calls_that_are_cancelled_at_any_moment_leave_no_connection_taken() -> None:
    """A place that leaks would make the last call wait for ever."""
    async with scripted_upstream([0.001, OK + b"content-length: 4\r\n\r\ngo", 0.001, b"od"]) as server:
        upstream = upstream_at(server.url, connections=3)
        for turns in range(120):
            tasks = [asyncio.create_task(call(upstream)) for _ in range(6)]
            for _ in range(turns):
                await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert await asyncio.wait_for(asyncio.gather(*[call(upstream) for _ in range(9)]), 5) == [(200, b"good")] * 9
        await upstream.close()


async def test_who_leaves_the_line_just_as_it_is_their_turn_takes_nothing_along() -> None:
    async with scripted_upstream([CHUNKED, Then.WAIT_FOR_CLIENT], [GOOD]) as server:
        upstream = upstream_at(server.url, connections=1)
        for _ in range(3):
            first = await upstream.send("/v1/x", {}, b"{}")
            leaves = asyncio.create_task(call(upstream))
            await asyncio.sleep(0.05)
            first.close()
            leaves.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leaves
        assert await asyncio.wait_for(call(upstream), 3) == (200, b"good")
        await upstream.close()


async def test_waiting_in_line_ends_in_time() -> None:
    async with scripted_upstream([CHUNKED, Then.WAIT_FOR_CLIENT], [GOOD]) as server:
        upstream = upstream_at(server.url, connections=1, first_byte_s=0.3)
        first = await upstream.send("/v1/x", {}, b"{}")
        with pytest.raises(UpstreamSilent):
            await call(upstream)
        first.close()
        assert await call(upstream) == (200, b"good")
        assert server.connections == 2
        await upstream.close()


async def test_leaving_before_the_end_closes_the_connection_and_the_server_sees_it() -> None:
    async with scripted_upstream([CHUNKED + b"1\r\na\r\n", Then.WAIT_FOR_CLIENT], [Then.WAIT_FOR_CLIENT]) as server:
        upstream = upstream_at(server.url)
        answer = await upstream.send("/v1/x", {}, b"{}")
        assert await answer.read() == b"a"
        answer.close()
        answer.close()
        with pytest.raises(UpstreamBroken):
            await answer.read()
        task = asyncio.create_task(call(upstream))
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.sleep(0.1)
        assert server.ended == 2
        await upstream.close()


async def test_nobody_listening_and_no_such_name_are_unreachable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        upstream = upstream_at(f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(UpstreamUnreachable):
            await call(upstream)
        await upstream.close()
    upstream = upstream_at("http://nothing.invalid:1")
    with pytest.raises(UpstreamUnreachable):
        await call(upstream)
    await upstream.close()


async def test_a_connection_that_is_not_taken_is_waited_for_as_long_as_was_set() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        upstream = upstream_at(f"http://127.0.0.1:{port}")
        with pytest.raises(UpstreamUnreachable, match="set time"):
            await upstream.send("/v1/x", {}, b"{}", connect_s=0.2)
        for filler in fillers:
            filler.close()
        await upstream.close()


async def test_a_names_next_address_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name whose first address refuses, then one whose addresses take turns."""
    async with scripted_upstream([GOOD], host="127.0.0.1") as server:
        port = int(server.url.rpartition(":")[2])
        addresses = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in ("127.0.0.9", "127.0.0.1")]
        asked = count()

        async def resolve(*_: object, **__: object) -> list[object]:
            next(asked)
            return list(addresses)

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
        upstream = upstream_at(f"http://two.test:{port}", connections=4)
        await asyncio.gather(*[call(upstream) for _ in range(4)])
        assert server.connections == 4
        assert next(asked) <= 4
        await upstream.close()


async def test_a_name_is_resolved_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.upstream.connections.RESOLVED_FOR_S", 0.1)
    closing = OK + b"connection: close\r\ncontent-length: 4\r\n\r\n"
    async with scripted_upstream([closing + b"good"]) as old, scripted_upstream([closing + b"here"]) as new:
        loop, servers = asyncio.get_running_loop(), [old, new]

        async def resolve(*_: object, **__: object) -> list[object]:
            port = int(servers[0].url.rpartition(":")[2])
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

        monkeypatch.setattr(loop, "getaddrinfo", resolve)
        upstream = upstream_at("http://moved.test:80")
        assert await call(upstream) == (200, b"good")
        servers.pop(0)
        assert await call(upstream) == (200, b"good")
        await asyncio.sleep(0.15)
        assert await call(upstream) == (200, b"here")
        await upstream.close()


async def test_ipv6() -> None:
    async with scripted_upstream([GOOD], host="::1") as server:
        port = server.url.rpartition(":")[2]
        upstream = upstream_at(f"http://[::1]:{port}")
        assert await call(upstream) == (200, b"good")
        assert b"host: [::1]:" + port.encode() in server.requests[0][1]
        await upstream.close()


async def test_a_caller_who_does_not_read_holds_the_upstream_up() -> None:
    sent = 0
    piece = b"a" * 65_536
    head = OK + b"content-length: %d\r\n\r\n" % (400 * len(piece))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        raw: socket.socket = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        writer.write(head)
        for _ in range(400):
            writer.write(piece)
            await writer.drain()
            sent += len(piece)
        writer.close()
        await writer.wait_closed()
        ended.set()

    ended = asyncio.Event()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    upstream = upstream_at(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    answer = await upstream.send("/v1/x", {}, b"", method="GET")
    await asyncio.sleep(0.5)
    # Both kernels' buffers, ours, and what one read of a socket gives.
    assert sent < 4 * 65_536 + 4 * RECEIVED_AT_ONCE + MAX_HELD + 256_000
    assert len(await all_of(answer)) == 400 * len(piece)
    answer.close()
    await upstream.close()
    await ended.wait()
    server.close()


class SlowBody:
    """A stored body: `pieces`, and how many of them were asked for."""

    content_type = "application/octet-stream"

    def __init__(self, pieces: int, *, fails: bool = False) -> None:
        self.size = pieces * 65_536
        self._pieces = pieces
        self._fails = fails
        self.given = 0

    async def chunks(self) -> AsyncIterator[bytes | memoryview]:
        for _ in range(self._pieces):
            if self._fails and self.given == 2:
                raise OSError("the disk is gone")
            self.given += 1
            yield b"b" * 65_536
            await asyncio.sleep(0)


async def test_a_stored_body_is_sent_whole() -> None:
    async with scripted_upstream([GOOD]) as server:
        upstream = upstream_at(server.url)
        answer = await upstream.send("/v1/x", {"content-type": "text/plain"}, SlowBody(20))
        assert await all_of(answer) == b"good"
        answer.close()
        await call(upstream)
        assert server.connections == 1
        assert server.requests[0][2] == b"b" * 20 * 65_536
        assert b"content-type: application/octet-stream\r\n" in server.requests[0][1]
        assert b"text/plain" not in server.requests[0][1]
        await upstream.close()


async def test_a_server_that_does_not_read_holds_the_body_up_and_may_answer_before_its_end() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.3)
        writer.write(b"HTTP/1.1 413 X\r\ncontent-length: 5\r\n\r\nlarge")
        await writer.drain()
        await may_end.wait()
        writer.transport.abort()
        ended.set()

    may_end, ended = asyncio.Event(), asyncio.Event()
    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1024)
    upstream = upstream_at(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    body = SlowBody(2_000)
    answer = await upstream.send("/v1/x", {}, body)
    assert (answer.status, await all_of(answer)) == (413, b"large")
    given = body.given
    assert given < 1_000
    answer.close()
    await asyncio.sleep(0.1)
    assert body.given == given
    await upstream.close()
    may_end.set()
    await ended.wait()
    server.close()


async def test_a_body_that_cannot_be_read_breaks_the_call() -> None:
    async with scripted_upstream([GOOD]) as server:
        upstream = upstream_at(server.url)
        with pytest.raises(UpstreamBroken, match="disk is gone"):
            await upstream.send("/v1/x", {}, SlowBody(20, fails=True))
        assert await call(upstream) == (200, b"good")
        await upstream.close()


async def test_a_private_authority_is_trusted_where_it_is_named_only(tmp_path: Path) -> None:
    certificate = Certificate(tmp_path)
    timeouts = Timeouts(connect_s=2, first_byte_s=2, idle_s=2)
    async with scripted_upstream([GOOD], tls=certificate.context) as server:
        trusting = Upstream(
            server.url, api_key="sk-u", timeouts=timeouts, connections=2, tls=TlsFiles(ca=certificate.file)
        )
        assert await call(trusting) == (200, b"good")
        assert await call(trusting) == (200, b"good")
        assert server.connections == 1
        await trusting.close()
        for upstream in (
            Upstream(server.url, api_key="sk-u", timeouts=timeouts, connections=2),
            Upstream(
                server.url.replace("127.0.0.1", "localhost"),
                api_key="sk-u",
                timeouts=timeouts,
                connections=2,
                tls=TlsFiles(ca=certificate.file),
            ),
        ):
            with pytest.raises(UpstreamUnreachable):
                await call(upstream)
            await upstream.close()


async def test_closing_ends_calls_that_are_under_way() -> None:
    async with scripted_upstream([Then.WAIT_FOR_CLIENT]) as server:
        upstream = upstream_at(server.url)
        task = asyncio.create_task(call(upstream))
        await asyncio.sleep(0.05)
        await upstream.close()
        with pytest.raises(UpstreamBroken):
            await task
        await asyncio.sleep(0.05)
        assert server.ended == 1
