"""Two gateways behind a load balancer, an admin program, Postgres with an archive, Valkey and the model server; and
what an operator does to them."""

import asyncio
import os
import secrets
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import asyncpg
from balancer import Balancer
from callers import Caller, make_caller
from conftest import Database
from factories import make_model
from gateways import Backends, wait_until

from admin_api.storage.migrate import migrate
from deploy.embedded.model_server.launch import ModelServer
from deploy.embedded.postgres import APP, DATABASE, OWNER
from deploy.embedded.processes import bare_environment, free_port
from deploy.embedded.programs import LITEMAAS, Program
from deploy.embedded.valkey import Valkey
from deploy.embedded.valkey_cluster import ValkeyCluster
from gateway.storage.counters.scripts import HASH_NAME
from gateway.storage.postgres import Pool, new_pool
from operations.servers import ArchivingPostgres

MODEL: Final = "demo-chat"
GATEWAYS: Final = 2
PATIENCE_S: Final = 90.0
QUICK: Final = {"LITEMAAS_SHUTDOWN_DELAY_S": "1", "LITEMAAS_SHUTDOWN_GRACE_S": "10", "LITEMAAS_LOG_LEVEL": "warning"}


class Site:
    """`changes` are what the operator has set since the start; `restored` is how often rows were written again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.postgres = ArchivingPostgres(folder / "postgres")
        self.valkey = Valkey(folder / "valkey")
        self.model_server = ModelServer(folder, delay_s=0.01, tokens_per_s=200)
        self.changes: dict[str, str] = {}
        self.admin_token = secrets.token_hex(24)
        self.gateways: list[Program] = []
        self.admin: Program
        self.balancer: Balancer
        self.url: str
        self.pool: Pool
        self.http: aiohttp.ClientSession
        self.clusters: list[ValkeyCluster] = []
        self.restored = 0
        # What was done, and what it printed.
        self.transcript = self.postgres.transcript

    @property
    def redis_url(self) -> str:
        """Of the counters, wherever they are now."""
        return self.changes.get("LITEMAAS_REDIS_URL", self.valkey.url())

    def node_url(self, account_id: int) -> str:
        """Of the server that has the counters of this account."""
        for cluster in self.clusters:
            return cluster.owner_of(HASH_NAME % account_id).url()
        return self.valkey.url()

    def environment(self, state: str) -> dict[str, str]:
        """Of a program whose state folder has this name."""
        database = Database(DATABASE, self.postgres.url(APP), self.postgres.url(OWNER))
        backends = Backends(database, self.valkey, self.model_server.url, "sk-x", self.model_server, self.folder)
        own = {"LITEMAAS_STATE_DIR": str(self.folder / state), "LITEMAAS_ADMIN_TOKEN": self.admin_token}
        return backends.environment(**(QUICK | own | self.changes))

    def launch(self) -> None:
        """All programs, once the servers are there."""
        for n in range(GATEWAYS):
            self.gateways.append(self._program("gateway", f"gateway{n}"))
        self.admin = self._program("admin-api", "admin")
        self.balancer = Balancer(self.gateways)

    def _program(self, name: str, state: str) -> Program:
        folder = self.folder / state
        folder.mkdir()
        program = Program(folder, name, free_port())
        program.env = self.environment(state)
        program.launch()
        return program

    async def roll(self, **changes: str) -> None:
        """New settings: all programs are restarted, one after the other."""
        self.changes |= changes
        for n, gateway in enumerate(self.gateways):
            await self._restart(gateway, f"gateway{n}")
            await wait_until(self.balancer.has_all, "the balancer to see it", timeout_s=PATIENCE_S)
        await self._restart(self.admin, "admin")

    async def _restart(self, program: Program, state: str) -> None:
        assert program.child is not None
        os.kill(program.pid, signal.SIGTERM)

        async def has_ended() -> bool:
            return program.child is not None and program.child.exit_code is not None

        await wait_until(has_ended, f"{state} to end", timeout_s=PATIENCE_S)
        program.env = self.environment(state)
        program.launch()
        await asyncio.to_thread(program.wait)

    def command(self, *arguments: str, typed: str = "", may_fail: bool = False, **env: str) -> str:
        """`litemaas …`; what it printed."""
        done = subprocess.run(
            [str(LITEMAAS), *arguments],
            env=bare_environment(self.folder) | self.environment("gateway0") | env,
            input=typed,
            text=True,
            capture_output=True,
            check=False,
        )
        if done.returncode and not may_fail:
            raise RuntimeError(f"litemaas {' '.join(arguments)}: {done.stdout[-300:]} {done.stderr[-300:]}")
        self.transcript.append(f"$ litemaas {' '.join(arguments)}\n{done.stdout.strip()}")
        return done.stdout.strip()

    async def ask_admin(self, path: str, token: str) -> int:
        """The status of a GET at the admin API."""
        async with self.http.get(self.admin.url + path, headers={"authorization": f"Bearer {token}"}) as answer:
            return answer.status

    async def make_caller(self) -> Caller:
        """A caller with limits of every kind, at the load balancer."""
        caller = await make_caller(self.pool, self.url, self.http, [MODEL])
        await caller.remove_subscription_limits()
        await caller.limit("concurrency", 10_000)
        for kind in ("requests", "tokens", "cost"):
            await caller.limit(kind, 10**12, window="month")
        return caller

    async def reconnect(self) -> None:
        """The pool of this program, where the login or the database changed."""
        self.pool.terminate()
        self.pool = await new_pool(self.postgres.url(APP), size=4)

    def log_lines(self, event: str) -> list[str]:
        """What the gateways logged of it."""
        files = [self.folder / f"gateway{n}" / "gateway.log" for n in range(GATEWAYS)]
        return [line for file in files for line in file.read_text().splitlines() if event in line]


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Site]:
    """A site that runs; discarded at the end."""
    site = Site(folder)
    async with AsyncExitStack() as stack:
        parts: list[Any] = [site.postgres, site.valkey, site.model_server]
        for part in parts:
            stack.callback(part.discard)
            part.launch()
        for part in parts:
            await asyncio.to_thread(part.wait)
        owner = await asyncpg.connect(site.postgres.url(OWNER))
        await migrate(owner, app_role=APP)
        await owner.close()
        site.pool = await new_pool(site.postgres.url(APP), size=4)
        stack.callback(lambda: site.pool.terminate())
        await make_model(site.pool, MODEL)
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        timeout = aiohttp.ClientTimeout(total=60)
        site.http = await stack.enter_async_context(aiohttp.ClientSession(connector=connector, timeout=timeout))
        stack.callback(lambda: [program.stop() for program in (*site.gateways, site.admin)])
        stack.callback(lambda: [node.discard() for cluster in site.clusters for node in cluster.nodes])
        site.launch()
        await asyncio.gather(*(asyncio.to_thread(one.wait) for one in (*site.gateways, site.admin)))
        site.url = await stack.enter_async_context(site.balancer.running())
        await wait_until(site.balancer.has_all, "the balancer to see all", timeout_s=PATIENCE_S)
        yield site
