"""The gateway is a plain ASGI application: under uvicorn without the gateway's own protocol, and under hypercorn, calls
are answered, streamed, refused, cut off by the caller and recorded as under `litemaas gateway`."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Final, Self

import hypercorn.asyncio
import hypercorn.config
import pytest
import uvicorn
from callers import Caller
from gateways import TIMEOUT_S, Backends, Ledger, RedisState, wait_until

from gateway.main import create_app
from gateway.settings import Settings

SERVERS: Final = ("uvicorn-httptools", "uvicorn-h11", "hypercorn")


class OtherServer:
    """One worker of the server with this name, in a thread."""

    def __init__(self, name: str, settings: Settings) -> None:
        self._name = name
        self._settings = settings
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        app = create_app(self._settings)
        if self._name == "hypercorn":
            config = hypercorn.config.Config()
            config.bind = [f"fd://{self._socket.detach()}"]
            await hypercorn.asyncio.serve(app, config, shutdown_trigger=self._stop.wait)  # type: ignore[arg-type]
            return
        options = uvicorn.Config(app, http=self._name.removeprefix("uvicorn-"), ws="none", log_config=None)
        server = uvicorn.Server(options)
        serving = asyncio.ensure_future(server.serve(sockets=[self._socket]))
        await self._stop.wait()
        server.should_exit = True
        await serving

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(TIMEOUT_S)
        assert not self._thread.is_alive(), "the server did not stop"


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest, backends: Backends) -> Iterator[OtherServer]:
    with OtherServer(request.param, backends.settings(max_body_bytes=64 * 1024)) as running:
        yield running


@pytest.fixture
async def through(server: OtherServer, caller: Caller) -> Caller:
    """The caller, at a server that answers."""
    other, deadline = caller.at(server.url), time.monotonic() + TIMEOUT_S
    while True:
        try:
            if (await other.get("/health/ready")).status == 200:
                return other
        except OSError:
            pass
        assert time.monotonic() < deadline, "the server did not start"
        await asyncio.sleep(0.02)


async def test_whole_and_streamed_answers_are_recorded_and_settled(
    through: Caller, ledger: Ledger, redis_state: RedisState
) -> None:
    whole = await through.chat("[tokens=7]")
    streamed = await through.chat("[tokens=9]", stream=True)

    assert (whole.status, whole.json["usage"]["completion_tokens"]) == (200, 7)
    assert (streamed.status, streamed.events[-1]) == (200, "[DONE]")
    rows = await ledger.rows(through.account_id, 2)
    assert [(row["ending"], row["completion_tokens"]) for row in rows] == [("completed", 7), ("completed", 9)]
    assert {str(row["request_id"]) for row in rows} == {whole.request_id, streamed.request_id}
    await redis_state.wait_until_settled(through.account_id)


async def test_refusals_have_their_status_and_body(through: Caller) -> None:
    # Before the gateway has read the key.
    await through.limit("rpm", 1)
    wrong = await through.chat(headers={"authorization": "Bearer sk-lm-wrong"})
    large = await through.chat("x" * 100_000)
    admitted = await through.chat()
    refused = await through.chat()

    assert (wrong.status, wrong.code) == (401, "invalid_api_key")
    assert (large.status, large.code) == (413, "request_too_large")
    assert admitted.status == 200
    assert (refused.status, refused.code) == (429, "rate_limit_exceeded")


async def test_a_caller_who_leaves_is_noticed(through: Caller, ledger: Ledger, redis_state: RedisState) -> None:
    async with through.open_chat("[tokens=500] [rate=50]", stream=True) as answer:
        await answer.content.readany()

    row = await ledger.row(through.account_id)
    assert (row["ending"], row["completion_tokens"] < 500) == ("client_disconnected", True)

    async def is_free() -> bool:
        return not await redis_state.open_leases(through.account_id)

    await wait_until(is_free, "the lease to be settled")
