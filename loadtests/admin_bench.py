"""The latency of every GET of the admin API with 10,000 users, 1,000,000 keys and 10,000,000 calls.

`make admin-bench` starts a Postgres, a Valkey and the admin API, creates the rows (loadtests/admin_rows.py), sends all
queries of loadtests/admin_queries.py with varying ids, and the lists of the command line, and prints p50, p95 and the
processor time of the admin API and of Postgres. `--write` puts the tables into docs/admin.md. `--lists` measures only
the lists, and exits with 1 if one is slower than its aim.
"""

import argparse
import asyncio
import json
import os
import re
import tempfile
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg
import httpx2

from admin_api.encryption import SecretKeys
from admin_api.operations.actors import Actor
from admin_api.operations.lookups import get_user
from admin_api.operations.people import personal_tokens, sessions
from admin_api.operations.people.sessions import SessionTimes
from admin_api.storage.migrate import migrate
from deploy.embedded.postgres import APP, OWNER, Postgres
from deploy.embedded.processes import free_port
from deploy.embedded.programs import Program
from deploy.embedded.valkey import Valkey
from gateway.domain.keys import Peppers
from gateway.storage.postgres import new_pool
from loadtests import admin_commands
from loadtests.admin_commands import CLI_AIM_MS, Ran, WrongExit
from loadtests.admin_queries import NoEntry, Query, Who, cursors_of, queries_of, values_of
from loadtests.admin_rows import make_rows
from loadtests.processes import cpu_s
from loadtests.usage_bench import SETTINGS

PAGE: Final = Path(__file__).parents[1] / "docs" / "admin.md"
TOKEN: Final = "0123456789abcdef0123456789abcdef"  # noqa: S105  of a server that lives as long as the bench
PEPPERS: Final = "1:" + "ab" * 32
SECRET_KEYS: Final = "1:" + "0123456789abcdef" * 4
# By loadtests/admin_rows.py: the first is an admin, the next ones own a team each.
PEOPLE: Final[Mapping[Who, int]] = {"admin": 1, "user": 2}
WARM_UP: Final = 5
# A slow query is sent less often.
CALLS: Final = 100
FEWEST_CALLS: Final = 20
ENOUGH_S: Final = 3.0
MAX_S: Final = 40.0
EXPORT_S: Final = 5.0


class WrongAnswer(Exception):
    """An unexpected response, whose time is meaningless."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One line of the table; times in ms. `cpu_ms` is the CPU time of the admin API per call, `postgres_ms` that of
    Postgres."""

    question: Query
    calls: int
    p50_ms: float
    p95_ms: float
    cpu_ms: float
    postgres_ms: float

    @property
    def is_late(self) -> bool:
        """Whether it missed its aim."""
        return self.p95_ms > self.question.entry.aim_ms


@dataclass(frozen=True, slots=True)
class Exported:
    """One line of the other one: until the first byte, and rows and megabytes a second from there on."""

    question: Query
    first_byte_ms: float
    rows: int
    seconds: float
    megabytes: float


class Bench:
    """A client of a running admin API with two users, one for each way to log in."""

    def __init__(self, program: Program, postgres: Postgres, logins: Mapping[Who, Mapping[str, str]]) -> None:
        self._pid = program.pid
        self._postgres = postgres.pid
        self._http = {
            who: httpx2.AsyncClient(base_url=program.url, headers=headers, timeout=120)
            for who, headers in logins.items()
        }

    async def close(self) -> None:
        for client in self._http.values():
            await client.aclose()

    async def document(self) -> Mapping[str, Any]:
        answer = await self._http["admin"].get("/openapi.json")
        document: Mapping[str, Any] = answer.json()
        return document

    async def ask(self, question: Query, values: Mapping[str, Any]) -> Asked:
        """Sequential calls."""
        http, took = self._http[question.who], list[float]()
        begun, cpu, postgres = time.perf_counter(), 0.0, 0.0
        while len(took) < WARM_UP + CALLS:
            if len(took) == WARM_UP:
                cpu, postgres = cpu_s(self._pid), cpu_s(self._postgres, with_ended=True)
            seconds, asked = time.perf_counter() - begun, len(took) - WARM_UP
            if (asked >= FEWEST_CALLS and seconds > ENOUGH_S) or (asked > 0 and seconds > MAX_S):
                break
            url, query = question.ask(values)
            sent = time.perf_counter()
            answer = await http.get(url, params=query)
            took.append((time.perf_counter() - sent) * 1000)
            _check(answer, question)
        cpu, postgres = cpu_s(self._pid) - cpu, cpu_s(self._postgres, with_ended=True) - postgres
        took = sorted(took[WARM_UP:])
        count = len(took)
        p50, p95 = took[count // 2], took[count * 95 // 100]
        return Asked(question, count, p50, p95, cpu * 1000 / count, postgres * 1000 / count)

    async def read(self, question: Query, values: Mapping[str, Any]) -> Exported:
        """Reads an export from its beginning, for at most `EXPORT_S`."""
        url, query = question.ask(values)
        sent, size, rows, first = time.perf_counter(), 0, 0, 0.0
        async with self._http[question.who].stream("GET", url, params=query) as answer:
            if answer.status_code != question.entry.status:
                await answer.aread()
            _check(answer, question)
            async for part in answer.aiter_raw():
                first = first or time.perf_counter()
                size, rows = size + len(part), rows + part.count(b"\n")
                if time.perf_counter() - sent > EXPORT_S:
                    break
        return Exported(question, (first - sent) * 1000, rows, time.perf_counter() - first, size / 1e6)


def _check(answer: httpx2.Response, question: Query) -> None:
    if answer.status_code != question.entry.status:
        reported = answer.text[:300] if answer.is_closed else ""
        raise WrongAnswer(f"{question.who} GET {answer.url} was answered {answer.status_code}: {reported}")


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


async def log_in(url: str) -> dict[Who, dict[str, str]]:
    """Headers with the token of an admin, and with the session cookie of a user."""
    peppers = Peppers.parse(PEPPERS)
    async with new_pool(url, size=1) as pool:
        actor = Actor(name="bench", role="admin")
        token = await personal_tokens.create_token(pool, actor, peppers, user=str(PEOPLE["admin"]), role="admin")
        async with pool.acquire() as connection:
            user = await get_user(connection, str(PEOPLE["user"]))
        cookie = await sessions.open_session(
            pool,
            peppers,
            SecretKeys.parse(SECRET_KEYS),
            user,
            provider="oidc",
            times=SessionTimes(idle_s=86400, lifetime_s=86400),
            request_id=None,
            ip=None,
            user_agent=None,
        )
    return {
        "admin": {"authorization": f"Bearer {token.secret}"},
        "user": {"cookie": f"__Host-litemaas_session={cookie}"},
    }


async def measure(
    program: Program, postgres: Postgres, only: str, *, lists: bool
) -> tuple[list[Asked], list[Exported]]:
    """Every question, or every list, whose line, as it is printed, has the pattern `only` in it."""
    url = postgres.url(APP)
    bench = Bench(program, postgres, await log_in(url))
    connection = await asyncpg.connect(url)
    values = {who: await values_of(connection, user, is_admin=who == "admin") for who, user in PEOPLE.items()}
    asked, exported = [], []
    for question in queries_of(await bench.document(), values["admin"]):
        name = f"{question.who} {question.path} {question.reported}".strip()
        if not re.search(only, name) or (lists and question.entry.cursor is None):
            continue
        some = dict(values[question.who])
        if question.entry.cursor is not None:
            some["cursor"] = await cursors_of(connection, question.entry.cursor)
        if question.entry.is_export:
            exported.append(one := await bench.read(question, some))
            print(
                f"{one.first_byte_ms:8.1f} ms to the first of {one.rows} rows in {one.seconds:.1f} s  {name}",
                flush=True,
            )
        else:
            asked.append(two := await bench.ask(question, some))
            cpu = f"cpu {two.cpu_ms:6.1f} ms, of Postgres {two.postgres_ms:6.1f} ms"
            print(f"{two.p50_ms:8.1f} {two.p95_ms:8.1f} ms, {cpu}  {name}", flush=True)
    await connection.close()
    await bench.close()
    return asked, exported


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


def tables(asked: Sequence[Asked], exported: Sequence[Exported], counts: Mapping[str, int]) -> str:
    """The tables in Markdown, the slowest first; missed targets in bold."""
    reported = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items())
    load = ", ".join(f"{number:.1f}" for number in os.getloadavg())
    late = sum(one.is_late for one in asked)
    beside = (
        f"{reported}. Pages of 100; calls one after another, on {os.cpu_count()} cores; load over the last 1, 5 and 15 "
        f"minutes: {load}. {late} of {len(asked)} questions miss their aim (**bold**)."
    )
    lines = [
        *textwrap.wrap(beside, 118, break_on_hyphens=False),
        "",
        "| who | GET | filter | calls | p50 ms | p95 ms | aim ms | CPU of the admin API ms | of Postgres ms |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in sorted(asked, key=lambda one: -one.p95_ms / one.question.entry.aim_ms):
        what, aim = one.question, one.question.entry.aim_ms
        p95 = f"**{one.p95_ms:.1f}**" if one.is_late else f"{one.p95_ms:.1f}"
        whom = (what.who, f"`{what.path}`", what.reported or "–", str(one.calls))
        times = (f"{one.p50_ms:.1f}", p95, str(aim), f"{one.cpu_ms:.1f}", f"{one.postgres_ms:.1f}")
        lines.append(f"| {' | '.join((*whom, *times))} |")
    if not exported:
        return "\n".join(lines)
    lines += [
        "",
        f"Exports, read for {EXPORT_S:.0f} seconds or to their end:",
        "",
        "| who | GET | filter | first byte ms | rows | rows a second | MB a second |",
        "|---|---|---|---|---|---|---|",
    ]
    for file in exported:
        q, seconds = file.question, max(file.seconds, 0.001)
        lines.append(
            f"| {q.who} | `{q.path}` | {q.reported or '–'} | {file.first_byte_ms:.0f} | {file.rows:,} |"
            f" {file.rows / seconds:,.0f} | {file.megabytes / seconds:.1f} |"
        )
    return "\n".join(lines)


def late_of(asked: Sequence[Asked], ran: Sequence[Ran]) -> str | None:
    """A sentence about the lists that missed their aim; None if none did."""
    names = [f"{one.question.who} GET {one.question.path} {one.question.reported}" for one in asked if one.is_late]
    names += [f"litemaas {one.command}" for one in ran if one.p95_ms > CLI_AIM_MS]
    return f"{len(names)} lists of {len(asked) + len(ran)} miss their aim: {'; '.join(names)}" if names else None


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=10_000, help="10 subscriptions and 100 keys each")
    parser.add_argument("--rows", type=int, default=10_000_000, help="calls in the ledger")
    parser.add_argument("--keep", type=Path, help="a folder for the database, to be used again")
    parser.add_argument("--only", default="", help="a pattern: questions that have it")
    parser.add_argument(
        "--lists", action="store_true", help="only lists, and those of the command line; 1 if any is late"
    )
    parser.add_argument("--write", action="store_true", help="into docs/admin.md")
    chosen = parser.parse_args()
    if chosen.write and (chosen.only or chosen.lists):
        parser.error("--write is for all of them.")
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
            try:
                with program:
                    asked, exported = asyncio.run(measure(program, postgres, chosen.only, lists=chosen.lists))
                    ran = asyncio.run(admin_commands.run_all(program.env, chosen.only))
            except (NoEntry, WrongAnswer, WrongExit) as error:
                raise SystemExit(str(error)) from None
    reported = tables(asked, exported, counts) + (f"\n\n{admin_commands.table(ran)}" if ran else "")
    print(reported)
    if chosen.lists:
        raise SystemExit(late_of(asked, ran))
    if chosen.write:
        marks = re.compile(r"(<!-- admin-bench -->\n).*?(<!-- /admin-bench -->)", re.DOTALL)
        PAGE.write_text(marks.sub(lambda match: f"{match[1]}{reported}\n{match[2]}", PAGE.read_text()))


if __name__ == "__main__":
    main()
