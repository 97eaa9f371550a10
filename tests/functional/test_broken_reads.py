"""Postgres ends the connection on which a call waits for an answer: it is asked again on another one."""

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
import pytest
import redis.asyncio
from callers import Caller, MakeCaller, Response
from gateways import Backends, GatewayThread, wait_until

from deploy.embedded.postgres import SUPERUSER, Postgres
from gateway.storage import response_owners
from gateway.storage.response_owners import KEY, hash_of

END_WAITING = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE NOT granted AND relation = $1::text::regclass AND application_name = 'litemaas-gateway'
"""


async def with_a_broken_read(url: str, table: str, call: Callable[[], Awaitable[Response]], times: int = 1) -> Response:
    """The call's answer, where so many connections end on which a read waits for the table."""
    lock = await asyncpg.connect(url)
    try:
        await lock.execute(f"BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        answering = asyncio.ensure_future(call())
        for _ in range(times):

            async def is_ended() -> bool:
                return bool(await lock.fetch(END_WAITING, table))

            await wait_until(is_ended, "a read to wait for the table")
    finally:
        await lock.close()
    return await answering


@pytest.fixture
def superuser_url(postgres: Postgres, backends: Backends) -> str:
    return postgres.url(SUPERUSER, backends.database.name)


async def respond(caller: Caller, **fields: str) -> Response:
    body = {"model": "demo-chat", "input": "Hello"} | fields
    async with caller.http.post(f"{caller.url}/v1/responses", json=body, headers=caller.authorization) as answer:
        return Response(answer.status, answer.headers.copy(), await answer.read())


async def test_counters_are_seeded_though_connections_break(caller: Caller, superuser_url: str) -> None:
    await caller.limit("requests", 1, window="month")

    answer = await with_a_broken_read(superuser_url, "usage_quarter_hours", caller.chat, 2)

    assert answer.status == 200
    assert (await caller.chat()).code == "insufficient_quota"


async def test_the_owner_of_a_response_is_found_though_a_connection_breaks(
    make: MakeCaller, gateway: GatewayThread, backends: Backends, superuser_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(response_owners, "SELECT_S", 30.0)
    caller = await make()
    first = (await respond(caller)).json["id"]

    async def is_written() -> bool:
        return bool(await caller.pool.fetch("SELECT FROM response_owners WHERE account_id = $1", caller.account_id))

    await wait_until(is_written, "the owner of the response to be written")
    # Only Postgres knows.
    gateway.apps[0].worker.owners._known.clear()
    async with redis.asyncio.from_url(backends.valkey.url()) as client:
        await client.delete(KEY % hash_of(caller.account_id, first).hex)

    answer = await with_a_broken_read(
        superuser_url, "response_owners", lambda: respond(caller, previous_response_id=first)
    )

    assert answer.status == 200
