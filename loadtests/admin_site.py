"""The admin program beside the rows of loadtests/admin_rows.py, for `make admin-bench` and `make portal-bench`."""

import asyncio
import json
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg

from admin_api.encryption import SecretKeys
from admin_api.operations.lookups import get_user
from admin_api.operations.people import sessions
from admin_api.operations.people.sessions import SessionTimes
from admin_api.storage.migrate import migrate
from deploy.embedded.postgres import APP, OWNER, Postgres
from deploy.embedded.processes import free_port
from deploy.embedded.programs import Program
from deploy.embedded.valkey import Valkey
from gateway.domain.keys import Peppers
from gateway.storage.postgres import new_pool
from loadtests.admin_queries import Who
from loadtests.admin_rows import make_rows
from loadtests.usage_bench import SETTINGS

DOCS: Final = Path(__file__).parents[1] / "docs"
TOKEN: Final = "0123456789abcdef0123456789abcdef"  # noqa: S105  of a server that lives as long as the bench
PEPPERS: Final = "1:" + "ab" * 32
SECRET_KEYS: Final = "1:" + "0123456789abcdef" * 4
# By loadtests/admin_rows.py: the first is an admin, the next ones own a team each.
PEOPLE: Final[Mapping[Who, int]] = {"admin": 1, "user": 2}


@dataclass(frozen=True, slots=True)
class Site:
    """A running admin program, its database, and the number of rows of each table."""

    program: Program
    postgres: Postgres
    counts: Mapping[str, int]


def options(prog: str, description: str | None, page: str) -> ArgumentParser:
    """Those of every benchmark beside these rows; `page` below docs/ has its table."""
    parser = ArgumentParser(prog=prog, description=description)
    parser.add_argument("--users", type=int, default=10_000, help="10 subscriptions and 100 keys each")
    parser.add_argument("--rows", type=int, default=10_000_000, help="calls in the ledger")
    parser.add_argument("--keep", type=Path, help="a folder for the database, to be used again")
    parser.add_argument("--only", default="", help="a pattern: what has it is measured")
    parser.add_argument("--write", action="store_true", help=f"into docs/{page}")
    return parser


@contextmanager
def running_site(chosen: Namespace) -> Iterator[Site]:
    """By the options: until the end of the block."""
    with tempfile.TemporaryDirectory(prefix="litemaas-admin-bench-") as name:
        folder = Path(name)
        # A folder that Postgres's account can reach.
        folder.chmod(0o755)
        place = chosen.keep or folder / "kept"
        with (
            filled_postgres(place, chosen.users, chosen.rows) as (postgres, counts),
            Valkey(folder / "valkey") as valkey,
        ):
            program = Program(folder, "admin-api", free_port())
            program.env = environment(postgres, valkey)
            with program:
                yield Site(program, postgres, counts)


@contextmanager
def filled_postgres(folder: Path, users: int, calls: int) -> Iterator[tuple[Postgres, dict[str, int]]]:
    """A Postgres with the rows, created now or by an earlier run in the same folder; yields the number of each."""
    reported = folder / "made.json"
    made = json.loads(reported.read_text()) if reported.exists() else None
    if made is not None and (made["users"], made["calls"]) != (users, calls):
        raise SystemExit(f"{folder} holds {made['users']} users and {made['calls']} calls: ask for those.")
    # Incomplete: an earlier run was interrupted.
    if made is None and (folder / "postgres").exists():
        raise SystemExit(f"{folder} holds half a database: remove it.")
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    postgres = Postgres(folder / "postgres", durable=False, settings=SETTINGS, keep=True)
    postgres.launch()
    postgres.wait()
    try:
        if made is None:
            made = {"users": users, "calls": calls}
            made["counts"] = asyncio.run(make_rows(postgres.url(OWNER), users, calls))
            reported.write_text(json.dumps(made))
        else:
            asyncio.run(_migrate(postgres.url(OWNER)))
        yield postgres, made["counts"]
    finally:
        postgres.stop()


async def _migrate(url: str) -> None:
    owner = await asyncpg.connect(url, command_timeout=3600)
    await migrate(owner, app_role=APP)
    await owner.close()


def environment(postgres: Postgres, valkey: Valkey) -> dict[str, str]:
    """The settings of the admin program."""
    return {
        "LITEMAAS_DATABASE_URL": postgres.url(APP),
        "LITEMAAS_REDIS_URL": valkey.url(),
        "LITEMAAS_LITELLM_URLS": "http://127.0.0.1:1",
        "LITEMAAS_LITELLM_API_KEY": "sk-none",
        "LITEMAAS_KEY_PEPPERS": PEPPERS,
        "LITEMAAS_SECRET_KEYS": SECRET_KEYS,
        "LITEMAAS_ADMIN_TOKEN": TOKEN,
        "LITEMAAS_MODEL_SYNC_INTERVAL_S": "0",
        # The request to Redis is part of every call; no call is refused.
        "LITEMAAS_ADMIN_CALLS_PER_MINUTE": "1000000",
    }


async def session_cookie(url: str, user_id: int) -> str:
    """Of a new session of the user, as a header has it."""
    async with new_pool(url, size=1) as pool:
        async with pool.acquire() as connection:
            user = await get_user(connection, str(user_id))
        cookie = await sessions.open_session(
            pool,
            Peppers.parse(PEPPERS),
            SecretKeys.parse(SECRET_KEYS),
            user,
            provider="oidc",
            times=SessionTimes(idle_s=86400, lifetime_s=86400),
            request_id=None,
            ip=None,
            user_agent=None,
        )
    return f"__Host-litemaas_session={cookie}"


def counts_text(counts: Mapping[str, int]) -> str:
    """How many rows there are of what."""
    return ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items())


def write_table(page: str, mark: str, table: str) -> None:
    """Into the page below docs/, between its marks."""
    from tests.contract.tables import with_table

    path = DOCS / page
    path.write_text(with_table(path.read_text(), mark, table))
