"""A gateway is killed with 50 open streams: its slots are freed, its calls are charged estimates, and its journal
replaces them when it is adopted later."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import redis.asyncio
from callers import Caller, make_caller
from gateways import PEPPERS, RedisState, wait_until
from held_up_rows import rows_held_up
from realtime_sessions import MODEL, RealtimeSession

from deploy.embedded.processes import free_port
from deploy.embedded.valkey import Valkey
from gateway.storage.postgres import Pool

STREAMS = 50
# A lease lasts 60 s, and reapers run every 10 s.
REAPED_WITHIN_S = 75.0

Backends = Any
StartGateway = Callable[..., Any]


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    with Valkey(tmp_path / "valkey") as server:
        yield server


@pytest.fixture
def killed(backends: Backends, valkey: Valkey, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A gateway in its own process, and its URL."""
    port = free_port()
    env = {
        **os.environ,
        "LITEMAAS_DATABASE_URL": backends.database.app_url,
        "LITEMAAS_REDIS_URL": valkey.url(),
        "LITEMAAS_LITELLM_URLS": backends.model_server.url,
        "LITEMAAS_LITELLM_API_KEY": "sk-x",
        "LITEMAAS_KEY_PEPPERS": PEPPERS,
        "LITEMAAS_STATE_DIR": str(tmp_path / "killed"),
        "LITEMAAS_LOG_LEVEL": "error",
    }
    arguments = ["-m", "uvicorn", "gateway.main:create_app", "--factory", "--port", str(port), "--log-level", "error"]
    process = subprocess.Popen([sys.executable, *arguments], env=env)
    yield process, f"http://127.0.0.1:{port}"
    process.kill()
    process.wait()


@pytest.mark.timeout(240)
async def test_a_killed_gateway_frees_its_slots_and_its_adopted_journal_replaces_the_estimates(
    backends: Backends,
    pool: Pool,
    valkey: Valkey,
    killed: tuple[subprocess.Popen[bytes], str],
    start_gateway: StartGateway,
    http: aiohttp.ClientSession,
    tmp_path: Path,
) -> None:
    process, url = killed
    await wait_until(lambda: _is_ready(http, url), "the gateway", timeout_s=30)
    caller = await make_caller(pool, url, http, ("demo-chat",))
    await caller.limit("concurrency", STREAMS)
    await caller.limit("requests", 1000, window="day")

    talker = await make_caller(pool, url, http, (MODEL,))
    session, usage = await _open_session(talker)

    # Ten calls end while neither Redis nor Postgres accepts anything: they are in the journal only.
    streams = [asyncio.create_task(_stream(caller, "[tokens=4000] [rate=5]")) for _ in range(STREAMS - 10)]
    ending = [asyncio.create_task(_stream(caller, "[tokens=10] [rate=5]")) for _ in range(10)]
    async with redis.asyncio.from_url(valkey.url()) as client:
        redis_state = RedisState(client)
        await wait_until(lambda: _has_leases(redis_state, caller, STREAMS), "all streams to be open")
        async with rows_held_up(backends.database.owner_url):
            await client.client_pause(4000)
            assert set(await asyncio.gather(*ending)) == {"whole"}
            await asyncio.sleep(0.2)
            assert not session.socket.closed
            process.send_signal(signal.SIGKILL)
            process.wait()
            await asyncio.gather(*streams)
            journal = tmp_path / "killed" / "journal"
            shutil.move(journal, tmp_path / "found later")
        await client.ping()
        assert len(await redis_state.open_leases(caller.account_id)) == STREAMS

        state_dir = tmp_path / "survivor"
        start_gateway(redis_url=valkey.url(), state_dir=state_dir)
        await wait_until(
            lambda: _has_leases(redis_state, caller, 0), "the slots", timeout_s=REAPED_WITHIN_S, pause_s=0.5
        )
        assert (await redis_state.counter(caller.account_id, f"c|k{caller.key_id}"))[0] == 0
        await wait_until(lambda: _has_rows(pool, caller, STREAMS, 0), "the estimates")
        await _assert_reaped_as_charged(usage, talker, pool, redis_state)
        day = f"R|k{caller.key_id}|day"
        tokens = f"T|s{await _subscription(pool, caller)}|month"
        assert (await redis_state.counter(caller.account_id, day))[1:3] == [STREAMS, 0]
        estimated = (await redis_state.counter(caller.account_id, tokens))[1]
        assert estimated == await _sum_tokens(pool, caller)

        for found in (tmp_path / "found later").iterdir():
            shutil.move(found, state_dir / "journal" / found.name)
        await wait_until(lambda: _has_rows(pool, caller, STREAMS - 10, 10), "the journal", timeout_s=15)
        await wait_until(lambda: _counts(redis_state, pool, caller, tokens), "the counters to follow")

    rows = await pool.fetch("SELECT ending, estimated_why FROM usage_logs WHERE account_id = $1", caller.account_id)
    assert Counter(map(tuple, rows)) == {("upstream_error", "reaped"): STREAMS - 10, ("completed", None): 10}
    assert await _sum_tokens(pool, caller) < estimated
    assert await _sum_tokens(pool, caller) == await _sum_tokens(pool, caller, table="usage_quarter_hours")
    assert await _sum_tokens(pool, caller) == await _sum_tokens(pool, caller, table="usage_days")


async def _open_session(caller: Caller) -> tuple[RealtimeSession, dict[str, Any]]:
    """A session with charged usage and a response in progress; returns it with the reported usage."""
    socket = await caller.http.ws_connect(f"{caller.url}/v1/realtime?model={MODEL}", headers=caller.authorization)
    session = RealtimeSession(socket)
    usage: dict[str, Any] = (await session.ask("Hello [tokens=3000]"))["response"]["usage"]
    await session.send_text("Go on [tokens=4000] [rate=5]")
    await session.send("response.create")
    await session.receive_until("response.output_text.delta")
    return session, usage


async def _assert_reaped_as_charged(usage: dict[str, Any], caller: Caller, pool: Pool, redis_state: RedisState) -> None:
    """The usage reported before the gateway died, plus the estimate of the response in progress: the same again."""
    await wait_until(
        lambda: _has_leases(redis_state, caller, 0), "the session's slot", timeout_s=REAPED_WITHIN_S, pause_s=0.5
    )
    await wait_until(lambda: _has_rows(pool, caller, 1, 0), "the session's row")
    row = await pool.fetchrow("SELECT * FROM usage_logs WHERE account_id = $1", caller.account_id)
    assert row is not None
    assert (row["endpoint"], row["ending"], row["estimated_why"]) == ("realtime", "upstream_error", "reaped")
    assert row["counted_tokens"] == 2 * usage["total_tokens"]
    expected = 2 * (1000 * usage["input_tokens"] + 2000 * usage["output_tokens"])
    assert row["cost_nano_usd"] == row["counted_nano_usd"] == expected


async def _stream(caller: Caller, prompt: str) -> str:
    try:
        async with caller.open_chat(prompt, stream=True) as answer:
            async for _ in answer.content.iter_any():
                pass
            return "whole"
    except aiohttp.ClientError:
        return "cut"


async def _is_ready(http: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with http.get(url + "/health/ready") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


async def _has_leases(redis_state: RedisState, caller: Caller, count: int) -> bool:
    return len(await redis_state.open_leases(caller.account_id)) == count


async def _has_rows(pool: Pool, caller: Caller, reaped: int, real: int) -> bool:
    sql = """SELECT count(*) FILTER (WHERE estimated_why = 'reaped') AS reaped, count(*) AS rows
        FROM usage_logs WHERE account_id = $1"""
    row = await pool.fetchrow(sql, caller.account_id)
    return row is not None and (row["reaped"], row["rows"]) == (reaped, reaped + real)


async def _subscription(pool: Pool, caller: Caller) -> int:
    found: int = await pool.fetchval("SELECT id FROM subscriptions WHERE account_id = $1", caller.account_id)
    return found


async def _sum_tokens(pool: Pool, caller: Caller, table: str = "usage_logs") -> int:
    total: int = await pool.fetchval(
        f"SELECT sum(counted_tokens)::bigint FROM {table} WHERE account_id = $1",  # noqa: S608  a name of this file
        caller.account_id,
    )
    return total


async def _counts(redis_state: RedisState, pool: Pool, caller: Caller, field: str) -> bool:
    return (await redis_state.counter(caller.account_id, field))[1] == await _sum_tokens(pool, caller)
