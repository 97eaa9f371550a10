"""The commands of README.md under "Run it", one after another, as an operator types them, on a database that is made as
docs/operations.md says. LiteLLM is the one of the other tests: test_provider_keys.py starts one with a stored key."""

import asyncio
import os
import re
import secrets
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp
import asyncpg
import pytest
from admin_client import SECRET_KEYS
from callers import CHAT, chat_body
from conftest import Database, run_as_superuser
from gateways import Backends, wait_until

from deploy.embedded.component import Component, answers
from deploy.embedded.postgres import SUPERUSER, Postgres
from deploy.embedded.processes import Child, free_port
from deploy.embedded.programs import ROOT
from deploy.embedded.valkey import Valkey

pytestmark = pytest.mark.timeout(240)
LITELLM: Final = 'LITELLM_MASTER_KEY="$LITEMAAS_LITELLM_API_KEY" litemaas provider-keys exec -- litellm --config'
A_PROGRAM: Final = re.compile(r"litemaas (?:gateway|admin-api) .*--port (\d+)")
TYPED: Final = b"sk-made-up-for-this-test\n"
TOKENS: Final = 7


class TypedProgram(Component):
    """A program that an operator started with this line."""

    def __init__(self, folder: Path, line: str, port: str, env: Mapping[str, str]) -> None:
        own = str(free_port())
        self._argv = ["/bin/bash", "-c", f"exec {line.replace(port, own)}"]
        self._folder, self._env = folder, dict(env)
        self.url = f"http://127.0.0.1:{own}"

    def launch(self) -> None:
        log = self._folder / f"{self.url.rpartition(':')[2]}.log"
        self.child = Child("A program", self._argv, log=log, env=self._env, cwd=self._folder)

    def is_ready(self) -> bool:
        return answers(f"{self.url}/health/ready")


@dataclass(frozen=True, slots=True)
class Terminal:
    """Where an operator types: its folder, its environment, and what it printed by line."""

    folder: Path
    env: Mapping[str, str]
    printed: dict[str, str] = field(default_factory=dict)

    async def run(self, line: str) -> None:
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec(
            "/bin/bash", "-c", line, env=dict(self.env), cwd=self.folder, stdin=pipe, stdout=pipe, stderr=pipe
        )
        out, err = await child.communicate(TYPED)
        assert child.returncode == 0, f"{line}: {out.decode()}{err.decode()}"
        self.printed[line] = out.decode()

    def said(self, beginning: str) -> str:
        (found,) = [text for line, text in self.printed.items() if line.startswith(beginning)]
        return found


def documented_commands() -> list[str]:
    text = (ROOT / "README.md").read_text().split("## Run it\n")[1].split("\n### ")[0]
    return [line.split(" #")[0].rstrip() for line in text.split("```\n")[1].splitlines()]


@pytest.fixture
async def documented_database(postgres: Postgres, empty_database: Database) -> Database:
    """Its roles are there already."""
    page = (ROOT / "docs" / "operations.md").read_text().split("```sql\n")[1].split("```")[0]
    of_server, of_database = re.sub(r"\blitemaas\b", empty_database.name, page).split("\\connect")
    for statement in of_server.splitlines():
        if statement.startswith(("REVOKE", "GRANT")):
            await run_as_superuser(postgres, statement)
    superuser = await asyncpg.connect(postgres.url(SUPERUSER, empty_database.name))
    await superuser.execute(of_database.partition("\n")[2])
    await superuser.close()
    return empty_database


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[Valkey]:
    with Valkey(tmp_path / "valkey") as server:
        yield server


@pytest.fixture
def terminal(documented_database: Database, own_valkey: Valkey, backends: Backends, tmp_path: Path) -> Terminal:
    env = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "LITEMAAS_OWNER_DATABASE_URL": documented_database.owner_url,
        "LITEMAAS_DATABASE_URL": documented_database.app_url,
        "LITEMAAS_REDIS_URL": own_valkey.url(),
        "LITEMAAS_LITELLM_URLS": backends.litellm_url,
        "LITEMAAS_LITELLM_API_KEY": backends.litellm_key,
        "LITEMAAS_KEY_PEPPERS": "1:" + "ab" * 32,
        "LITEMAAS_SECRET_KEYS": SECRET_KEYS,
        "LITEMAAS_ADMIN_TOKEN": secrets.token_hex(32),
        "LITEMAAS_STATE_DIR": str(tmp_path / "state"),
        "LITEMAAS_METRICS_LISTEN": "off",
    }
    return Terminal(tmp_path, env)


@pytest.fixture
async def programs() -> AsyncIterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


async def test_the_commands_of_the_readme_lead_from_nothing_to_a_call_and_its_usage(
    terminal: Terminal, programs: ExitStack, usage_log: Path, http: aiohttp.ClientSession
) -> None:
    running: dict[str, str] = {}
    for line in documented_commands():
        if line.startswith(LITELLM):
            continue
        if found := A_PROGRAM.fullmatch(line.removesuffix(" --workers 2")):
            program = TypedProgram(terminal.folder, line, found[1], terminal.env)
            programs.enter_context(program)
            running[line.split()[1]] = program.url
            continue
        if line.startswith("litemaas usage show"):
            key = re.search(r"sk-lm-\S+", terminal.said("litemaas keys create"))
            assert key is not None
            await call_and_log(running["gateway"], key[0], usage_log, terminal.folder / "usage.jsonl", http)
            await row_is_written(terminal.env["LITEMAAS_DATABASE_URL"])
        await terminal.run(line)

    # As where the command runs in a container, and from a pipe.
    await terminal.run("litemaas ledger reconcile --litellm-log - < usage.jsonl")
    await terminal.run("litemaas ledger reconcile --litellm-log <(cat usage.jsonl)")

    assert f"+ {TOKENS} tokens" in terminal.said("litemaas usage show")
    assert (terminal.folder / "usage.csv").read_text().startswith("BilledCost,")
    for log in ("usage.jsonl", "-", "<("):
        assert "same: 1 calls" in terminal.said(f"litemaas ledger reconcile --litellm-log {log}")


async def call_and_log(gateway_url: str, key: str, usage_log: Path, copied: Path, http: aiohttp.ClientSession) -> None:
    """One call, whose line of LiteLLM's log is copied."""
    body, login = chat_body(f"Hello [tokens={TOKENS}]"), {"authorization": f"Bearer {key}"}
    async with http.post(gateway_url + CHAT, json=body, headers=login) as answer:
        assert answer.status == 200, await answer.text()
        request_id = answer.headers["x-request-id"]

    def copy_line() -> bool:
        lines = [line for line in usage_log.read_text().splitlines() if request_id in line]
        copied.write_text("".join(f"{line}\n" for line in lines))
        return bool(lines)

    async def is_logged() -> bool:
        return copy_line()

    await wait_until(is_logged, "LiteLLM's line")


async def row_is_written(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)

    async def is_there() -> bool:
        return bool(await connection.fetchval("SELECT EXISTS (SELECT FROM usage_logs)"))

    await wait_until(is_there, "the call in the ledger")
    await connection.close()
