"""Gateways for tests, each a real uvicorn on a socket, and what is needed to look behind them."""

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
from uuid import UUID

import aiohttp
import redis.asyncio
import uvicorn
from conftest import Database

from deploy.embedded.model_server.launch import ModelServer
from deploy.embedded.valkey import Valkey
from gateway.main import Gateway, create_app
from gateway.settings import Settings
from gateway.storage.counters.layout import read_counter, read_lease
from gateway.storage.counters.scripts import HASH_NAME
from gateway.storage.postgres import Pool

PEPPERS: Final = "1:" + "ab" * 32
SECRET_KEYS: Final = "1:" + "0123456789abcdef" * 4
TIMEOUT_S: Final = 10.0


class GatewayThread:
    """One worker in a thread of this process, started as `litemaas gateway` starts it."""

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
        # In the thread, whose loop its parts belong to.
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

    def begin_to_stop(self) -> None:
        """What SIGTERM does."""
        self._server.should_exit = True

    def stop(self) -> None:
        """May be called twice."""
        self.begin_to_stop()
        self._thread.join(60)
        assert not self._thread.is_alive(), "the gateway did not stop"

    async def stopped(self) -> None:
        """As `stop`, without holding up the loop of the test."""
        await asyncio.to_thread(self.stop)

    async def has_heard(self, pool: Pool) -> None:
        """Returns once it knows of every change that was made in this database before."""
        changes = self.apps[0].worker.changes
        # What is told later is heard later. Two, for the first that is heard may be a heartbeat of before.
        for _ in range(2):
            heard_at = changes._heard_at

            async def is_heard(heard_at: float = heard_at) -> bool:
                return changes._heard_at > heard_at

            await pool.execute("SELECT pg_notify($1, '')", changes._channel)
            await until(is_heard, "the gateway to hear of changes")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


StartGateway = Callable[..., GatewayThread]


@dataclass(frozen=True, slots=True)
class House:
    """What stands behind the gateways of a folder of tests."""

    database: Database
    valkey: Valkey
    litellm_url: str
    litellm_key: str
    model_server: ModelServer
    folder: Path

    def settings(self, **changes: Any) -> Settings:
        """Of a gateway in front of it all."""
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
        """The same for a program."""
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
    """What uvicorn says of exceptions that came through to it: a bug, unless a test expects it."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        cause = record.exc_info[1] if record.exc_info else None
        self.seen.append(f"{record.getMessage().strip()} {cause!r}")


class Books:
    """The model server's own count of calls and tokens."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self._url = url
        self._http = http

    async def calls(self, **only: str) -> list[dict[str, Any]]:
        """Its calls, oldest first, with these values: `call_id`, `mark`, `model`, `ending`, …"""
        async with self._http.get(f"{self._url}/_calls", params=only) as answer:
            calls: list[dict[str, Any]] = await answer.json()
            return calls

    async def call(self, **only: str) -> dict[str, Any]:
        """The only one."""
        (call,) = await self.calls(**only)
        return call

    async def count(self) -> int:
        """Calls received so far."""
        async with self._http.get(f"{self._url}/_totals") as answer:
            return int((await answer.json())["calls"])


class Ledger:
    """Rows as they come to be written behind the calls' backs."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def rows(self, account_id: int, count: int) -> list[dict[str, Any]]:
        """The account's rows, oldest first, once there are `count`; no more may follow them at once."""

        async def there_are() -> bool:
            return len(await self._fetch(account_id)) >= count

        await until(there_are, f"{count} rows in the ledger")
        rows = await self._fetch(account_id)
        assert len(rows) == count
        return rows

    async def row(self, account_id: int) -> dict[str, Any]:
        """The only one."""
        return (await self.rows(account_id, 1))[0]

    async def _fetch(self, account_id: int) -> list[dict[str, Any]]:
        sql = "SELECT * FROM usage_logs WHERE account_id = $1 ORDER BY request_id"
        return [dict(row) for row in await self._pool.fetch(sql, account_id)]


class Tallies:
    """What Redis holds of an account."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client

    async def everything(self, account_id: int) -> dict[bytes, bytes]:
        """All fields but `due`, which a sweep may drop at any time."""
        fields: dict[bytes, bytes] = await self._client.hgetall(HASH_NAME % account_id)
        fields.pop(b"due", None)
        return fields

    async def open_leases(self, account_id: int) -> list[UUID]:
        """Of calls that are under way, or whose gateway died."""
        leases = {name: value for name, value in (await self.everything(account_id)).items() if name[:2] == b"l|"}
        held = [read_lease(name[2:], value) for name, value in leases.items()]
        return [lease.request_id for lease in held if lease.is_open]

    async def counter(self, account_id: int, field: str) -> list[int]:
        """One counter as the scripts keep it."""
        value = (await self.everything(account_id))[field.encode()]
        return list(read_counter(field, value))

    async def all_settled(self, account_id: int) -> None:
        """Returns when no lease of the account is open, and its slots are free."""

        async def is_settled() -> bool:
            return not await self.open_leases(account_id)

        await until(is_settled, "all leases settled")
        for name, value in (await self.everything(account_id)).items():
            if name[:2] == b"c|":
                assert read_counter("c", value)[0] == 0, name
            if name[:1] in (b"R", b"T", b"C"):
                assert read_counter("R", value)[2] == 0, name


async def until(
    condition: Callable[[], Awaitable[bool]], what: str, *, timeout_s: float = TIMEOUT_S, pause_s: float = 0.02
) -> float:
    """Waits for something that happens by itself; how long it took."""
    began = time.monotonic()
    while not await condition():
        assert time.monotonic() - began < timeout_s, f"waited {timeout_s} s for {what}"
        await asyncio.sleep(pause_s)
    return time.monotonic() - began
