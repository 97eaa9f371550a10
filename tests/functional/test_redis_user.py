"""A user of Redis with the documented rights: all that the programs do succeeds, and no right is there for nothing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import aiohttp
import httpx2
import pytest
import redis
from admin_client import LOGIN, settings_for
from callers import make_caller
from command_line import CommandLine
from gateways import Backends, Ledger, StartGateway, wait_until
from redis_rights import DOCUMENTED, denied, of_start_script, used

from admin_api.main import create_app
from deploy.embedded.processes import free_port
from deploy.embedded.programs import ROOT
from deploy.embedded.valkey import Valkey
from deploy.image.composition import ComposedValkey
from gateway.storage.counters.drift import measure_drift
from gateway.storage.counters.scripts import Counters
from gateway.storage.postgres import Pool
from gateway.storage.redis.link import Script
from gateway.storage.redis.urls import connect

# Health checks and doctor ask with these.
OF_CHECKS: Final = {"+ping", "+script|exists"}
PASSWORD: Final = "0123456789abcdef"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Valkey]:
    """As the compose file starts it."""
    script = ROOT / "deploy" / "valkey" / "start.sh"
    with ComposedValkey(tmp_path / "valkey", free_port(), script, {"VALKEY_PASSWORD": PASSWORD}) as started:
        yield started


def test_the_compose_file_gives_its_user_the_documented_rights() -> None:
    assert of_start_script() == DOCUMENTED


async def test_the_programs_need_the_documented_rights_and_no_others(
    server: Valkey, start_gateway: StartGateway, backends: Backends, pool: Pool, http: aiohttp.ClientSession
) -> None:
    gateway = start_gateway(redis_url=server.url(), when_limits_unavailable="local")
    caller = await make_caller(pool, gateway.url, http, ("demo-chat",))
    await caller.limit("rpm", 100)
    await caller.limit("cost", 10**12, window="day")
    assert (await caller.chat()).status == 200
    body = {"model": "demo-chat", "input": "Hello"}
    async with http.post(f"{gateway.url}/v1/responses", json=body, headers=caller.authorization) as answer:
        assert answer.status == 200
        response_id = (await answer.json())["id"]
    async with http.get(f"{gateway.url}/v1/responses/{response_id}", headers=caller.authorization) as answer:
        assert answer.status == 200
    await Ledger(pool).rows(caller.account_id, 3)
    await caller.get("/v1/limits")

    scripts = connect(server.url(), (), timeout_s=2)
    await scripts.open()
    counters = Counters(scripts)
    assert await counters.keep_ended(caller.account_id, 1000)
    assert caller.account_id in await counters.accounts_with_leases()
    # The server does not know it, as after SCRIPT FLUSH.
    assert await scripts.run(Script("unknown", b"return 7", "0" * 40), "lm2") == 7
    await measure_drift(counters, pool, caller.account_id, await counters.now_ms())
    await scripts.close()

    app = create_app(settings_for(backends.database.app_url, redis_url=server.url(), admin_calls_per_minute=100))
    async with app.router.lifespan_context(app):
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://admin", headers=LOGIN) as admin:
            assert "ratelimit-limit" in str((await admin.get("/api/v1/models")).headers).lower()

    with redis.Redis.from_url(server.url()) as client:

        async def has_used_all() -> bool:
            return set(DOCUMENTED[5:]) - OF_CHECKS <= used(client.info("commandstats"))

        await wait_until(has_used_all, f"the use of {set(DOCUMENTED[5:]) - used(client.info('commandstats'))}")
        assert denied(client) == 0


async def test_doctor_finds_no_fault_with_these_rights(server: Valkey, backends: Backends) -> None:
    done = await CommandLine(backends.environment(LITEMAAS_REDIS_URL=server.url())).run("doctor", "--json")

    found = [one for one in done.any_json()["findings"] if one["check"] == "redis"]
    assert {one["status"] for one in found} == {"ok"}, found
    with redis.Redis.from_url(server.url()) as client:
        # CONFIG GET, which tells it more where it is allowed.
        assert denied(client) == 1


def test_everything_else_is_out_of_reach(server: Valkey) -> None:
    tries = [
        ("GET", "of:another:program"), ("SET", "of:another:program", "x"), ("KEYS", "*"), ("SCAN", "0"), ("FLUSHALL",),
        ("CONFIG", "GET", "maxmemory"), ("CONFIG", "SET", "maxmemory", "1"), ("SHUTDOWN",), 
        ("MONITOR",), ("ACL", "LIST"), ("CLIENT", "LIST"), ("SUBSCRIBE", "lm"), ("REPLICAOF", "no", "one"),
        ("DEL", "lm2:{1}"), ("MODULE", "LIST"), ("SAVE",), ("EVAL", "return redis.call('GET', KEYS[1])", "1", "other"),
    ]  # fmt: skip
    with redis.Redis.from_url(server.url()) as client:
        for words in tries:
            with pytest.raises(redis.exceptions.ResponseError, match=r"permission|NOPERM|not allowed|can't access"):
                client.execute_command(*words)
        assert denied(client) == len(tries)
