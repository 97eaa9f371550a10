"""The latency of every GET of the admin API with 10,000 users, 1,000,000 keys and 10,000,000 calls.

`make admin-bench` starts a Postgres, a Valkey and the admin API, creates the rows (loadtests/admin_rows.py), sends all
queries of loadtests/admin_queries.py with varying ids, and the lists of the command line, and prints p50, p95 and the
processor time of the admin API and of Postgres. `--write` puts the tables into docs/admin.md. `--lists` measures only
the lists, and exits with 1 if one is slower than its aim.
"""

import asyncio
import re
import time
from collections.abc import Mapping
from typing import Any, Final

import asyncpg
import httpx2

from admin_api.operations.actors import Actor
from admin_api.operations.people import personal_tokens
from deploy.embedded.postgres import APP, Postgres
from deploy.embedded.programs import Program
from gateway.domain.keys import Peppers
from gateway.storage.postgres import new_pool
from loadtests import admin_commands
from loadtests.admin_commands import WrongExit
from loadtests.admin_queries import NoEntry, Query, Who, cursors_of, queries_of, values_of
from loadtests.admin_site import PEOPLE, PEPPERS, options, running_site, session_cookie, write_table
from loadtests.admin_tables import EXPORT_S, Asked, Exported, late_of, tables
from loadtests.processes import cpu_s

WARM_UP: Final = 5
# A slow query is sent less often.
CALLS: Final = 100
FEWEST_CALLS: Final = 20
ENOUGH_S: Final = 3.0
MAX_S: Final = 40.0


class WrongAnswer(Exception):
    """An unexpected response, whose time is meaningless."""


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


async def log_in(url: str) -> dict[Who, dict[str, str]]:
    """Headers with the token of an admin, and with the session cookie of a user."""
    async with new_pool(url, size=1) as pool:
        token = await personal_tokens.create_token(
            pool, Actor(name="bench", role="admin"), Peppers.parse(PEPPERS), user=str(PEOPLE["admin"]), role="admin"
        )
    return {
        "admin": {"authorization": f"Bearer {token.secret}"},
        "user": {"cookie": await session_cookie(url, PEOPLE["user"])},
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


def main() -> None:
    """Prints the tables."""
    parser = options("make admin-bench", __doc__, "admin.md")
    parser.add_argument(
        "--lists", action="store_true", help="only lists, and those of the command line; 1 if any is late"
    )
    chosen = parser.parse_args()
    if chosen.write and (chosen.only or chosen.lists):
        parser.error("--write is for all of them.")
    with running_site(chosen) as site:
        try:
            asked, exported = asyncio.run(measure(site.program, site.postgres, chosen.only, lists=chosen.lists))
            ran = asyncio.run(admin_commands.run_all(site.program.env, chosen.only))
        except (NoEntry, WrongAnswer, WrongExit) as error:
            raise SystemExit(str(error)) from None
    reported = tables(asked, exported, site.counts) + (f"\n\n{admin_commands.table(ran)}" if ran else "")
    print(reported)
    if chosen.lists:
        raise SystemExit(late_of(asked, ran))
    if chosen.write:
        write_table("admin.md", "admin-bench", reported)


if __name__ == "__main__":
    main()
