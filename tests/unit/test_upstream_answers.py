"""Every kind of answer that RFC 9112 knows, legal and illegal, from a server that sends just these bytes."""

import asyncio

import pytest
from scripted_upstream import CHUNKED, GOOD, OK, Step, Then, all_of, call, scripted_upstream, upstream_at

from gateway.upstream.connection import MAX_HEAD, MAX_INTERIM_ANSWERS
from gateway.upstream.failures import UpstreamBroken, UpstreamSilent

LEGAL: dict[str, tuple[list[Step], int, bytes, bool]] = {
    "length": ([OK + b"content-length: 2\r\n\r\nok"], 200, b"ok", True),
    "no body": ([OK + b"content-length: 0\r\n\r\n"], 200, b"", True),
    "byte by byte": ([bytes([byte]) for byte in GOOD], 200, b"good", True),
    "chunked": ([CHUNKED + b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"], 200, b"abc", True),
    "chunked byte by byte": ([bytes([byte]) for byte in CHUNKED + b"2\r\nab\r\n0\r\n\r\n"], 200, b"ab", True),
    "chunk sizes with zeros": ([CHUNKED + b"0A\r\n0123456789\r\n000\r\n\r\n"], 200, b"0123456789", True),
    "chunk extensions": ([CHUNKED + b'2;a=b;c="d"\r\nab\r\n0;e\r\n\r\n'], 200, b"ab", True),
    "trailers": ([CHUNKED + b"2\r\nab\r\n0\r\nx-u: w\r\nx-t: v\r\n\r\n"], 200, b"ab", True),
    "coding in upper case": ([OK + b"Transfer-Encoding: CHUNKED\r\n\r\n1\r\na\r\n0\r\n\r\n"], 200, b"a", True),
    "ended by closing": ([OK + b"\r\nabc", b"def", Then.CLOSE], 200, b"abcdef", False),
    "ended by closing at once": ([OK + b"\r\n", Then.CLOSE], 200, b"", False),
    "connection: close": ([OK + b"connection: close\r\ncontent-length: 2\r\n\r\nok"], 200, b"ok", False),
    "closed after a whole answer": ([GOOD, Then.CLOSE], 200, b"good", False),
    "reset after a whole answer": ([GOOD, 0.05, Then.RESET], 200, b"good", False),
    "HTTP/1.0": ([b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok"], 200, b"ok", False),
    "HTTP/1.0 kept": ([b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok"], 200, b"ok", True),
    "204": ([b"HTTP/1.1 204 No Content\r\n\r\n"], 204, b"", True),
    "304 with the length of what is not sent": ([b"HTTP/1.1 304 X\r\ncontent-length: 9\r\n\r\n"], 304, b"", True),
    "an empty line after it": ([GOOD + b"\r\n"], 200, b"good", True),
    "an empty line later": ([GOOD, 0.05, b"\r\n"], 200, b"good", False),
    "no reason phrase": ([b"HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nok"], 200, b"ok", True),
    "reason phrase of other bytes": ([b"HTTP/1.1 200 \xc3\xa9\xff\r\ncontent-length: 2\r\n\r\nok"], 200, b"ok", True),
    "empty lines before it": ([b"\r\n\r\n" + GOOD], 200, b"good", True),
    "field values of other bytes": ([OK + b"x: \xff\xfe\r\ncontent-length: 2\r\n\r\nok"], 200, b"ok", True),
    "empty field value": ([OK + b"x:\r\ncontent-length:2\r\n\r\nok"], 200, b"ok", True),
    "100 and 103 before it": (
        [b"HTTP/1.1 100 X\r\n\r\nHTTP/1.1 103 X\r\nlink: a\r\ncontent-length: 5\r\n\r\n", GOOD], 200, b"good", True,
    ),
    "an upgrade that was not asked for": (
        [OK + b"connection: upgrade\r\nupgrade: h2c\r\ncontent-length: 1\r\n\r\na"], 200, b"a", True,
    ),
    "a status that nobody knows": ([b"HTTP/1.1 799 X\r\ncontent-length: 1\r\n\r\na"], 799, b"a", True),
    "an error": ([b"HTTP/1.1 503 X\r\ncontent-length: 1\r\n\r\na"], 503, b"a", True),
}  # fmt: skip

ILLEGAL: dict[str, list[Step]] = {
    "no HTTP": [b"<html>hello</html>\r\n\r\n"],
    "ICY": [b"ICY 200 OK\r\n\r\n"],
    "status below 100": [b"HTTP/1.1 99 X\r\ncontent-length: 1\r\n\r\na"],
    "status of two digits": [b"HTTP/1.1 20 X\r\ncontent-length: 1\r\n\r\na"],
    "length and chunked": [OK + b"content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"],
    "chunked and length": [OK + b"transfer-encoding: chunked\r\ncontent-length: 1\r\n\r\n1\r\na\r\n0\r\n\r\n"],
    "two lengths": [OK + b"content-length: 1\r\ncontent-length: 2\r\n\r\nab"],
    "a list of lengths": [OK + b"content-length: 1, 2\r\n\r\nab"],
    "a negative length": [OK + b"content-length: -1\r\n\r\na"],
    "a length with a sign": [OK + b"content-length: +1\r\n\r\na"],
    "a length of hex": [OK + b"content-length: 0x1\r\n\r\na"],
    "a length beyond 2^64": [OK + b"content-length: 99999999999999999999\r\n\r\na"],
    "a coding that is not chunked": [OK + b"transfer-encoding: gzip\r\n\r\na", Then.CLOSE],
    "chunked within a coding": [OK + b"transfer-encoding: chunked, gzip\r\n\r\na", Then.CLOSE],
    "a coding within chunked": [OK + b"transfer-encoding: gzip, chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"],
    "two lines of codings": [OK + b"transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"],
    "lines that end with LF": [b"HTTP/1.1 200 OK\ncontent-length: 1\n\na"],
    "a folded field": [OK + b"x: a\r\n b\r\ncontent-length: 1\r\n\r\na"],
    "a space before the colon": [OK + b"content-length : 1\r\n\r\na"],
    "NUL in a value": [OK + b"x: a\0b\r\ncontent-length: 1\r\n\r\na"],
    "CR in a value": [OK + b"x: a\rb\r\ncontent-length: 1\r\n\r\na"],
    "a field without a name": [OK + b": a\r\ncontent-length: 1\r\n\r\na"],
    "a chunk size that is no number": [CHUNKED + b"zz\r\nab\r\n0\r\n\r\n"],
    "an empty chunk size": [CHUNKED + b"\r\nab\r\n0\r\n\r\n"],
    "a negative chunk size": [CHUNKED + b"-1\r\nab\r\n0\r\n\r\n"],
    "a chunk size beyond 2^64": [CHUNKED + b"fffffffffffffffff\r\nab"],
    "a chunk longer than its size": [CHUNKED + b"1\r\nab\r\n0\r\n\r\n"],
    "chunk lines that end with LF": [CHUNKED + b"1\na\n0\n\n"],
    "101": [b"HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"],
    "101 without an upgrade": [b"HTTP/1.1 101 X\r\n\r\n" + GOOD],
    "interim answers without end": [b"HTTP/1.1 100 X\r\n\r\n" * (MAX_INTERIM_ANSWERS + 1) + GOOD],
    "a length among the trailers": [CHUNKED + b"1\r\na\r\n0\r\ncontent-length: 9\r\n\r\n"],
    "a head that is too large": [OK + b"x: " + b"a" * MAX_HEAD + b"\r\n\r\n"],
    "many fields that are too large": [OK + b"x: aaaaaaaa\r\n" * (MAX_HEAD // 8) + b"content-length: 0\r\n\r\n"],
    "a field without end": [OK + b"x: ", *[b"a" * 16_384] * 8, Then.WAIT_FOR_CLIENT],
    "a chunk extension without end": [CHUNKED + b"1;", *[b"a" * 16_384] * 8, Then.WAIT_FOR_CLIENT],
    "trailers without end": [CHUNKED + b"1\r\na\r\n0\r\n", *[b"x: " + b"a" * 16_384] * 8, Then.WAIT_FOR_CLIENT],
    "nothing, closed": [Then.CLOSE],
    "nothing, reset": [Then.RESET],
    "half a status line": [b"HTTP/1.1 2", Then.CLOSE],
    "half a head": [OK + b"content-le", Then.CLOSE],
    "a head, reset": [OK + b"content-length: 4\r\n\r\n", 0.05, Then.RESET],
    "less than its length": [OK + b"content-length: 4\r\n\r\nabc", Then.CLOSE],
    "less than its length, reset": [OK + b"content-length: 4\r\n\r\nabc", 0.05, Then.RESET],
    "half a chunk": [CHUNKED + b"4\r\nabc", Then.CLOSE],
    "no last chunk": [CHUNKED + b"4\r\nabcd\r\n", Then.CLOSE],
    "no end of the last chunk": [CHUNKED + b"4\r\nabcd\r\n0\r\n", Then.CLOSE],
    "ended by a reset": [OK + b"\r\nabc", 0.05, Then.RESET],
    "only an interim answer": [b"HTTP/1.1 100 Continue\r\n\r\n", Then.CLOSE],
}  # fmt: skip


@pytest.mark.parametrize(("script", "status", "body", "is_kept"), LEGAL.values(), ids=LEGAL)
async def test_a_legal_answer_is_read_as_it_is(script: list[Step], status: int, body: bytes, is_kept: bool) -> None:
    async with scripted_upstream(script, [GOOD]) as server:
        upstream = upstream_at(server.url)
        assert await call(upstream) == (status, body)
        await asyncio.sleep(0.1)
        assert await call(upstream) == (200, b"good")
        assert server.connections == (1 if is_kept else 2)
        await upstream.close()


@pytest.mark.parametrize("script", ILLEGAL.values(), ids=ILLEGAL)
async def test_an_illegal_answer_breaks_the_call_and_its_connection(script: list[Step]) -> None:
    async with scripted_upstream(script, [GOOD]) as server:
        upstream = upstream_at(server.url)
        with pytest.raises(UpstreamBroken):
            await call(upstream)
        assert await call(upstream) == (200, b"good")
        assert server.connections == 2
        await upstream.close()


@pytest.mark.parametrize(
    "rest",
    [GOOD, b"garbage", b"HTTP/1.1 500 X\r\ncontent-length: 3\r\n\r\nbad", b"\r\n\r\nHTTP/1.1 5", b"\0"],
    ids=["an answer", "garbage", "an error", "half an answer", "NUL"],
)
@pytest.mark.parametrize("pause_s", [0.0, 0.05], ids=["at once", "later"])
async def test_what_follows_an_answer_is_nobodys(rest: bytes, pause_s: float) -> None:
    other = OK + b"content-length: 5\r\n\r\nother"
    first: list[Step] = [GOOD, pause_s, rest] if pause_s else [GOOD + rest]
    async with scripted_upstream(first, [other]) as server:
        upstream = upstream_at(server.url)
        assert await call(upstream) == (200, b"good")
        await asyncio.sleep(0.15)
        assert await call(upstream) == (200, b"other")
        assert server.connections == 2
        await upstream.close()


async def test_what_came_before_a_break_is_read_first() -> None:
    async with scripted_upstream([CHUNKED + b"3\r\nabc\r\n", 0.05, Then.RESET]) as server:
        upstream = upstream_at(server.url)
        answer = await upstream.send("/v1/x", {}, b"{}")
        assert await answer.read() == b"abc"
        with pytest.raises(UpstreamBroken):
            await answer.read()
        answer.close()
        await upstream.close()


async def test_headers_are_found_by_name_in_lower_case_and_lists_are_joined() -> None:
    head = OK + b"X-Cost: 1.5\r\nVia: a\r\nvia: b\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx-trailer: 1\r\n\r\n"
    async with scripted_upstream([b"HTTP/1.1 103 X\r\nx-early: 1\r\n\r\n" + head]) as server:
        upstream = upstream_at(server.url)
        answer = await upstream.send("/v1/x", {}, b"{}")
        assert answer.headers == {"x-cost": "1.5", "via": "a, b", "transfer-encoding": "chunked"}
        answer.close()
        await upstream.close()


async def test_silence_before_and_within_an_answer_ends_it() -> None:
    async with scripted_upstream([Then.WAIT_FOR_CLIENT], [CHUNKED + b"1\r\na\r\n", Then.WAIT_FOR_CLIENT]) as server:
        upstream = upstream_at(server.url, first_byte_s=0.2, idle_s=0.2)
        with pytest.raises(UpstreamSilent):
            await call(upstream)
        with pytest.raises(UpstreamSilent):
            await call(upstream)
        await asyncio.sleep(0.1)
        assert server.ended == 2
        await upstream.close()


async def test_a_slow_reader_is_no_silence_of_the_upstream() -> None:
    async with scripted_upstream([CHUNKED + b"1\r\na\r\n", 0.5, b"1\r\nb\r\n0\r\n\r\n"]) as server:
        upstream = upstream_at(server.url, idle_s=0.3)
        answer = await upstream.send("/v1/x", {}, b"{}")
        assert await answer.read() == b"a"
        await asyncio.sleep(0.6)
        assert await all_of(answer) == b"b"
        answer.close()
        await upstream.close()
