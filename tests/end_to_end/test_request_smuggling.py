"""Requests that servers may parse differently (request smuggling): over raw sockets to a real worker with LiteLLM.

Whatever is answered: nothing but a plain call of the caller's own model reaches a model, nothing is a 5xx, nothing is
left in Redis, and there is a row for each call that a model server received.
"""

import asyncio
import json
import socket
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from callers import Caller, MakeCaller
from gateways import GatewayThread, Ledger, RedisState, UpstreamLog

from gateway.domain.keys import new_key

pytestmark = pytest.mark.timeout(300)
CHAT = b"/v1/chat/completions"
STEAL = b"GET /key/list HTTP/1.1\r\nhost: x\r\n\r\n"


@dataclass(frozen=True)
class Request:
    """What a case builds its bytes of: `body` is a chat whose mark tells the case."""

    key: bytes
    body: bytes

    @property
    def auth(self) -> bytes:
        return b"host: x\r\nauthorization: Bearer " + self.key + b"\r\ncontent-type: application/json\r\n"

    def post(self, *fields: bytes, body: bytes | None = None, line: bytes = b"POST " + CHAT + b" HTTP/1.1") -> bytes:
        """With a content-length of its own unless a field has one."""
        body = self.body if body is None else body
        known = any(f.lower().startswith((b"content-length", b"transfer-encoding")) for f in fields)
        own = () if known else (b"content-length: %d" % len(body),)
        return line + b"\r\n" + self.auth + b"".join(f + b"\r\n" for f in (*own, *fields)) + b"\r\n" + body

    def to(self, target: bytes, method: bytes = b"POST") -> bytes:
        return self.post(line=method + b" " + target + b" HTTP/1.1")

    def chunked(self, *chunks: bytes, fields: tuple[bytes, ...] = ()) -> bytes:
        return self.post(b"transfer-encoding: chunked", *fields, body=b"".join(chunks))

    def chunk(self, extension: bytes = b"") -> bytes:
        return b"%x%s\r\n%s\r\n" % (len(self.body), extension, self.body)


Build = Callable[[Request], bytes]
END = b"0\r\n\r\n"
# name: (what is sent, whether one plain call may come of it)
CASES: dict[str, tuple[Build, bool]] = {
    # One message, two lengths.
    "CL and TE": (lambda r: r.post(b"content-length: %d" % len(r.body), b"transfer-encoding: chunked"), False),
    "TE and CL, CL short": (lambda r: r.chunked(r.chunk(), END + STEAL, fields=(b"content-length: 4",)), False),
    "two CLs that differ": (lambda r: r.post(b"content-length: %d" % len(r.body), b"content-length: 0"), False),
    "two CLs that agree": (lambda r: r.post(*[b"content-length: %d" % len(r.body)] * 2), True),
    "CL in a list": (lambda r: r.post(b"content-length: %d, %d" % (len(r.body), len(r.body))), False),
    "CL with a plus": (lambda r: r.post(b"content-length: +%d" % len(r.body)), False),
    "CL below nothing": (lambda r: r.post(b"content-length: -1"), False),
    "CL in hexadecimal": (lambda r: r.post(b"content-length: 0x%x" % len(r.body)), False),
    "CL beyond numbers": (lambda r: r.post(b"content-length: " + b"9" * 40), False),
    "CL with a space before the colon": (lambda r: r.post(b"content-length : %d" % len(r.body)), False),
    "CL with a tab in its name": (lambda r: r.post(b"content-length\t: %d" % len(r.body)), False),
    "CL short, a request behind": (lambda r: r.post(b"content-length: 2", body=b"{}" + STEAL), False),
    "CL 0, a request behind": (lambda r: r.post(b"content-length: 0", body=STEAL), False),
    "no length at all": (lambda r: b"POST " + CHAT + b" HTTP/1.1\r\n" + r.auth + b"\r\n" + STEAL, False),
    "TE unknown": (lambda r: r.post(b"transfer-encoding: gzip", body=r.chunk() + END), False),
    "TE obscured": (lambda r: r.post(b"transfer-encoding: xchunked", body=r.chunk() + END), False),
    "TE not last": (lambda r: r.post(b"transfer-encoding: chunked, identity", body=r.chunk() + END), False),
    "TE twice": (lambda r: r.chunked(r.chunk(), END, fields=(b"transfer-encoding: identity",)), False),
    "TE with a vertical tab": (lambda r: r.post(b"transfer-encoding: \x0bchunked", body=r.chunk() + END), False),
    "TE with a space before the colon": (lambda r: r.post(b"transfer-encoding : chunked", body=r.chunk() + END), False),
    "TE on a folded line": (lambda r: r.post(b"transfer-encoding:\r\n chunked", body=r.chunk() + END), True),
    "TE in capitals": (lambda r: r.post(b"TRANSFER-ENCODING: CHUNKED", body=r.chunk() + END), True),
    "TE in HTTP/1.0": (
        lambda r: r.post(b"transfer-encoding: chunked", body=r.chunk() + END, line=b"POST " + CHAT + b" HTTP/1.0"), True
    ),
    # Chunks.
    "chunks": (lambda r: r.chunked(r.chunk(), END), True),
    "chunk with an extension": (lambda r: r.chunked(r.chunk(b";a=b"), END), True),
    "chunk with a bare LF": (lambda r: r.chunked(r.chunk().replace(b"\r\n", b"\n", 1), END), False),
    "chunk with an LF in its extension": (lambda r: r.chunked(r.chunk(b";a\n"), END + STEAL), False),
    "chunk of a size beyond numbers": (lambda r: r.chunked(b"f" * 17 + b"\r\n" + r.body, END), False),
    "chunk of a size below nothing": (lambda r: r.chunked(b"-1\r\n", END), False),
    "chunk of a size with 0x": (lambda r: r.chunked(b"0x%x\r\n%s\r\n" % (len(r.body), r.body), END), False),
    "chunk longer than it says": (lambda r: r.chunked(b"2\r\n" + r.body + b"\r\n", END), False),
    "chunks with trailers": (lambda r: r.chunked(r.chunk(), b"0\r\nauthorization: Bearer x\r\nx-a: b\r\n\r\n"), True),
    "chunks and a request behind": (lambda r: r.chunked(r.chunk(), END, STEAL), True),
    # Lines.
    "bare LFs": (lambda r: r.post().replace(b"\r\n", b"\n"), False),
    "bare CRs": (lambda r: r.post().replace(b"\r\n", b"\r"), False),
    "a field folded": (lambda r: r.post(b"x-a: b\r\n folded: c"), True),
    "a field without a name": (lambda r: r.post(b": b"), False),
    "a field without a colon": (lambda r: r.post(b"nothing"), False),
    "a NUL in a field": (lambda r: r.post(b"x-a: b\0c"), False),
    "a NUL in a name": (lambda r: r.post(b"x\0a: b"), False),
    "a CR in a field": (lambda r: r.post(b"x-a: b\rx-litellm-tags: c"), False),
    "a space before the first field": (lambda r: b"POST " + CHAT + b" HTTP/1.1\r\n " + r.auth + b"\r\n", False),
    "blank lines before": (lambda r: b"\r\n\r\n" + r.post(), True),
    "a first line with more": (lambda r: r.post(line=b"POST " + CHAT + b" HTTP/1.1 x"), False),
    "HTTP/0.9": (lambda r: b"GET /v1/models\r\n\r\n", False),
    "HTTP/1.9": (lambda r: r.post(line=b"POST " + CHAT + b" HTTP/1.9"), False),
    "HTTP/2": (lambda r: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0", False),
    "h2c": (lambda r: r.post(b"connection: upgrade, http2-settings", b"upgrade: h2c", b"http2-settings: AAM"), True),
    "an upgrade to a WebSocket": (
        lambda r: r.post(b"connection: upgrade", b"upgrade: websocket", b"sec-websocket-version: 13"), True
    ),
    "TLS": (lambda r: b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + b"\0" * 200, False),
    "nothing but bytes": (lambda r: bytes(range(256)) * 4, False),
    "a method nobody knows": (lambda r: r.post(line=b"STEAL " + CHAT + b" HTTP/1.1"), False),
    "a method in small letters": (lambda r: r.post(line=b"post " + CHAT + b" HTTP/1.1"), False),
    "TRACE": (lambda r: r.to(CHAT, b"TRACE"), False),
    "CONNECT": (lambda r: b"CONNECT 127.0.0.1:1 HTTP/1.1\r\n" + r.auth + b"\r\n", False),
    # Where to.
    "absolute form": (lambda r: r.to(b"http://other" + CHAT), True),
    "absolute form to another route": (lambda r: r.to(b"http://x/key/generate"), False),
    "absolute form with a user": (lambda r: r.to(b"http://a:b@x/key/generate"), False),
    "authority form": (lambda r: r.to(b"x:80"), False),
    "asterisk form": (lambda r: r.to(b"*", b"OPTIONS"), False),
    "no slash": (lambda r: r.to(b"v1/chat/completions"), False),
    "a fragment": (lambda r: r.to(CHAT + b"#/key/generate"), True),
    "a query with a fragment": (lambda r: r.to(CHAT + b"?a#?model=other"), True),
    "a query of bytes": (lambda r: r.to(CHAT + b"?%ff%00=%0d%0a"), True),
    "a path of bytes": (lambda r: r.to(b"/v1/chat/completions\xff"), False),
    "a path with a NUL": (lambda r: r.to(CHAT + b"%00"), False),
    "a path with CRLF": (lambda r: r.to(b"/v1%0d%0ax-a:%20b/chat/completions"), False),
    "a path of 60 KB": (lambda r: r.to(b"/" + b"a" * 60_000), False),
    "dots": (lambda r: r.to(b"/v1/chat/completions/../../../key/generate"), False),
    "escaped dots": (lambda r: r.to(b"/v1/chat/completions/%2e%2e/%2e%2e/%2e%2e/key/generate"), False),
    "escaped slashes": (lambda r: r.to(b"/v1%2fchat%2fcompletions"), True),
    "backslashes": (lambda r: r.to(b"\\v1\\chat\\completions"), False),
    "two slashes": (lambda r: r.to(b"//v1//chat//completions"), False),
    "a slash behind": (lambda r: r.to(CHAT + b"/"), False),
    "a parameter behind": (lambda r: r.to(CHAT + b";jsessionid=1"), False),
    "capitals": (lambda r: r.to(b"/V1/Chat/Completions"), False),
    "escaped letters": (lambda r: r.to(b"/v1/%63hat/completions"), True),
    "escaped twice": (lambda r: r.to(b"/v1/%2563hat/completions"), False),
    # Who for.
    "two hosts": (lambda r: r.post(b"host: y"), True),
    "no host": (lambda r: r.post().replace(b"host: x\r\n", b""), True),
    "another path in a field": (lambda r: r.post(b"x-original-url: /key/list", b"x-rewrite-url: /key/list"), True),
    "another method": (lambda r: r.post(b"x-http-method-override: DELETE"), True),
    "hop by hop authorization": (lambda r: r.post(b"connection: authorization, x-litellm-call-id"), True),
    "two keys": (lambda r: r.post(b"x-api-key: " + new_key().encode()), False),
    "another service's key": (lambda r: r.post(b"x-api-key: sk-other"), True),
    "a key twice": (lambda r: r.post(b"authorization: Bearer " + r.key), True),
    "basic": (lambda r: r.post().replace(b"Bearer", b"Basic"), False),
    "the key in the query": (lambda r: b"POST " + CHAT + b"?api_key=" + r.key + b" HTTP/1.1\r\nhost: x\r\n\r\n", False),
    "expect": (lambda r: r.post(b"expect: 100-continue"), True),
    "expect something else": (lambda r: r.post(b"expect: 200-ok"), True),
    "range": (lambda r: r.post(b"range: bytes=0-10"), True),
    # What it says it is.
    "gzip": (lambda r: r.post(b"content-encoding: gzip", body=b"\x1f\x8b\x08\0\0\0\0\0\0\x03"), False),
    "UTF-16": (lambda r: r.post(body=r.body.decode().encode("utf-16")), False),
    "UTF-7": (lambda r: r.post(body=r.body.replace(b'"model"', b'"+AG0-odel"')), False),
    "a BOM": (lambda r: r.post(body=b"\xef\xbb\xbf" + r.body), True),
    "overlong letters": (lambda r: r.post(body=r.body.replace(b"demo", b"\xc1\xa4emo")), False),
    "an escaped key": (lambda r: r.post(body=r.body.replace(b'"model"', b'"\\u006dodel"')), True),
    "a lone surrogate": (lambda r: r.post(body=r.body.replace(b"Hello", b"\\ud800")), True),
    "NaN": (lambda r: r.post(body=r.body[:-1] + b', "temperature": NaN}'), False),
    "1e999": (lambda r: r.post(body=r.body[:-1] + b', "temperature": 1e999}'), False),
    "1e999 within": (lambda r: r.post(body=r.body[:-1] + b', "logit_bias": {"1": [-1E+9999]}}'), False),
    "1e999 in a text": (lambda r: r.post(body=r.body.replace(b"Hello", rb'1e999 \"1e999')), True),
    "a thousand digits": (lambda r: r.post(body=r.body[:-1] + b', "seed": ' + b"9" * 1000 + b"}"), False),
    "a second object": (lambda r: r.post(body=r.body + r.body), False),
    "a comment": (lambda r: r.post(body=r.body[:-1] + b"/*x*/}"), False),
    "a form": (lambda r: r.post(body=b"model=demo-chat&messages=x"), False),
}  # fmt: skip


@pytest.fixture
async def caller(make: MakeCaller) -> Caller:
    made = await make("demo-chat")
    await made.limit("concurrency", 50)
    return made


@pytest.fixture(scope="module")
def port(gateway: GatewayThread) -> int:
    return gateway.port


def say(port: int, data: bytes) -> bytes:
    """All that is answered, until nothing more comes for a moment. Blocks."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        answer = b""
        try:
            connection.sendall(data)
            while piece := connection.recv(65536):
                answer += piece
                connection.settimeout(0.5)
        except OSError:
            pass
        return answer


async def test_ambiguous_requests_reach_only_permitted_models(
    caller: Caller, port: int, upstream_log: UpstreamLog, ledger: Ledger, redis_state: RedisState
) -> None:
    assert len(CASES) >= 100
    before = await upstream_log.count()
    answers: dict[str, bytes] = {}

    async def ask(number: int, name: str) -> None:
        prompt = f"Hello [tokens=1] [mark=hostile-{caller.key_id}-{number}]"
        body = json.dumps({"model": "demo-chat", "messages": [{"role": "user", "content": prompt}]}).encode()
        answers[name] = await asyncio.to_thread(say, port, CASES[name][0](Request(caller.key.encode(), body)))

    names = list(CASES)
    for start in range(0, len(names), 8):
        await asyncio.gather(*(ask(n, names[n]) for n in range(start, min(start + 8, len(names)))))
    await redis_state.wait_until_settled(caller.account_id)

    received = 0
    for number, (name, (_, may_pass)) in enumerate(CASES.items()):
        statuses = [int(part[:3]) for part in answers[name].split(b"HTTP/1.1 ")[1:]]
        calls = await upstream_log.calls(mark=f"hostile-{caller.key_id}-{number}")
        assert all(status < 500 for status in statuses), (name, answers[name])
        assert len(calls) <= may_pass, (name, calls)
        assert {call["model"] for call in calls} <= {"demo-chat"}, name
        # A request behind is answered by us, or not at all.
        assert b"litellm" not in answers[name].lower(), name
        received += len(calls)
    # Each model server's call is one of these, and each has its row.
    assert await upstream_log.count() - before == received
    rows = await ledger.rows(caller.account_id, received)
    assert {row["model_asked"] for row in rows} == {"demo-chat"}
    assert received > 15
