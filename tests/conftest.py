"""Fixtures for all tests: a real Postgres with a database for each test, an emptied Valkey, LiteLLM and the admin API.

Each program is started once per process, when the first test needs it, by the launchers of `make demo`.
"""

import gc
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import httpx2
import hypothesis
import pytest
import redis.asyncio
import structlog
from loopback_servers import LiteLLMInfoServer
from structlog.testing import capture_logs
from xdist_scheduling import FilePerProcess

from admin_api.storage.migrate import migrate
from deploy.embedded.litellm import LiteLLM
from deploy.embedded.model_server.launch import ModelServer
from deploy.embedded.postgres import APP, OWNER, SUPERUSER, Postgres
from deploy.embedded.valkey import Valkey
from gateway.storage.postgres import Pool, new_pool

if TYPE_CHECKING:
    from fastapi import FastAPI
    from playwright.async_api import Browser
    from portal.browser.windows import Windows
    from xdist.remote import Producer
    from xdist.scheduler import Scheduling

TEMPLATE = "litemaas_template"
USAGE_LOG = "litellm-usage.jsonl"
# A file system in memory, and the free space it must have to be used.
IN_MEMORY = Path("/dev/shm")  # noqa: S108  only a folder of the test run is made in it
MIN_FREE_BYTES = 4 * 1024**3
# Made before the collector looks at the young ones.
YOUNG_OBJECTS = 50_000

# A deadline would make a test depend on the load of the machine.
hypothesis.settings.register_profile("litemaas", deadline=None)
hypothesis.settings.load_profile("litemaas")
# While modules are loaded and tests collected, nothing becomes garbage.
gc.disable()


def pytest_collection_finish() -> None:
    """The collector would look at all modules and tests again and again, for a tenth of the CPU time of all tests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 10, 20)
    gc.enable()


def pytest_unconfigure() -> None:
    """Which lines ran is written now: a process that takes longer than 10 s to end, for a thread that it waits for, is
    killed by pytest-xdist."""
    if "coverage" in sys.modules and (measured := sys.modules["coverage"].Coverage.current()):
        measured.save()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: "Producer") -> "Scheduling | None":
    return FilePerProcess(config, log) if config.getoption("dist") == "loadfile" else None


@dataclass(frozen=True, slots=True)
class Database:
    """A migrated, empty database for one test."""

    name: str
    app_url: str
    owner_url: str

    async def execute_as_owner(self, statement: str, *values: object) -> None:
        """For what the app's role may not do, such as changing rows of the ledger."""
        owner = await asyncpg.connect(self.owner_url)
        await owner.execute(statement, *values)
        await owner.close()


@pytest.fixture(scope="session")
def programs_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("parts")


@pytest.fixture(scope="session")
def memory_folder(programs_folder: Path) -> Iterator[Path]:
    """The folder for Postgres clusters: in memory, if there is space.

    The database of a test is 500 small files, created and removed for each of a thousand tests: 30 ms in memory, up to
    half a second on a disk.
    """
    if not IN_MEMORY.is_dir() or shutil.disk_usage(IN_MEMORY).free < MIN_FREE_BYTES:
        yield programs_folder
        return
    remove_left_behind()
    with tempfile.TemporaryDirectory(prefix=f"litemaas-tests-{os.getpid()}-", dir=IN_MEMORY) as name:
        folder = Path(name)
        # If the tests run as root, Postgres runs as another user.
        folder.chmod(0o755)
        yield folder


def remove_left_behind() -> None:
    """Removes folders in memory that killed test processes left."""
    for folder in IN_MEMORY.glob("litemaas-tests-*-*"):
        if not Path("/proc", folder.name.split("-")[2]).exists():
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(memory_folder: Path) -> Iterator[Postgres]:
    with Postgres(memory_folder / "postgres", durable=False) as server:
        yield server


@pytest.fixture(scope="session")
async def template(postgres: Postgres) -> str:
    """A database migrated once; copying it takes a tenth of the time of a migration."""
    await create_database(postgres, TEMPLATE)
    owner = await asyncpg.connect(postgres.url(OWNER, TEMPLATE))
    await migrate(owner, app_role=APP)
    await owner.close()
    return TEMPLATE


class Superuser:
    """A connection for all tests of a process: opening one takes a quarter of the time of copying a database."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self._connection: asyncpg.Connection | None = None

    async def execute(self, sql: str) -> None:
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(self._postgres.url(SUPERUSER, "postgres"))
        await self._connection.execute(sql)

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()


@pytest.fixture(scope="session")
async def superuser(postgres: Postgres) -> AsyncIterator[Superuser]:
    opened = Superuser(postgres)
    yield opened
    await opened.close()


@pytest.fixture
async def database(postgres: Postgres, superuser: Superuser, template: str) -> AsyncIterator[Database]:
    name = f"test_{secrets.token_hex(6)}"
    await superuser.execute(creation(name, template))
    yield Database(name, postgres.url(APP, name), postgres.url(OWNER, name))
    await superuser.execute(removal(name))


@pytest.fixture
async def empty_database(postgres: Postgres) -> AsyncIterator[Database]:
    """A database without tables, for tests of migrations."""
    name = f"empty_{secrets.token_hex(6)}"
    await create_database(postgres, name)
    yield Database(name, postgres.url(APP, name), postgres.url(OWNER, name))
    await drop_database(postgres, name)


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    async with new_pool(database.app_url, size=10) as opened:
        yield opened


@pytest.fixture(scope="session")
def valkey(programs_folder: Path) -> Iterator[Valkey]:
    with Valkey(programs_folder / "valkey") as server:
        yield server


@pytest.fixture
async def redis_url(valkey: Valkey) -> str:
    async with redis.asyncio.from_url(valkey.url()) as client:
        await client.flushall()
    return valkey.url()


@pytest.fixture(scope="session")
def model_server(programs_folder: Path) -> Iterator[ModelServer]:
    """The model server behind LiteLLM."""
    with ModelServer(programs_folder / "models", delay_s=0, tokens_per_s=0) as server:
        yield server


@pytest.fixture(scope="session")
def litellm(programs_folder: Path, model_server: ModelServer) -> Iterator[LiteLLM]:
    """Launched, but maybe not ready yet. Its log of calls is the file USAGE_LOG in its folder."""
    folder = programs_folder / "litellm"
    litellm = LiteLLM(folder, model_server.url, usage_log=folder / USAGE_LOG)
    try:
        litellm.launch()
        yield litellm
    finally:
        litellm.discard()


@pytest.fixture
def logged() -> Iterator[list[MutableMapping[str, Any]]]:
    """Log entries of any level: a gateway that ran in this process before may have set a minimum level."""
    before = structlog.get_config()
    structlog.reset_defaults()
    with capture_logs() as lines:
        yield lines
    structlog.configure(**before)


@pytest.fixture
async def litellm_info_server() -> AsyncIterator[LiteLLMInfoServer]:
    async with LiteLLMInfoServer() as server:
        yield server


@pytest.fixture
async def admin_app(database: Database, litellm_info_server: LiteLLMInfoServer) -> AsyncIterator["FastAPI"]:
    # Imported late: it takes a second, and most tests do not need it.
    from admin_client import settings_for

    from admin_api.main import create_app

    made = create_app(settings_for(database.app_url, litellm_info_server.url))
    async with made.router.lifespan_context(made):
        yield made


@pytest.fixture
async def admin(admin_app: "FastAPI") -> AsyncIterator[httpx2.AsyncClient]:
    from admin_client import LOGIN

    transport = httpx2.ASGITransport(app=admin_app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://admin", headers=LOGIN) as opened:
        yield opened


@pytest.fixture(scope="session")
async def chromium() -> AsyncIterator["Browser"]:
    """A real browser, one for all tests of a process."""
    from portal.browser.chromium import NoChromium, running_chromium

    try:
        async with running_chromium() as browser:
            yield browser
    except NoChromium as exc:
        pytest.fail(str(exc), pytrace=False)


@pytest.fixture
async def windows(chromium: "Browser") -> AsyncIterator["Windows"]:
    """Opens windows of it; the test fails if something went wrong in one that it did not expect."""
    from portal.browser.windows import Windows

    opened = Windows(chromium)
    yield opened
    await opened.close()


def creation(name: str, template: str | None) -> str:
    copy = f"TEMPLATE {template} STRATEGY file_copy" if template else ""
    return f"CREATE DATABASE {name} OWNER {OWNER} {copy}"


def removal(name: str) -> str:
    # A connection that a test left open must not block the next test.
    return f"DROP DATABASE {name} WITH (FORCE)"


async def create_database(postgres: Postgres, name: str, *, template: str | None = None) -> None:
    await run_as_superuser(postgres, creation(name, template))


async def drop_database(postgres: Postgres, name: str) -> None:
    await run_as_superuser(postgres, removal(name))


async def run_as_superuser(postgres: Postgres, sql: str) -> None:
    connection = await asyncpg.connect(postgres.url(SUPERUSER, "postgres"))
    try:
        await connection.execute(sql)
    finally:
        await connection.close()
