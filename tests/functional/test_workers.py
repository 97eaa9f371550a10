"""`litemaas gateway --workers 2`: a change holds in both within a second, and their metrics add up."""

import asyncio
import os
import platform
import re
import resource
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.metadata import version
from pathlib import Path

import aiohttp
import httpx2
import pytest
from callers import Caller, make_caller
from factories import ADMIN
from gateways import Backends, Ledger, RedisState, wait_until
from held_up_rows import rows_held_up
from workers import Workers, ask, call_each

from admin_api.open_files import open_files_allowed
from admin_api.operations import subscriptions
from admin_api.operations.keys import keys
from admin_api.operations.models import models
from admin_api.operations.people import users
from gateway.storage.postgres import Pool
from gateway.tasks.measure import MEASURE_S

HOLDS_WITHIN_S = 1.0


@pytest.fixture(scope="module")
async def workers(backends: Backends, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Workers]:
    folder = tmp_path_factory.mktemp("workers")
    running = Workers(backends, folder, LITEMAAS_STATE_DIR=str(folder / "state"), TMPDIR=str(folder))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        # As container engines do: a program that is started has this one, too.
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
        running.program.launch()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    try:
        await running.wait()
        yield running
    finally:
        running.program.stop()


@pytest.fixture
async def caller(pool: Pool, workers: Workers, http: aiohttp.ClientSession) -> Caller:
    return await make_caller(pool, workers.url, http, ["demo-chat"])


async def subscription_of(pool: Pool, caller: Caller) -> int:
    found: int = await pool.fetchval("SELECT id FROM subscriptions WHERE account_id = $1", caller.account_id)
    return found


async def revoke(pool: Pool, caller: Caller) -> None:
    await keys.revoke_key(pool, ADMIN, caller.key_id)


async def suspend(pool: Pool, caller: Caller) -> None:
    await subscriptions.change_subscription(
        pool, ADMIN, await subscription_of(pool, caller), "suspend", reason="too loud"
    )


async def deactivate(pool: Pool, caller: Caller) -> None:
    await users.update_user(pool, ADMIN, caller.email, status="deactivated")


async def forbid(pool: Pool, caller: Caller) -> None:
    await caller.limit("requests", 0, window="day")


async def disable(pool: Pool, caller: Caller) -> None:
    await models.update_model(pool, ADMIN, "demo-chat", enabled=False)


async def enable(pool: Pool) -> None:
    await models.update_model(pool, ADMIN, "demo-chat", enabled=True)


@pytest.mark.parametrize(("change", "code"), [
    (revoke, "invalid_api_key"),
    (suspend, "subscription_suspended"),
    (deactivate, "account_suspended"),
    (forbid, "insufficient_quota"),
    (disable, "model_not_found"),
])  # fmt: skip
async def test_a_change_holds_in_every_worker_within_a_second(
    change: Callable[[Pool, Caller], Awaitable[None]], code: str, workers: Workers, caller: Caller, pool: Pool
) -> None:
    with workers.connections() as connections:
        assert len(connections) == 2
        # Both have cached the key now.
        assert [ask(connection, caller).status for connection in connections.values()] == [200, 200]
        try:
            await change(pool, caller)
            changed_at = time.monotonic()
            for connection in connections.values():
                while (response := await asyncio.to_thread(ask, connection, caller)).status == 200:
                    assert time.monotonic() - changed_at < HOLDS_WITHIN_S
                assert response.code == code
            assert time.monotonic() - changed_at < HOLDS_WITHIN_S
        finally:
            await enable(pool)
        if change is disable:
            enabled_at = time.monotonic()
            for connection in connections.values():
                while (await asyncio.to_thread(ask, connection, caller)).status != 200:
                    assert time.monotonic() - enabled_at < HOLDS_WITHIN_S
            return
    assert {response.status for response in await asyncio.to_thread(call_each, workers, caller)} != {200}


async def test_a_new_key_works_at_once_in_every_worker(workers: Workers, caller: Caller) -> None:
    assert [response.status for response in await asyncio.to_thread(call_each, workers, caller)] == [200, 200]


async def test_a_limit_is_one_for_all_workers(workers: Workers, caller: Caller) -> None:
    await caller.limit("rpm", 5)

    answers = await caller.chats(20)

    assert sorted(response.status for response in answers) == [200] * 5 + [429] * 15


def scrape(workers: Workers) -> str:
    """What Prometheus reads. Blocking."""
    return httpx2.get(workers.program.metrics_url, trust_env=False).raise_for_status().text


def total(text: str, name: str) -> float:
    """The sum of a metric over its labels."""
    return sum(float(value) for value in re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE))


async def test_a_scrape_has_the_sum_of_all_workers(workers: Workers, caller: Caller) -> None:
    await until_still(workers, "litemaas_calls_total")
    with workers.connections() as connections:
        one, other = connections.values()
        before = scrape(workers)
        for connection, calls in ((one, 3), (other, 4)):
            for _ in range(calls):
                assert (await asyncio.to_thread(ask, connection, caller, "Hello [tokens=2]")).status == 200

        # A call is counted after its response, when its row is in the journal.
        async def are_counted() -> bool:
            counted = total(scrape(workers), "litemaas_calls_total")
            return counted - total(before, "litemaas_calls_total") >= 7

        await wait_until(are_counted, "all calls to be counted", timeout_s=5)

    text = scrape(workers)
    assert total(text, "litemaas_calls_total") - total(before, "litemaas_calls_total") == 7
    assert 'litemaas_calls_total{ending="completed",endpoint="chat_completions",status="200"}' in text
    assert total(text, "litemaas_first_byte_seconds_count") - total(before, "litemaas_first_byte_seconds_count") == 7
    assert total(text, "litemaas_calls_in_flight") == 0


async def until_still(workers: Workers, name: str) -> float:
    """The sum of a metric, once all that happened before is in it: each worker writes once a second."""
    before = -1.0

    async def is_still() -> bool:
        nonlocal before
        last, before = before, total(await asyncio.to_thread(scrape, workers), name)
        return last == before

    await wait_until(is_still, f"{name} to be up to date", timeout_s=20, pause_s=2 * MEASURE_S)
    return before


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


async def test_a18_build_and_process_metrics_are_of_all_workers(workers: Workers) -> None:
    async def are_measured() -> bool:
        return total(await asyncio.to_thread(scrape, workers), "process_open_fds") > 0

    await wait_until(are_measured, "the workers to measure themselves")
    text = scrape(workers)
    memory = sum(map(resident_bytes, workers.pids))
    now_s = time.time()

    assert f'litemaas_build_info{{python="{platform.python_version()}",version="{version("litemaas")}"}} 1.0' in text
    assert total(text, "litemaas_workers") == 2
    assert total(text, "litemaas_redis_connected") == 2
    # Two of about the same size: neither one of them, nor their parent too.
    assert 0.8 * memory < total(text, "process_resident_memory_bytes") < 1.2 * memory
    assert now_s - 3600 < total(text, "process_start_time_seconds") <= now_s
    # The soft limit that it was started with is lower.
    assert total(text, "process_max_fds") == open_files_allowed()


async def test_a_metrics_file_a_killed_worker_left_incomplete_fails_no_scrape(workers: Workers, caller: Caller) -> None:
    (folder,) = folders_of_metrics(Path(workers.program.env["TMPDIR"]))
    (folder / "counter_4194303.db").touch()
    (folder / "gauge_livesum_4194303.db").touch()

    assert "litemaas_calls_total{" in scrape(workers)


async def test_gauges_include_all_workers(workers: Workers, caller: Caller) -> None:
    def cached() -> float:
        return total(scrape(workers), "litemaas_cached_keys")

    before = await until_still(workers, "litemaas_cached_keys")
    await asyncio.to_thread(call_each, workers, caller)

    async def both_are_seen() -> bool:
        return await asyncio.to_thread(cached) == before + 2

    await wait_until(both_are_seen, "the gauges of both workers", timeout_s=5)


async def test_rows_of_a_killed_worker_are_written_once_by_its_successor(
    workers: Workers, caller: Caller, backends: Backends, ledger: Ledger, redis_state: RedisState
) -> None:
    old = workers.pids
    with workers.connections() as connections:
        # Postgres accepts no rows in between: they are only in the journal.
        async with rows_held_up(backends.database.owner_url):
            victim, connection = next(iter(connections.items()))
            answers = [await asyncio.to_thread(ask, connection, caller) for _ in range(5)]
            await redis_state.wait_until_settled(caller.account_id)
            os.kill(victim, signal.SIGKILL)

    async def is_replaced() -> bool:
        return len(workers.pids) == 2 and victim not in workers.pids

    rows = await ledger.rows(caller.account_id, 5)
    await wait_until(is_replaced, "the supervisor to start another worker", timeout_s=20)
    assert {str(row["request_id"]) for row in rows} == {response.request_id for response in answers}
    assert {row["ending"] for row in rows} == {"completed"}
    # The other worker continues.
    assert workers.pids & old == old - {victim}


async def test_a_killed_worker_is_not_in_the_gauges(workers: Workers, caller: Caller) -> None:
    async def in_flight() -> float:
        async with caller.http.get(workers.program.metrics_url) as answer:
            return total(await answer.text(), "litemaas_calls_in_flight")

    with workers.connections() as connections:
        pids = list(connections)
    streams = [asyncio.ensure_future(caller.chat("[tokens=900] [rate=10]", stream=True)) for _ in range(6)]

    async def all_run() -> bool:
        return await in_flight() == 6

    await wait_until(all_run, "six calls in flight")
    before = total(await asyncio.to_thread(scrape, workers), "process_cpu_seconds_total")
    os.kill(pids[0], signal.SIGKILL)

    async def only_the_living_count() -> bool:
        return await in_flight() == sum(not stream.done() for stream in streams)

    await wait_until(only_the_living_count, "the dead worker's calls to be forgotten")
    # What the dead worker used is used: a counter never falls.
    assert total(await asyncio.to_thread(scrape, workers), "process_cpu_seconds_total") >= before > 0
    for stream in streams:
        stream.cancel()
    await asyncio.gather(*streams, return_exceptions=True)


async def test_sigterm_lets_streams_end_within_the_grace_and_loses_no_row(
    backends: Backends, pool: Pool, http: aiohttp.ClientSession, tmp_path: Path, ledger: Ledger, redis_state: RedisState
) -> None:
    workers = Workers(backends, tmp_path, LITEMAAS_SHUTDOWN_GRACE_S="3", TMPDIR=str(tmp_path))
    try:
        await workers.start()
        caller = await make_caller(pool, workers.url, http, ["demo-chat"])
        short = [asyncio.ensure_future(caller.chat("[tokens=20] [rate=15]", stream=True)) for _ in range(4)]
        long = [asyncio.ensure_future(caller.chat("[tokens=900] [rate=15]", stream=True)) for _ in range(4)]

        async def all_are_open() -> bool:
            return len(await redis_state.open_leases(caller.account_id)) == 8

        await wait_until(all_are_open, "eight open streams")

        assert len(folders_of_metrics(tmp_path)) == 1
        os.kill(workers.program.pid, signal.SIGTERM)
        ended = await asyncio.gather(*short)
        cut = await asyncio.gather(*long)
        await asyncio.to_thread(workers.program.stop)
    finally:
        workers.program.stop()

    assert all(response.events[-1] == "[DONE]" for response in ended)
    assert all(response.events[-1]["error"]["code"] == "shutting_down" for response in cut)
    rows = await ledger.rows(caller.account_id, 8)
    endings = sorted((row["ending"], row["error_code"], row["estimated_why"]) for row in rows)
    assert endings == [("completed", None, None)] * 4 + [("upstream_error", "shutting_down", "cut_off")] * 4
    assert all(row["completion_tokens"] > 15 for row in rows)
    await redis_state.wait_until_settled(caller.account_id)
    assert workers.program.child is not None
    assert workers.program.child.exit_code == 0
    assert folders_of_metrics(tmp_path) == []


def folders_of_metrics(folder: Path) -> list[Path]:
    return list(folder.glob("litemaas-metrics-*"))
