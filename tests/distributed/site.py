"""The processes: three gateways, two admin APIs, a Valkey cluster of three primaries with a replica each, Postgres with
a streaming replica, two LiteLLM, the model server, and a load balancer.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import asyncpg
from accounting import wait_for
from admin_client import SECRET_KEYS, TOKEN
from balancer import Balancer
from callers import Caller, make_caller
from factories import make_model
from gateways import PEPPERS

from admin_api.storage.migrate import migrate
from deploy.embedded.component import Component
from deploy.embedded.litellm import LiteLLM
from deploy.embedded.model_server.launch import ModelServer
from deploy.embedded.postgres import APP, OWNER, SUPERUSER, Postgres
from deploy.embedded.postgres_standby import Standby
from deploy.embedded.processes import free_port
from deploy.embedded.programs import CommandLine, Program
from deploy.embedded.valkey_cluster import ValkeyCluster
from distributed.links import Links
from gateway.storage.postgres import Pool, new_pool
from gateway.storage.urls import postgres_url

MODEL: Final = "demo-chat"
GATEWAYS: Final = 3
ADMINS: Final = 2
# The links of one gateway can be cut: its servers are at another address of this machine, behind relays.
CUT_OFF: Final = 2
HOSTS: Final = {"redis": "127.0.1.1", "postgres": "127.0.1.2", "replication": "127.0.1.3"}
STANDBY: Final = "standby"


class Site:
    """The parts, and where they are; `opened` starts them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model_server = ModelServer(folder, delay_s=0.01, tokens_per_s=200)
        key = f"sk-{secrets.token_hex(16)}"
        places = [folder / f"litellm{n}" for n in range(2)]
        self.litellms = [LiteLLM(place, self.model_server.url, api_key=key) for place in places]
        for litellm in self.litellms:
            # Two start at once, beside all else.
            litellm.TIMEOUT_S = 300.0
        self.cluster = ValkeyCluster(folder / "valkey", has_replicas=True, says_hosts=False)
        self.primary = Postgres(folder / "postgres0")
        self.standby: Standby
        self._standby_port = free_port()
        self._standbys = 0
        valkey_ports = [node.port for node in (*self.cluster.nodes, *self.cluster.replicas)]
        self.links = {
            "redis": Links(HOSTS["redis"], valkey_ports),
            "postgres": Links(HOSTS["postgres"], [self.primary.port, self._standby_port]),
            "replication": Links(HOSTS["replication"], [self.primary.port, self._standby_port]),
        }
        self.gateways = [Program(folder / f"gateway{n}", "gateway", free_port()) for n in range(GATEWAYS)]
        self.admins = [Program(folder / f"admin{n}", "admin-api", free_port()) for n in range(ADMINS)]
        self.balancer = Balancer(self.gateways)
        self.url = ""
        self.pool: Pool
        self.http: aiohttp.ClientSession

    def database_url(self, role: str = APP, host: str = "127.0.0.1") -> str:
        """With both servers as hosts, whichever is the primary now."""
        credentials, _, rest = self.primary.url(role).partition("@")
        hosts = ",".join(f"{host}:{port}" for port in self.postgres_ports)
        return f"{credentials}@{hosts}/{rest.partition('/')[2]}"

    @property
    def postgres_ports(self) -> list[int]:
        """In an order that a failover does not change."""
        return sorted((self.primary.port, self._standby_port))

    def environment(self, **changes: str) -> dict[str, str]:
        return {
            "LITEMAAS_DATABASE_URL": self.database_url(),
            "LITEMAAS_REDIS_URL": self.cluster.url,
            "LITEMAAS_LITELLM_URLS": ",".join(one.url for one in self.litellms),
            "LITEMAAS_LITELLM_API_KEY": self.litellms[0].api_key,
            "LITEMAAS_KEY_PEPPERS": PEPPERS,
            "LITEMAAS_SECRET_KEYS": SECRET_KEYS,
            "LITEMAAS_LOG_LEVEL": "warning",
        } | changes

    def _prepare_programs(self) -> None:
        for number, gateway in enumerate(self.gateways):
            changes = {"LITEMAAS_STATE_DIR": str(self.folder / f"gateway{number}" / "state")}
            changes |= {"LITEMAAS_WHEN_LIMITS_UNAVAILABLE": "local", "LITEMAAS_SHUTDOWN_DELAY_S": "1"}
            if number == CUT_OFF:
                changes["LITEMAAS_REDIS_URL"] = self.cluster.url_at(HOSTS["redis"])
                changes["LITEMAAS_DATABASE_URL"] = self.database_url(host=HOSTS["postgres"])
            gateway.env = self.environment(**changes)
        for admin in self.admins:
            admin.env = self.environment(
                LITEMAAS_ADMIN_TOKEN=TOKEN, LITEMAAS_MODEL_SYNC_INTERVAL_S="0", LITEMAAS_ADMIN_CALLS_PER_MINUTE="0"
            )

    async def follow(self) -> None:
        """Starts a standby of the primary that is there now, where none is."""
        self._standbys += 1
        place = self.folder / f"postgres{self._standbys}"
        self.standby = Standby(place, self.primary, port=self._standby_port, name=STANDBY, host=HOSTS["replication"])
        await asyncio.to_thread(self.standby.start)

    async def set_synchronous(self, is_on: bool) -> None:
        """Whether a commit waits for the standby; returns when it does."""
        connection = await asyncpg.connect(self.primary.url(SUPERUSER, "postgres"))
        try:
            await connection.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{STANDBY if is_on else ''}'")
            await connection.execute("SELECT pg_reload_conf()")

            async def is_so() -> bool:
                state = await connection.fetchval("SELECT sync_state FROM pg_stat_replication")
                return state == ("sync" if is_on else "async")

            await wait_for(is_so, "the standby to follow", 20)
        finally:
            await connection.close()

    async def wait_for_standby(self) -> None:
        """Until it has all that was committed until now."""
        connection = await asyncpg.connect(self.primary.url(SUPERUSER, "postgres"))
        try:
            now = await connection.fetchval("SELECT pg_current_wal_lsn()::text")

            async def has_all() -> bool:
                sql = "SELECT replay_lsn >= $1::text::pg_lsn FROM pg_stat_replication"
                return bool(await connection.fetchval(sql, now))

            await wait_for(has_all, "the standby to have everything", 20)
        finally:
            await connection.close()

    async def count_missing_on_standby(self) -> int:
        """Rows of the ledger that the primary has beyond it."""
        counts = [await _count_rows(server) for server in (self.primary, self.standby)]
        return counts[0] - counts[1]

    async def count_on_standby(self, account_id: int) -> int:
        """The account's rows there."""
        return await _count_rows(self.standby, account_id)

    async def promote(self) -> None:
        """The standby takes the place of the primary, which has ended."""
        await asyncio.to_thread(self.standby.promote)
        self.primary, self._standby_port = self.standby, self.primary.port

    async def make_caller(self) -> Caller:
        """A caller with a new account without limits."""
        caller = await make_caller(self.pool, self.url, self.http, [MODEL])
        await caller.remove_subscription_limits()
        return caller

    async def is_whole(self) -> bool:
        """Whether every gateway has all its parts, and every admin API is ready."""
        answers_ = await asyncio.gather(*(self._is_whole(program) for program in (*self.gateways, *self.admins)))
        return all(answers_) and await self.balancer.has_all()

    async def _is_whole(self, program: Program) -> bool:
        try:
            async with self.http.get(f"{program.url}/health/ready", timeout=aiohttp.ClientTimeout(total=3)) as answer:
                said: dict[str, Any] = await answer.json()
                return answer.status == 200 and said.get("status") == "ready"
        except (aiohttp.ClientError, TimeoutError):
            return False

    @property
    def command_line(self) -> CommandLine:
        return CommandLine(self.folder, self.environment(LITEMAAS_OWNER_DATABASE_URL=self.database_url(OWNER)))

    def parts(self) -> list[Component]:
        """The servers behind, which start first."""
        return [self.primary, self.model_server, *self.litellms]


async def _count_rows(server: Postgres, account_id: int | None = None) -> int:
    connection = await asyncpg.connect(server.url(SUPERUSER))
    try:
        sql = "SELECT count(*) FROM usage_logs WHERE $1::bigint IS NULL OR account_id = $1"
        return int(await connection.fetchval(sql, account_id))
    finally:
        await connection.close()


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Site]:
    """A site that runs; discarded at the end."""
    site = Site(folder)
    async with AsyncExitStack() as stack:
        for part in site.parts():
            part.launch()
            stack.callback(part.discard)
        stack.callback(site.cluster.discard)
        await asyncio.to_thread(site.cluster.start)
        await asyncio.to_thread(site.primary.wait)
        for links in site.links.values():
            await stack.enter_async_context(links)
        await site.follow()
        stack.callback(lambda: (site.primary.discard(), site.standby.discard()))
        await site.set_synchronous(True)
        owner = await asyncpg.connect(site.primary.url(OWNER))
        await migrate(owner, app_role=APP)
        await owner.close()
        site.pool = await stack.enter_async_context(new_pool(postgres_url(site.database_url()), size=4))
        await make_model(site.pool, MODEL)
        site._prepare_programs()
        for program in (*site.gateways, *site.admins):
            (folder / program._folder.name).mkdir()
            stack.callback(program.stop)
            program.launch()
        for part in (site.model_server, *site.litellms, *site.gateways, *site.admins):
            await asyncio.to_thread(part.wait)
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        timeout = aiohttp.ClientTimeout(total=60)
        site.http = await stack.enter_async_context(aiohttp.ClientSession(connector=connector, timeout=timeout))
        site.url = await stack.enter_async_context(site.balancer.running())
        await wait_for(site.is_whole, "all parts to be ready", 60)
        yield site
