"""Gateways for tests, each a real uvicorn on a socket, and readers of the state behind them."""

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlencode
from uuid import UUID

import aiohttp
import redis.asyncio
import uvicorn
from conftest import Database

from deploy.embedded.model_server.launch import ModelServer
from deploy.embedded.valkey import Valkey
from gateway.main import Gateway, create_app
from gateway.scrape import scrape
from gateway.settings import Settings
from gateway.storage.counters.layout import read_counter, read_lease
from gateway.storage.counters.scripts import HASH_NAME
from gateway.storage.postgres import Pool

PEPPERS: Final = "1:" + "ab" * 32
SECRET_KEYS: Final = "1:" + "0123456789abcdef" * 4
TIMEOUT_S: Final = 10.0


class GatewayThread:
    """One worker in a thread of this process, with the server settings of `litemaas gateway`."""

    def __init__(self, settings: Settings, *, grace_s: int = 5) -> None:
        self.settings = settings
        self.apps: list[Gateway] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        config = uvicorn.Config(
            self._new_app,
            factory=True,
            loop="uvloop",
            http="gateway.web.bounded_http:BoundedHttp",
            ws="gateway.web.bounded_websocket:BoundedWebSocket",
            lifespan="on",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            log_config=None,
            timeout_graceful_shutdown=grace_s,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)

    def _new_app(self) -> Gateway:
        # Created in the thread, because the app belongs to its event loop.
        self.loop = asyncio.get_running_loop()
        self.apps.append(create_app(self.settings))
        return self.apps[-1]

    def start(self) -> Self:
        self._thread.start()
        deadline = time.monotonic() + TIMEOUT_S
        while not self._server.started:
            assert self._thread.is_alive(), "the gateway ended at its start"
            assert time.monotonic() < deadline, "the gateway did not start"
            time.sleep(0.005)
        return self

    def request_stop(self) -> None:
        """Like SIGTERM."""
        self._server.should_exit = True

    def stop(self) -> None:
        """May be called twice."""
        self.request_stop()
        self._thread.join(60)
        assert not self._thread.is_alive(), "the gateway did not stop"

    async def stop_async(self) -> None:
        """Like `stop`, without blocking the event loop of the test."""
        await asyncio.to_thread(self.stop)

    async def holds_no_body(self) -> None:
        """Returns once no byte of a request is held: callers see the end of a call before its task has ended."""
        bodies = self.apps[0].worker.bodies

        async def is_free() -> bool:
            return bodies.held_bytes == 0

        await wait_until(is_free, "all bodies to be let go")

    async def wait_for_changes(self, pool: Pool) -> None:
        """Returns once the gateway has received every change notified in this database before."""
        changes = self.apps[0].worker.changes
        # Notifications arrive in order. Two, because the first one received may be an earlier heartbeat.
        for _ in range(2):
            heard_at = changes._heard_at

            async def is_received(heard_at: float = heard_at) -> bool:
                return changes._heard_at > heard_at

            await pool.execute("SELECT pg_notify($1, '')", changes._channel)
            await wait_until(is_received, "the gateway to receive changes")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


StartGateway = Callable[..., GatewayThread]


def scraped_metrics() -> str:
    """The metrics of all gateways that run in threads of this process, as Prometheus reads them."""
    return scrape(None).decode()


@dataclass(frozen=True, slots=True)
class Backends:
    """Postgres, Valkey, LiteLLM and the model server behind the gateways of a folder of tests."""

    database: Database
    valkey: Valkey
    litellm_url: str
    litellm_key: str
    model_server: ModelServer
    folder: Path

    def settings(self, **changes: Any) -> Settings:
        """Settings of a gateway on these backends."""
        usual = {
            "database_url": self.database.app_url,
            "redis_url": self.valkey.url(),
            "litellm_urls": self.litellm_url,
            "litellm_api_key": self.litellm_key,
            "key_peppers": PEPPERS,
            "state_dir": self.folder / "state",
            "log_level": "error",
            "access_log": False,
        }
        return Settings(**(usual | changes))

    def environment(self, **changes: str) -> dict[str, str]:
        """The same as environment variables of a process."""
        return {
            "LITEMAAS_DATABASE_URL": self.database.app_url,
            "LITEMAAS_OWNER_DATABASE_URL": self.database.owner_url,
            "LITEMAAS_REDIS_URL": self.valkey.url(),
            "LITEMAAS_LITELLM_URLS": self.litellm_url,
            "LITEMAAS_LITELLM_API_KEY": self.litellm_key,
            "LITEMAAS_KEY_PEPPERS": PEPPERS,
            "LITEMAAS_SECRET_KEYS": SECRET_KEYS,
            "LITEMAAS_STATE_DIR": str(self.folder / "state"),
        } | changes


class UnhandledErrors(logging.Handler):
    """Exceptions that reached uvicorn: a bug, unless a test expects it."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        cause = record.exc_info[1] if record.exc_info else None
        self.seen.append(f"{record.getMessage().strip()} {cause!r}")


class UpstreamLog:
    """The calls the model server received, with the tokens it billed."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self._url = url
        self._http = http

    def url_of(self, **only: str) -> str:
        """Where these calls are read."""
        return f"{self._url}/_calls?{urlencode(only)}"

    async def calls(self, **only: str) -> list[dict[str, Any]]:
        """Calls with these values, oldest first: `call_id`, `mark`, `model`, `ending`, …"""
        async with self._http.get(f"{self._url}/_calls", params=only) as answer:
            calls: list[dict[str, Any]] = await answer.json()
            return calls

    async def call(self, **only: str) -> dict[str, Any]:
        """The only call that matches."""
        (call,) = await self.calls(**only)
        return call

    async def count(self) -> int:
        """Calls received so far."""
        async with self._http.get(f"{self._url}/_totals") as answer:
            return int((await answer.json())["calls"])


class Ledger:
    """Ledger rows, which the gateway writes some time after the calls."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def rows(self, account_id: int, count: int) -> list[dict[str, Any]]:
        """The account's rows, oldest first, once there are `count`; fails if there are more."""

        async def has_rows() -> bool:
            return len(await self._fetch(account_id)) >= count

        await wait_until(has_rows, f"{count} rows in the ledger")
        rows = await self._fetch(account_id)
        assert len(rows) == count
        return rows

    async def row(self, account_id: int) -> dict[str, Any]:
        """The only call that matches."""
        return (await self.rows(account_id, 1))[0]

    async def _fetch(self, account_id: int) -> list[dict[str, Any]]:
        sql = "SELECT * FROM usage_logs WHERE account_id = $1 ORDER BY request_id"
        return [dict(row) for row in await self._pool.fetch(sql, account_id)]


class RedisState:
    """The counters and leases of an account in Redis."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client

    async def everything(self, account_id: int) -> dict[bytes, bytes]:
        """All fields but `due`, which a sweep may drop at any time."""
        fields: dict[bytes, bytes] = await self._client.hgetall(HASH_NAME % account_id)
        fields.pop(b"due", None)
        return fields

    async def open_leases(self, account_id: int) -> list[UUID]:
        """Leases of calls in flight, or whose gateway died."""
        leases = {name: value for name, value in (await self.everything(account_id)).items() if name[:2] == b"l|"}
        held = [read_lease(name[2:], value) for name, value in leases.items()]
        return [lease.request_id for lease in held if lease.is_open]

    async def counter(self, account_id: int, field: str) -> list[int]:
        """One counter, as the scripts store it."""
        value = (await self.everything(account_id))[field.encode()]
        return list(read_counter(field, value))

    async def wait_until_settled(self, account_id: int) -> None:
        """Returns once no lease of the account is open; checks that nothing is reserved then."""

        async def is_settled() -> bool:
            return not await self.open_leases(account_id)

        await wait_until(is_settled, "all leases settled")
        for name, value in (await self.everything(account_id)).items():
            if name[:2] == b"c|":
                assert read_counter("c", value)[0] == 0, name
            if name[:1] in (b"R", b"T", b"C"):
                assert read_counter("R", value)[2] == 0, name


async def wait_until(
    condition: Callable[[], Awaitable[bool]], what: str, *, timeout_s: float = TIMEOUT_S, pause_s: float = 0.02
) -> float:
    """Waits until the condition is true; returns how long it took, in seconds."""
    began = time.monotonic()
    while not await condition():
        assert time.monotonic() - began < timeout_s, f"waited {timeout_s} s for {what}"
        await asyncio.sleep(pause_s)
    return time.monotonic() - began
