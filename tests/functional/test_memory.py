"""The memory of a worker does not grow with the data it relays: peak memory of the process (VmHWM, proc(5))."""

import asyncio
import base64
import gc
import io
import json
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from admin_client import settings_for
from callers import CHAT, Caller, chat_body
from conftest import Database
from gateways import Backends, GatewayThread, RedisState, wait_until
from recording_upstream import RecordingUpstream
from workers import Workers

from admin_api.main import create_app
from gateway.web.collector import YOUNG_OBJECTS, spare_the_collector

MIB = 1024 * 1024


def peak_bytes(workers: Workers) -> int:
    """The sum of the peak memory of these processes."""
    peaks = [Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0] for pid in workers.pids]
    return sum(map(int, peaks)) * 1024


@pytest.fixture
async def upstream() -> AsyncIterator[RecordingUpstream]:
    async with RecordingUpstream() as server:
        yield server


@pytest.fixture
async def workers(backends: Backends, upstream: RecordingUpstream, tmp_path: Path) -> AsyncIterator[Workers]:
    changes = {"LITEMAAS_STATE_DIR": str(tmp_path / "state"), "LITEMAAS_LITELLM_URLS": upstream.url}
    running = Workers(backends, tmp_path, **changes)
    await running.start()
    yield running
    await asyncio.to_thread(running.program.stop)


def picture(mib: int) -> bytes:
    """A chat with an image of `mib` MiB, as base64."""
    url = "data:image/png;base64," + base64.b64encode(os.urandom(mib * MIB * 3 // 4)).decode()
    content = [{"type": "text", "text": "Hello"}, {"type": "image_url", "image_url": {"url": url}}]
    return json.dumps(chat_body() | {"messages": [{"role": "user", "content": content}]}).encode()


async def ask(caller: Caller, workers: Workers, body: bytes) -> int:
    headers = caller.authorization | {"content-type": "application/json"}
    async with (
        aiohttp.ClientSession() as http,
        http.post(workers.url + CHAT, data=io.BytesIO(body), headers=headers) as answer,
    ):
        await answer.read()
        return answer.status


async def test_an_image_of_20_mib_takes_a_few_times_its_size_and_only_during_the_call(
    caller: Caller, workers: Workers, upstream: RecordingUpstream
) -> None:
    upstream.answer(b'{"usage":{"prompt_tokens":3,"completion_tokens":4}}')
    body = picture(20)
    await caller.limit("tokens", 1000, window="day")
    for _ in range(4):
        assert await ask(caller, workers, picture(1)) == 200
    before = peak_bytes(workers)

    # Sequential: the memory of one call is reused by the next.
    for _ in range(6):
        assert await ask(caller, workers, body) == 200

    grown = (peak_bytes(workers) - before) / len(body)
    assert grown < 2 * 3.5


SLOW_READERS = 200
EVENTS = 40_000


@pytest.mark.timeout(300)
async def test_slow_readers_of_a_fast_stream_slow_the_model_down_and_use_no_memory(
    caller: Caller, workers: Workers, upstream: RecordingUpstream, redis_state: RedisState
) -> None:
    """Two hundred callers who read nothing of a stream of 17 MB each."""
    event = b"data: " + json.dumps({"choices": [{"delta": {"content": "x" * 400}}]}).encode() + b"\n\n"
    upstream.stream([event * 10] * (EVENTS // 10), pause_s=0)
    assert len(event) * EVENTS > 15 * MIB
    await caller.remove_subscription_limits()
    await caller.limit("concurrency", 2 * SLOW_READERS)
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {caller.key}\r\n"
    body = json.dumps(chat_body(stream=True)).encode()
    request = (head + f"content-length: {len(body)}\r\n\r\n").encode() + body
    sockets: list[socket.socket] = []
    try:
        await _open(sockets, 20, workers, request)
        await asyncio.sleep(1)
        before = peak_bytes(workers)
        await _open(sockets, SLOW_READERS, workers, request)

        async def all_are_open() -> bool:
            return len(upstream.requests) == SLOW_READERS + 20

        await wait_until(all_are_open, "all streams to be open", timeout_s=170)
        await asyncio.sleep(2)
        grown = peak_bytes(workers) - before
    finally:
        for one in sockets:
            one.close()

    a_reader = grown / SLOW_READERS
    assert a_reader < MIB / 2, f"{a_reader:,.0f} bytes for each reader"
    await redis_state.wait_until_settled(caller.account_id)


async def _open(sockets: list[socket.socket], count: int, workers: Workers, request: bytes) -> None:
    loop = asyncio.get_running_loop()
    for _ in range(count):
        one = socket.socket()
        # A small receive buffer, so unread data stays in the worker.
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.setblocking(False)
        sockets.append(one)
        await loop.sock_connect(one, ("127.0.0.1", workers.program.port))
        await loop.sock_sendall(one, request)


async def test_what_a_worker_is_made_of_is_not_collected_again(gateway: GatewayThread) -> None:
    """It is in this process: modules, settings and parts are some 100,000 objects."""
    assert gc.get_freeze_count() > 10_000
    assert gc.get_threshold()[0] == YOUNG_OBJECTS


async def test_what_the_admin_program_is_made_of_is_not_collected_again(database: Database) -> None:
    """A full collection stopped one page in some for 50 ms."""
    thresholds = gc.get_threshold()
    gc.unfreeze()
    # It was done for this process before.
    spare_the_collector.cache_clear()
    app = create_app(settings_for(database.app_url))
    async with app.router.lifespan_context(app):
        assert gc.get_freeze_count() > 10_000
        assert gc.get_threshold()[0] == YOUNG_OBJECTS
    gc.set_threshold(*thresholds)
