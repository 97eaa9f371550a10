"""Every route of the OpenAPI document, for every role that might call it."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from gateways import wait_until
from role_matrix import ANSWERS, CALLERS, MATRIX, make_world

from gateway.storage.counters.scripts import SCRIPTS, Counters
from gateway.storage.postgres import Pool
from gateway.storage.redis.urls import connect

# Reads first, deletions last, and after them what leaves no user by the name that the others use.
ORDER = ("GET", "POST", "PATCH", "PUT", "DELETE")
LAST = ("/teams/{team}/archive", "/teams/{team}/unarchive", "/anonymise")
# The whole database, but for when a login was used, and the queue that the alerts' own clock empties.
TABLES = """
SELECT relname FROM pg_class c WHERE relkind IN ('r', 'p') AND relnamespace = current_schema()::regnamespace
    AND NOT relispartition AND relname <> 'accounts_to_check' AND has_table_privilege(c.oid, 'SELECT') ORDER BY relname
"""


async def list_routes(admin: httpx2.AsyncClient) -> list[str]:
    paths: dict[str, Any] = (await admin.get("/openapi.json")).json()["paths"]
    routes = [f"{method.upper()} {path}" for path, methods in paths.items() for method in methods]
    return sorted(routes, key=lambda route: (route.endswith(LAST), ORDER.index(route.split()[0]), route))


async def read_everything(pool: Pool) -> dict[str, list[str]]:
    reported = {}
    for row in await pool.fetch(TABLES):
        asked = f"SELECT to_jsonb(t) - 'last_used_at' - 'last_seen_at' AS row FROM {row['relname']} t"  # noqa: S608
        rows = await pool.fetch(asked)
        reported[row["relname"]] = sorted(str(found["row"]) for found in rows)
    return reported


async def test_the_role_matrix_has_exactly_the_existing_routes(admin: httpx2.AsyncClient) -> None:
    routes = await list_routes(admin)

    missing = [route for route in routes if route not in MATRIX]
    assert not missing, (
        f"Who may call {missing}? Add a line to MATRIX in tests/integration/role_matrix.py for each (and a valid body "
        "to World.body, a new part of a path to World.fill), so that every role is tried on it."
    )
    assert [route for route in MATRIX if route not in routes] == []
    assert all(set(callers.split()) <= set(CALLERS) for callers in MATRIX.values())


def test_a_read_only_admin_may_read_every_route() -> None:
    for route, callers in MATRIX.items():
        if route.startswith("GET "):
            assert ("reader" in callers) == ("admin" in callers), route


@pytest.fixture
async def counters(admin_app: FastAPI, redis_url: str) -> AsyncIterator[None]:
    """Limits are looked at in Redis: without one, that is said before whose they are."""
    scripts = connect(redis_url, SCRIPTS, timeout_s=2.0)
    await scripts.open()
    admin_app.state.counters = Counters(scripts)
    yield
    admin_app.state.counters = None
    await scripts.close()


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.usefixtures("counters")
async def test_every_route_admits_exactly_the_roles_of_the_matrix(
    admin: httpx2.AsyncClient, pool: Pool, caller: str
) -> None:
    world = await make_world(pool)

    async def are_emails_held() -> bool:
        return not await pool.fetchval(
            "SELECT count(*) FROM deliveries WHERE channel = 'email' AND gave_up_at IS NULL AND last_error IS NULL"
        )

    # The program itself notes, once, that they wait for a mail server.
    await wait_until(are_emails_held, "held e-mails")
    before = await read_everything(pool)
    wrong = {}
    described = (await admin.get("/openapi.json")).json()["paths"]

    for route in await list_routes(admin):
        method, path = route.split()
        answer = await admin.request(
            method,
            world.fill(path, caller),
            params=world.query(route),
            json=world.body(route) if method in ("POST", "PATCH", "PUT") else None,
            headers={"authorization": ""} | world.logins[caller],
        )
        if caller in MATRIX.get(route, "").split():
            is_right = answer.status_code < 300 or answer.status_code in ANSWERS.get(route, {409})
        elif caller == "nobody":
            is_right = answer.status_code == 401
        else:
            is_right = answer.status_code in (403, 404)
        # A21: the document says so.
        is_right &= str(answer.status_code) in described[path][method.lower()]["responses"]
        if not is_right:
            wrong[route] = f"{answer.status_code} {answer.text[:200]}"

    assert wrong == {}, f"{caller}: {wrong}"
    if caller in ("nobody", "reader"):
        assert await read_everything(pool) == before
