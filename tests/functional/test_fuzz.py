"""Random requests: no 5xx, no lease left open, and a ledger row for each forwarded call.

`make fuzz` sends 5,000 of them; LITEMAAS_TEST_REQUESTS sets how many.
"""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator

import pytest
from callers import Caller, MakeCaller
from gateways import GatewayThread, Ledger, RedisState, StartGateway
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recording_upstream import RecordingUpstream

from gateway.endpoints.registry import ENDPOINTS

REQUESTS = int(os.environ.get("LITEMAAS_TEST_REQUESTS", "300"))
# An answer of every endpoint but speech.
ANSWER = json.dumps(
    {"choices": [], "output": [], "content": [], "data": [], "results": [], "text": "a", "input_tokens": 3}
    | {"id": "x", "usage": {"prompt_tokens": 3, "completion_tokens": 4}}
).encode()
NAMES = (
    "model", "messages", "prompt", "input", "query", "documents", "stream", "n", "max_tokens", "max_completion_tokens",
    "max_output_tokens", "stream_options", "metadata", "tools", "system", "content", "role", "text", "type",
    "temperature", "stop", "user", "api_base", "fallbacks", "include_usage", "background", "top_n", "best_of",
)  # fmt: skip
WORDS = ("demo-chat", "user", "text", "image_url", "file", "mcp", "", "auto", "\u0000", "🙂", "true", "data:,AAAA")

# One kind of body goes to every endpoint: without these most would be refused for a field of another endpoint.
OPENED = ",".join(f"{endpoint.name}:{name}" for endpoint in ENDPOINTS for name in ("messages", "input", "max_tokens"))

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(WORDS), st.text(max_size=40),
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.sampled_from(NAMES), st.text(max_size=8)), inner, max_size=5),
    ),
    max_leaves=25,
)
usual = st.just([{"role": "user", "content": "Hello"}])
messages = st.one_of(
    usual, st.lists(st.fixed_dictionaries({"role": st.sampled_from(WORDS), "content": values}), max_size=3)
)
bodies = st.builds(
    lambda asked, more: {"model": "demo-chat"} | asked | more,
    st.fixed_dictionaries(
        {"messages": messages, "input": st.one_of(st.just("Hello"), values), "max_tokens": st.integers(1, 50)},
        optional={"prompt": values, "query": st.text()},
    ),
    st.one_of(st.just({}), st.dictionaries(st.sampled_from(NAMES), values, max_size=4)),
).map(lambda body: json.dumps(body).encode())


@st.composite
def torn(draw: st.DrawFn) -> bytes:
    """A truncated or corrupted body."""
    body = draw(bodies)
    at = draw(st.integers(0, len(body)))
    piece = draw(st.one_of(st.binary(max_size=12), st.sampled_from((b"", b"\\", b'"', b"{", b"]", b"\xff", b"1e999"))))
    return body[:at] + piece + body[at + draw(st.integers(0, 8)) :]


FIELDS = (b"x-a", b"content-type", b"content-encoding", b"connection", b"expect", b"transfer-encoding", b"te", b"host")
VALUES = (b"chunked", b"gzip", b"close", b"100-continue", b"application/json", b"multipart/form-data; boundary=x")
QUERIES = (b"", b"", b"", b"", b"?a=b", b"?model=x", b"?%6d%6f%64el=x", b"/", b"%00")
fields = st.lists(
    st.tuples(st.sampled_from(FIELDS), st.one_of(st.sampled_from(VALUES), st.binary(max_size=20))), max_size=2
)
paths = st.one_of(
    st.sampled_from([e.path for e in ENDPOINTS]),
    st.sampled_from(("/v1/models", "/v1/models/x", "/v1/limits", "/", "*")),
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A whole request; `KEY` is replaced by the key."""
    if draw(st.integers(0, 15)) == 0:
        return draw(st.binary(min_size=1, max_size=300)) + b"\r\n\r\n"
    body = draw(st.one_of(bodies, bodies, torn()))
    path = draw(paths).encode() + draw(
        st.one_of(st.just(b""), st.sampled_from((b"?a=b", b"?model=x", b"?%6d%6f%64el=x", b"/", b"%00")))
    )
    method = draw(st.sampled_from((b"POST", b"POST", b"POST", b"POST", b"GET", b"PUT", b"OPTIONS")))
    head = b"%s %s HTTP/1.1\r\nhost: x\r\nauthorization: Bearer KEY\r\ncontent-length: %d\r\n" % (
        method,
        path,
        len(body),
    )
    return head + b"".join(b"%s: %s\r\n" % field for field in draw(fields)) + b"\r\n" + body


@pytest.fixture
async def upstream() -> AsyncIterator[RecordingUpstream]:
    async with RecordingUpstream() as server:
        server.answer(ANSWER)
        server.answer_speech(b"\xff\xf3")
        yield server


def say(port: int, data: bytes) -> bytes:
    """The beginning of the response."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        try:
            connection.sendall(data)
            connection.settimeout(5 if data.count(b"\r\n\r\n") else 0.2)
            return connection.recv(65536)
        except OSError:
            return b""


@pytest.mark.timeout(1800)
async def test_no_request_breaks_the_gateway(
    make: MakeCaller, start_gateway: StartGateway, upstream: RecordingUpstream, ledger: Ledger, redis_state: RedisState
) -> None:
    caller: Caller = await make("demo-chat")
    await caller.limit("concurrency", 100)
    await caller.remove_subscription_limits()
    gateway: GatewayThread = start_gateway(litellm_urls=upstream.url, allowed_fields=OPENED)
    loop = asyncio.get_running_loop()
    seen: dict[int, int] = {}

    @settings(
        max_examples=REQUESTS,
        database=None,
        derandomize="LITEMAAS_TEST_REQUESTS" not in os.environ,
        suppress_health_check=list(HealthCheck),
    )
    @given(requests())
    def send(data: bytes) -> None:
        answer = say(gateway.port, data.replace(b"KEY", caller.key.encode()))
        if answer:
            status = int(answer[9:12])
            seen[status] = seen.get(status, 0) + 1
            assert status < 500, answer

    await loop.run_in_executor(None, send)
    await redis_state.wait_until_settled(caller.account_id)

    rows = await ledger.rows(caller.account_id, len(upstream.requests))
    assert len(rows) == len(upstream.requests)
    # Some requests were refused and some were not.
    assert seen[200] > REQUESTS // 30
    assert seen[400] > REQUESTS // 30
