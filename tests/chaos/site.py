"""The processes of a site on loopback, each of which can be killed: gateway workers, Postgres, Valkey, LiteLLM and the
model server.
"""

import asyncio
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import asyncpg
from callers import Caller, make_caller
from conftest import Database
from factories import make_model
from gateways import Backends
from workers import Workers

from admin_api.storage.migrate import migrate
from deploy.embedded.litellm import LiteLLM
from deploy.embedded.model_server.launch import ModelServer
from deploy.embedded.postgres import APP, DATABASE, OWNER, Postgres
from deploy.embedded.valkey import Valkey
from gateway.storage.postgres import Pool, new_pool

MODEL: Final = "demo-chat"
DISK_BYTES: Final = 2 * 1024 * 1024


class Site:
    """`has_litellm` of False puts the gateway right in front of the model server, which starts in a second."""

    def __init__(self, folder: Path, *, has_litellm: bool) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.postgres = Postgres(folder / "postgres", durable=True)
        self.valkey = Valkey(folder / "valkey")
        self.model_server = ModelServer(folder, delay_s=0.01, tokens_per_s=200)
        self.litellm = LiteLLM(folder / "litellm", self.model_server.url) if has_litellm else None
        self.pool: Pool
        self.http: aiohttp.ClientSession
        self.workers: Workers

    @property
    def backends(self) -> Backends:
        """The backends, for the support modules of other tests."""
        url, key = (self.litellm.url, self.litellm.api_key) if self.litellm else (self.model_server.url, "sk-x")
        database = Database(DATABASE, self.postgres.url(APP), self.postgres.url(OWNER))
        return Backends(database, self.valkey, url, key, self.model_server, self.folder)

    def new_workers(self, **changes: str) -> Workers:
        """A gateway of two workers, not started yet."""
        folder = self.folder / f"gateway-{secrets.token_hex(3)}"
        quick = {"LITEMAAS_STATE_DIR": str(self.state), "LITEMAAS_SHUTDOWN_GRACE_S": "3"}
        return Workers(self.backends, folder, count=2, **(quick | changes))

    async def restart_gateway(self, **changes: str) -> None:
        """Stops it like a deployment, and starts another."""
        await asyncio.to_thread(self.workers.program.stop)
        self.workers = self.new_workers(**changes)
        await self.workers.start()

    async def make_caller(self) -> Caller:
        """A caller with a new account and a large limit of every kind."""
        caller = await make_caller(self.pool, self.workers.url, self.http, [MODEL])
        await caller.remove_subscription_limits()
        await caller.limit("concurrency", 10_000)
        for kind in ("requests", "tokens", "cost"):
            await caller.limit(kind, 10**12, window="month")
        return caller

    def kill_worker(self) -> int:
        """One of them, any."""
        pid = secrets.choice(sorted(self.workers.pids))
        os.kill(pid, signal.SIGKILL)
        return pid

    def kill_gateway(self) -> None:
        """All workers, and their parent before it can start others."""
        assert self.workers.program.child is not None
        os.kill(self.workers.program.pid, signal.SIGSTOP)
        for pid in self.workers.pids:
            os.kill(pid, signal.SIGKILL)
        os.killpg(self.workers.program.pid, signal.SIGKILL)

    async def all_workers(self) -> None:
        """Returns once the supervisor has replaced missing workers."""
        async with asyncio.timeout(60):
            while len(self.workers.pids) < 2 or len(await asyncio.to_thread(self.workers._reachable)) < 2:
                await asyncio.sleep(0.05)

    async def crash_postgres(self) -> None:
        """Kills it: its next start recovers from its log."""
        assert self.postgres.child is not None
        os.kill(self.postgres.pid, signal.SIGQUIT)
        await asyncio.to_thread(self.postgres.child.stop)
        await asyncio.to_thread(self.postgres.start)


@asynccontextmanager
async def opened(folder: Path, *, has_litellm: bool) -> AsyncIterator[Site]:
    """A site that runs; discarded at the end."""
    site = Site(folder, has_litellm=has_litellm)
    async with AsyncExitStack() as stack:
        parts = [site.postgres, site.valkey, site.model_server, *([site.litellm] if site.litellm else [])]
        for part in parts:
            stack.callback(part.discard)
            part.launch()
        for part in parts:
            await asyncio.to_thread(part.wait)
        owner = await asyncpg.connect(site.postgres.url(OWNER))
        await migrate(owner, app_role=APP)
        await owner.close()
        site.pool = await stack.enter_async_context(new_pool(site.postgres.url(APP), size=4))
        await make_model(site.pool, MODEL)
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        timeout = aiohttp.ClientTimeout(total=60)
        site.http = await stack.enter_async_context(aiohttp.ClientSession(connector=connector, timeout=timeout))
        site.workers = site.new_workers()
        stack.callback(lambda: site.workers.program.stop())
        await site.workers.start()
        yield site


class Disk:
    """The folder of the journals, which can be filled or made read-only.

    A small disk of its own, where we may mount one; else the workers' own bound on file sizes stands for a full disk,
    and a file in the way for a read-only one.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._journal = site.state / "journal"
        self._ballast = site.state / "ballast"
        self._aside = site.state / "aside"
        self.is_mounted = False

    def mount(self) -> None:
        """Before the gateway starts."""
        self._site.state.mkdir(parents=True, exist_ok=True)
        argv = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(self._site.state)]
        self.is_mounted = subprocess.run(argv, capture_output=True, check=False).returncode == 0

    def unmount(self) -> None:
        if self.is_mounted:
            subprocess.run(["umount", "-l", str(self._site.state)], check=True)

    @property
    def kind(self) -> str:
        return "tmpfs" if self.is_mounted else "bounds"

    def fill(self) -> None:
        """Fills the disk."""
        if not self.is_mounted:
            self._bound(16)
            return
        with self._ballast.open("wb", buffering=0) as file:
            while _wrote(file.write, b"x" * 4096):
                pass

    def empty(self) -> None:
        if self.is_mounted:
            self._ballast.unlink()
        else:
            self._bound(None)

    def lock(self) -> None:
        """Makes the disk read-only."""
        if self.is_mounted:
            # The disk itself has files open for writing, so the kernel would not make it read-only: one is put over it.
            argv = ["mount", "-t", "tmpfs", "-o", "ro,size=4k", "tmpfs", str(self._journal)]
            subprocess.run(argv, check=True, capture_output=True)
        else:
            self._journal.rename(self._aside)
            self._journal.write_text("in the way")

    def unlock(self) -> None:
        if self.is_mounted:
            subprocess.run(["umount", str(self._journal)], check=True)
        else:
            self._journal.unlink()
            self._aside.rename(self._journal)

    def _bound(self, max_bytes: int | None) -> None:
        import resource

        for pid in self._site.workers.pids:
            _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            soft = resource.RLIM_INFINITY if max_bytes is None else max_bytes
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))


def _wrote(write: Callable[[bytes], Any], data: bytes) -> bool:
    try:
        return bool(write(data))
    except OSError:
        return False


def copy_segments(site: Site, place: Path) -> int:
    """A copy of every journal as it is now, as a backup might hold it; how many bytes."""
    place.mkdir(parents=True, exist_ok=True)
    copied = 0
    for path in (site.state / "journal").glob("*.log"):
        try:
            copied += Path(shutil.copy(path, place)).stat().st_size
        except FileNotFoundError:
            continue  # removed in between
    return copied
