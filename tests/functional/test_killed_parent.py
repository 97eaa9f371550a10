"""`litemaas gateway --workers 2` whose parent is killed: the workers end, too, and leave the port to the next start."""

import asyncio
import os
import signal
from pathlib import Path

import aiohttp
from callers import make_caller
from gateways import Backends, Ledger, RedisState, wait_until
from workers import Workers

from gateway.storage.postgres import Pool


async def test_s7_workers_of_a_killed_parent_drain_and_the_next_start_has_the_port(
    backends: Backends, pool: Pool, http: aiohttp.ClientSession, tmp_path: Path, ledger: Ledger, redis_state: RedisState
) -> None:
    orphaned = Workers(backends, tmp_path, LITEMAAS_STATE_DIR=str(tmp_path / "state"))
    restarted = Workers(backends, tmp_path, port=orphaned.program.port, LITEMAAS_STATE_DIR=str(tmp_path / "state"))
    pids: set[int] = set()
    try:
        await orphaned.start()
        pids = orphaned.pids
        caller = await make_caller(pool, orphaned.url, http, ["demo-chat"])
        streams = [asyncio.ensure_future(caller.chat("[tokens=60] [rate=15]", stream=True)) for _ in range(6)]

        async def are_open() -> bool:
            return len(await redis_state.open_leases(caller.account_id)) == 6

        await wait_until(are_open, "six open streams")
        os.kill(orphaned.program.pid, signal.SIGKILL)

        # Starts while they drain, and serves.
        await restarted.start()
        assert (await caller.chat("[tokens=2]")).status == 200
        assert [response.events[-1] for response in await asyncio.gather(*streams)] == ["[DONE]"] * 6
        await wait_until_ended(pids)
    finally:
        restarted.program.stop()
        orphaned.program.stop()
        kill_all(pids)

    rows = await ledger.rows(caller.account_id, 7)
    assert [row["ending"] for row in rows] == ["completed"] * 7


async def test_s7_workers_that_are_still_starting_end_with_their_parent(backends: Backends, tmp_path: Path) -> None:
    workers = Workers(backends, tmp_path, LITEMAAS_STATE_DIR=str(tmp_path / "state"))
    pids: set[int] = set()
    try:
        workers.program.launch()

        async def are_there() -> bool:
            return len(workers.pids) == 2

        await wait_until(are_there, "two processes", timeout_s=30)
        pids = workers.pids
        os.kill(workers.program.pid, signal.SIGKILL)
        await wait_until_ended(pids)
    finally:
        workers.program.stop()
        kill_all(pids)


async def wait_until_ended(pids: set[int]) -> None:
    async def have_ended() -> bool:
        return not any(is_running(pid) for pid in pids)

    await wait_until(have_ended, "the workers to end", timeout_s=30)


def is_running(pid: int) -> bool:
    """Not a zombie either: nobody may be there to wait for an orphan."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def kill_all(pids: set[int]) -> None:
    for pid in pids:
        if is_running(pid):
            os.kill(pid, signal.SIGKILL)
