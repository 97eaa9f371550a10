"""How long the server takes for every page of the portal beside 10,000 users, 1,000,000 keys and 10,000,000 calls.

`make portal-bench` creates the rows as `make admin-bench` does, starts the admin program, logs in an admin and a user,
and opens every page of `admin_api/portal/routes.py` that they may see. `--write` puts the table into docs/portal.md.
Exits with 1 if a page is slower than the aim.
"""

import asyncio
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

import asyncpg
import httpx2

from admin_api.portal.routes import PAGES
from deploy.embedded.postgres import APP
from loadtests.admin_site import PEOPLE, Site, counts_text, options, running_site, session_cookie, write_table
from loadtests.processes import cpu_s, load_average

AIM_MS: Final = 300
WARM_UP: Final = 2
CALLS: Final = 40
# What stands in the address of a page: a query with the id of the user who opens it.
A_MODEL: Final = "SELECT name FROM models ORDER BY id LIMIT 1"
A_USER: Final = "SELECT id FROM users ORDER BY id LIMIT 1"
OWN_KEY: Final = "SELECT k.id FROM api_keys k JOIN accounts a ON a.id = k.account_id WHERE a.owner_user_id = $1 LIMIT 1"
# Of the person, else any.
A_TEAM: Final = """
SELECT a.id FROM accounts a LEFT JOIN team_members m ON m.account_id = a.id AND m.user_id = $1
WHERE a.kind = 'team' ORDER BY m.user_id, a.id LIMIT 1
"""
VALUES: Final[Mapping[str, str]] = {
    "/limits/{id:int}/more": (
        "SELECT l.id FROM limits l JOIN subscriptions s ON s.id = l.subscription_id "
        "JOIN accounts a ON a.id = s.account_id WHERE a.owner_user_id = $1 LIMIT 1"
    ),
    "/subscriptions/{id:int}": (
        "SELECT s.id FROM subscriptions s JOIN accounts a ON a.id = s.account_id WHERE a.owner_user_id = $1 LIMIT 1"
    ),
    "/api-keys/{id:int}/edit": OWN_KEY,
    "/api-keys/{id:int}/limit": OWN_KEY,
    "/teams/{id:int}": A_TEAM,
    "/teams/{id:int}/{action}": f"SELECT id || '/invite' FROM ({A_TEAM}) AS team",
    "/admin/teams/{id:int}": A_TEAM,
    "/admin/teams/{id:int}/{action}": f"SELECT id || '/limit' FROM ({A_TEAM}) AS team",
    "/models/{name:path}": A_MODEL,
    "/admin/models/name/{name:path}": A_MODEL,
    "/admin/models/price/{name:path}": A_MODEL,
    "/admin/users/{id:int}": A_USER,
    "/admin/users/{id:int}/anonymise": A_USER,
    "/admin/webhooks/{id:int}": (
        "INSERT INTO webhooks (url, events, secret, created_by) "
        "VALUES ('https://hooks.example.org/', '{key.ended}', '', 'bench') RETURNING id"
    ),
    "/api-keys/{id:int}": OWN_KEY,
    "/usage/calls/{request_id}": (
        "SELECT request_id FROM usage_logs WHERE api_key_id IN (SELECT id FROM api_keys WHERE user_id = $1) "
        "ORDER BY request_id DESC LIMIT 1"
    ),
    # None is kept there.
    "/refusals/{request_id}": (
        "INSERT INTO refused_calls (request_id, at, account_id, user_id, api_key_id, status, code, message, details) "
        "SELECT gen_random_uuid(), now(), account_id, user_id, id, 429, 'rate_limit_exceeded', 'Try again.', '{}' "
        "FROM api_keys WHERE user_id = $1 LIMIT 1 RETURNING request_id"
    ),
}


class WrongAnswer(Exception):
    """A page that cannot be measured."""


@dataclass(frozen=True, slots=True)
class Opened:
    """One line of the table; times in ms. `cpu_ms` is the CPU time of the admin program per call, `postgres_ms` that of
    Postgres."""

    who: str
    path: str
    p50_ms: float
    p95_ms: float
    cpu_ms: float
    postgres_ms: float
    kilobytes: float


async def open_page(http: httpx2.AsyncClient, site: Site, who: str, route: str, path: str) -> Opened | None:
    """None for a page that they may not see. Raises WrongAnswer."""
    took, size, begun = list[float](), 0, (0.0, 0.0)
    for number in range(WARM_UP + CALLS):
        if number == WARM_UP:
            begun = _cpu_s(site)
        sent = time.perf_counter()
        answer = await http.get(path, timeout=60)
        took.append((time.perf_counter() - sent) * 1000)
        if answer.status_code in (403, 404) and who == "user":
            return None
        if answer.status_code != 200:
            raise WrongAnswer(f"{who} GET {path} was answered {answer.status_code}: {answer.text[-300:]}")
        size = len(answer.content)
    own = sorted(took[WARM_UP:])
    cpu, postgres = ((after - before) * 1000 / CALLS for before, after in zip(begun, _cpu_s(site), strict=True))
    return Opened(who, route, own[CALLS // 2], own[CALLS * 95 // 100], cpu, postgres, size / 1000)


def _cpu_s(site: Site) -> tuple[float, float]:
    return cpu_s(site.program.pid), cpu_s(site.postgres.pid, with_ended=True)


async def open_all(site: Site, only: str) -> tuple[list[Opened], int]:
    """Every page whose route has the pattern, as an admin and as a user; how many could not be measured."""
    url = site.postgres.url(APP)
    connection = await asyncpg.connect(url)
    found, failed = [], 0
    for who, user_id in PEOPLE.items():
        headers = {"cookie": await session_cookie(url, user_id), "accept": "text/html"}
        async with httpx2.AsyncClient(base_url=site.program.url, headers=headers) as http:
            for route, (get, _) in PAGES.items():
                if get is None or not re.search(only, route):
                    continue
                try:
                    path = await _address(connection, route, user_id)
                    opened = await open_page(http, site, who, route, path)
                except WrongAnswer as problem:
                    # The others are measured all the same.
                    sys.stderr.write(f"{problem}\n")
                    failed += 1
                    continue
                if opened is not None:
                    cpu = f"cpu {opened.cpu_ms:6.1f} ms, of Postgres {opened.postgres_ms:6.1f} ms"
                    print(f"{opened.p50_ms:8.1f} {opened.p95_ms:8.1f} ms, {cpu}  {who} {route}", flush=True)
                    found.append(opened)
    await connection.close()
    return found, failed


async def _address(connection: "asyncpg.Connection", route: str, user_id: int) -> str:
    if "{" not in route:
        return route
    if route not in VALUES:
        raise WrongAnswer(f"VALUES has no query for what stands in {route}.")
    query = VALUES[route]
    value = await connection.fetchval(query, *([user_id] if "$1" in query else []))
    if value is None:
        raise WrongAnswer(f"There is nothing to show at {route} for user {user_id}.")
    return re.sub(r"\{.*\}", quote(str(value)), route)


def table(opened: Sequence[Opened], counts: Mapping[str, int]) -> str:
    """In Markdown, the slowest first; missed aims in bold."""
    late = sum(one.p95_ms > AIM_MS for one in opened)
    lines = [
        f"{counts_text(counts)}. Each page {CALLS} times, one after another, on {os.cpu_count()} cores; load over the "
        f"last 1, 5 and 15 minutes: {', '.join(f'{one:.1f}' for one in load_average())}.",
        f"{late} of {len(opened)} take longer than {AIM_MS} ms (**bold**).",
        "",
        "| who | page | p50 ms | p95 ms | CPU of the admin program ms | of Postgres ms | kB |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in sorted(opened, key=lambda one: -one.p95_ms):
        p95 = f"**{one.p95_ms:.0f}**" if one.p95_ms > AIM_MS else f"{one.p95_ms:.0f}"
        lines.append(
            f"| {one.who} | `{one.path}` | {one.p50_ms:.0f} | {p95} | {one.cpu_ms:.0f} | {one.postgres_ms:.0f} |"
            f" {one.kilobytes:.0f} |"
        )
    return "\n".join(lines)


def main() -> int:
    """1 if a page cannot be measured, or is slower than the aim."""
    parser = options("make portal-bench", __doc__, "portal.md")
    chosen = parser.parse_args()
    if chosen.write and chosen.only:
        parser.error("--write is for all of them.")
    with running_site(chosen) as site:
        opened, failed = asyncio.run(open_all(site, chosen.only))
    print(table(opened, site.counts))
    if failed:
        sys.stderr.write(f"{failed} pages could not be measured.\n")
    elif chosen.write:
        write_table("portal.md", "portal-bench", table(opened, site.counts))
    return 1 if failed or any(one.p95_ms > AIM_MS for one in opened) else 0


if __name__ == "__main__":
    sys.exit(main())
