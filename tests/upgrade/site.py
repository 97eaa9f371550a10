"""What is upgraded: two gateways and the admin API behind load balancers, as processes with real backends."""

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
from admin_client import TOKEN
from balancer import Balancer
from gateways import PEPPERS, SECRET_KEYS, wait_until
from loopback_servers import LiteLLMInfoServer

from deploy.embedded.identity_provider import IdentityProvider
from deploy.embedded.litellm_config import configuration
from deploy.embedded.model_server.launch import ModelServer
from deploy.embedded.postgres import APP, OWNER, Postgres
from deploy.embedded.processes import free_port
from deploy.embedded.programs import LITEMAAS, CommandLine, Program
from deploy.embedded.valkey import Valkey
from gateway.storage.postgres import Pool, new_pool

MODELS: Final = ("demo-chat", "demo-claude")
# Longer than the balancer takes to notice.
DELAY_S: Final = 1
# What answers late on a busy machine has not ended.
LOOK_TIMEOUT_S: Final = 20
END_S: Final = 60.0
IDLE: Final = "litemaas_calls_in_flight 0.0"


class Site:
    """`old` is the release and `new` this version. A gateway's successor takes over its folder."""

    def __init__(self, folder: Path, release: Path) -> None:
        self.folder = folder
        self.commands = {"old": release, "new": LITEMAAS}
        self.postgres = Postgres(folder / "postgres", durable=True)
        self.valkey = Valkey(folder / "valkey")
        self.model_server = ModelServer(folder, delay_s=0.01, tokens_per_s=200)
        # Of LiteLLM, which an upgrade does not change, only its list of models: the model server has both dialects.
        self.litellm_info = LiteLLMInfoServer()
        self.identity_provider = IdentityProvider(folder)
        self.gateways: list[Program] = []
        self.admin: Program
        self.gateway_balancer = Balancer([], timeout_s=LOOK_TIMEOUT_S)
        self.admin_balancer = Balancer([], timeout_s=LOOK_TIMEOUT_S)
        self.gateway_url = ""
        self.admin_url = ""
        self.pool: Pool
        self.http: aiohttp.ClientSession
        self._launched = 0

    @property
    def environment(self) -> dict[str, str]:
        """One for both versions, as an operator has."""
        return {
            "LITEMAAS_DATABASE_URL": self.postgres.url(APP),
            "LITEMAAS_OWNER_DATABASE_URL": self.postgres.url(OWNER),
            "LITEMAAS_REDIS_URL": self.valkey.url(),
            "LITEMAAS_LITELLM_API_KEY": LiteLLMInfoServer.KEY,
            "LITEMAAS_KEY_PEPPERS": PEPPERS,
            "LITEMAAS_SECRET_KEYS": SECRET_KEYS,
            "LITEMAAS_ADMIN_TOKEN": TOKEN,
            "LITEMAAS_ADMIN_URL": self.admin_url,
            "LITEMAAS_GATEWAY_URL": self.gateway_url,
            "LITEMAAS_ADMIN_CALLS_PER_MINUTE": "0",
            "LITEMAAS_OIDC_ISSUER": self.identity_provider.url,
            "LITEMAAS_OIDC_CLIENT_ID": "litemaas",
            "LITEMAAS_OIDC_CLIENT_SECRET": "planted-client-secret-0123456789",
            "LITEMAAS_OIDC_TRUST_EMAILS": "true",
            "LITEMAAS_SHUTDOWN_DELAY_S": str(DELAY_S),
            "LITEMAAS_LOG_LEVEL": "warning",
        }

    def command_line(self, version: str) -> CommandLine:
        return CommandLine(self.folder, self.environment, command=self.commands[version])

    async def run(self, version: str, *arguments: str) -> Any:
        """The command's JSON. Raises NotStarted if it fails."""
        return await asyncio.to_thread(self.command_line(version).read, *arguments)

    def launch(self, version: str, name: str, **changes: str) -> Program:
        """From the main thread: the child process ends with the thread that started it."""
        self._launched += 1
        folder = self.folder / f"{self._launched:02d}-{name}-{version}"
        folder.mkdir()
        program = Program(folder, name, free_port(), command=self.commands[version])
        program.env = self.environment | changes
        program.launch()
        return program

    def launch_gateway(self, version: str, number: int) -> Program:
        about = {
            "LITEMAAS_LITELLM_URLS": self.model_server.url,
            "LITEMAAS_STATE_DIR": str(self.folder / f"state{number}"),
        }
        return self.launch(version, "gateway", **about)

    def launch_admin(self, version: str) -> Program:
        return self.launch(version, "admin-api", LITEMAAS_LITELLM_URLS=self.litellm_info.url)

    def logged(self, level: str) -> Counter[str]:
        """How often each event of this level is in the logs of the programs of a version, all that there were."""
        found: Counter[str] = Counter()
        for log in sorted(self.folder.glob("*-*/*.log")):
            for line in log.read_text().splitlines():
                # What is no JSON is uvicorn's, or the end of a program that Python wrote.
                uvicorn = {"level": "info" if line.startswith("INFO:") else "error", "event": line}
                entry = json.loads(line) if line.startswith("{") else uvicorn
                if entry.get("level") == level:
                    found[f"{log.parent.name.rpartition('-')[2]}: {entry['event']}"] += 1
        return found

    async def put_gateway(self, number: int, version: str) -> None:
        """In the place of one that has ended, with its journal; returns once it gets calls."""
        program = self.launch_gateway(version, number)
        await asyncio.to_thread(program.wait)
        self.gateways[number] = program
        self.gateway_balancer.add(program)
        await wait_until(self.gateway_balancer.has_all, "the load balancer to see it", timeout_s=END_S)

    async def take_out(self, number: int) -> Program:
        """Out of the load balancer; returns once it has no call, though idle connections may be open."""
        program = self.gateways[number]
        self.gateway_balancer.remove(program)
        await asyncio.sleep(DELAY_S)

        async def is_idle() -> bool:
            async with self.http.get(program.metrics_url) as answer:
                return IDLE in (await answer.text()).splitlines()

        await wait_until(is_idle, "calls to end", timeout_s=END_S, pause_s=0.2)
        return program

    async def end_gateway(self, number: int, *, says_so: bool) -> None:
        """By SIGTERM under open calls. `says_so`: it is not ready for a while before it ends, and the load balancer
        sees it; 0.2.0 does not, so that the load balancer must know before, as by Kubernetes' preStop."""
        program = self.gateways[number]
        if not says_so:
            self.gateway_balancer.remove(program)
            await asyncio.sleep(DELAY_S)
        await end(program)
        if says_so:
            self.gateway_balancer.remove(program)

    async def replace_admin(self, version: str) -> None:
        """The new one is ready before the old one ends."""
        old, self.admin = self.admin, self.launch_admin(version)
        await asyncio.to_thread(self.admin.wait)
        self.admin_balancer.add(self.admin)
        await wait_until(self.admin_balancer.has_all, "the load balancer to see it", timeout_s=END_S)
        self.admin_balancer.remove(old)
        await end(old)


async def kill(program: Program) -> None:
    """By SIGKILL."""
    assert program.child is not None
    os.killpg(program.pid, signal.SIGKILL)
    await asyncio.to_thread(program.child.stop)


async def end(program: Program) -> None:
    """By SIGTERM; its open calls go on to their end."""
    os.kill(program.pid, signal.SIGTERM)

    async def has_ended() -> bool:
        return program.child is not None and program.child.exit_code is not None

    await wait_until(has_ended, "a program to end", timeout_s=END_S)


@asynccontextmanager
async def opened(folder: Path, release: Path) -> AsyncIterator[Site]:
    """A site of the release that runs; discarded at the end."""
    site = Site(folder, release)
    async with AsyncExitStack() as stack:
        for part in (site.postgres, site.valkey, site.model_server, site.identity_provider):
            stack.callback(part.discard)
            part.launch()
        await stack.enter_async_context(site.litellm_info)
        models = configuration(site.model_server.url, LiteLLMInfoServer.KEY)["model_list"]
        site.litellm_info.answer(json.dumps({"data": [one for one in models if one["model_name"] in MODELS]}))
        site.gateway_url = await stack.enter_async_context(site.gateway_balancer.running())
        site.admin_url = await stack.enter_async_context(site.admin_balancer.running())
        await asyncio.to_thread(site.postgres.wait)
        await site.run("old", "migrate")
        for part in (site.valkey, site.model_server, site.identity_provider):
            await asyncio.to_thread(part.wait)
        site.pool = await stack.enter_async_context(new_pool(site.postgres.url(APP), size=4))
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        timeout = aiohttp.ClientTimeout(total=60)
        site.http = await stack.enter_async_context(aiohttp.ClientSession(connector=connector, timeout=timeout))
        site.gateways = [site.launch_gateway("old", number) for number in range(2)]
        site.admin = site.launch_admin("old")
        stack.callback(lambda: [program.stop() for program in (*site.gateways, site.admin)])
        for program in (*site.gateways, site.admin):
            await asyncio.to_thread(program.wait)
        for program in site.gateways:
            site.gateway_balancer.add(program)
        site.admin_balancer.add(site.admin)
        for balancer in (site.gateway_balancer, site.admin_balancer):
            await wait_until(balancer.has_all, "the load balancer to see all")
        yield site
