"""Every worker is killed and Redis is emptied within a second (S13): each call they had begun has a row."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest
import redis.asyncio
from callers import Caller, make_caller, new_mark
from gateways import Backends, Ledger, RedisState, StartGateway, UpstreamLog, wait_until
from realtime_sessions import MODEL as REALTIME
from realtime_sessions import open_realtime
from recording_upstream import RecordingUpstream
from workers import Workers

from deploy.embedded.valkey import Valkey
from gateway.storage.ledger.begun_calls import read_begun
from gateway.storage.postgres import Pool

STREAMS = 20


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    with Valkey(tmp_path / "valkey") as server:
        yield server


async def test_s13_calls_of_killed_workers_have_rows_though_redis_was_emptied(
    backends: Backends, pool: Pool, http: aiohttp.ClientSession, valkey: Valkey, tmp_path: Path, ledger: Ledger,
    upstream_log: UpstreamLog,
) -> None:  # fmt: skip
    settings = {"LITEMAAS_STATE_DIR": str(tmp_path / "state"), "LITEMAAS_REDIS_URL": valkey.url()}
    workers = Workers(backends, tmp_path, **settings)
    restarted = Workers(backends, tmp_path, **settings)
    try:
        await workers.start()
        caller = await make_caller(pool, workers.url, http, ["demo-chat", REALTIME])
        mark = new_mark()
        ended = [await caller.chat(f"[tokens=2] [mark={mark}]") for _ in range(3)]
        streams = [
            asyncio.ensure_future(head_of_stream(caller, f"[tokens=4000] [rate=5] [mark={mark}]"))
            for _ in range(STREAMS)
        ]
        async with open_realtime(caller) as session:
            usage = (await session.ask("Hello [tokens=3000]"))["response"]["usage"]
            await session.send_text("Go on [tokens=4000] [rate=5]")
            await session.send("response.create")
            await session.receive_until("response.output_text.delta")

            async def all_reached_the_model() -> bool:
                return len(await upstream_log.calls(mark=mark)) == STREAMS + 3

            await wait_until(all_reached_the_model, "all streams to reach the model")
            kill(workers)
            async with redis.asyncio.from_url(valkey.url()) as client:
                await client.flushall()
        heads = await asyncio.gather(*streams)

        await restarted.start()
        rows = await ledger.rows(caller.account_id, STREAMS + 4)
    finally:
        workers.program.stop()
        restarted.program.stop()

    known = {str(row["request_id"]) for row in rows}
    assert {call["call_id"] for call in await upstream_log.calls(mark=mark)} <= known
    assert {response.request_id for response in ended} | set(heads) - {""} <= known
    assert sorted(str(row["estimated_why"]) for row in rows) == ["None"] * 3 + ["reaped"] * (STREAMS + 1)
    (of_session,) = (row for row in rows if row["endpoint"] == "realtime")
    # What it was charged so far, and as much again for the response in progress.
    assert of_session["counted_tokens"] == 2 * usage["total_tokens"]


async def test_s13_slots_of_killed_workers_are_free_when_their_calls_are_found(
    backends: Backends, pool: Pool, http: aiohttp.ClientSession, tmp_path: Path, ledger: Ledger,
    redis_state: RedisState, upstream_log: UpstreamLog,
) -> None:  # fmt: skip
    """Where Redis still has the leases, they are closed at once, and not only when they expire."""
    workers = Workers(backends, tmp_path, LITEMAAS_STATE_DIR=str(tmp_path / "state"))
    restarted = Workers(backends, tmp_path, LITEMAAS_STATE_DIR=str(tmp_path / "state"))
    try:
        await workers.start()
        caller = await make_caller(pool, workers.url, http, ["demo-chat"])
        await caller.limit("concurrency", 4)
        await caller.limit("tokens", 10**9, window="day")
        mark = new_mark()
        prompt = f"[tokens=4000] [rate=5] [mark={mark}]"
        streams = [asyncio.ensure_future(head_of_stream(caller, prompt)) for _ in range(4)]

        async def all_reached_the_model() -> bool:
            return len(await upstream_log.calls(mark=mark)) == 4

        # With a lease only, before anything goes upstream, a call is not in the file yet: its lease has to expire.
        await wait_until(all_reached_the_model, "all streams to reach the model")
        assert len(await redis_state.open_leases(caller.account_id)) == 4
        kill(workers)
        await asyncio.gather(*streams)
        await restarted.start()
        rows = await ledger.rows(caller.account_id, 4)
        await redis_state.wait_until_settled(caller.account_id)
        used = (await redis_state.counter(caller.account_id, f"T|k{caller.key_id}|day"))[1]
        again = await caller.at(restarted.url).chat("[tokens=2]")
    finally:
        workers.program.stop()
        restarted.program.stop()

    assert again.status == 200
    assert used == sum(row["counted_tokens"] for row in rows) > 0


async def test_s13_a_call_is_in_the_file_before_its_first_byte_goes_upstream(
    backends: Backends, pool: Pool, http: aiohttp.ClientSession, tmp_path: Path, start_gateway: StartGateway,
    ledger: Ledger,
) -> None:  # fmt: skip
    begun: list[set[str]] = []
    folder = tmp_path / "state" / "journal"

    class Watching(RecordingUpstream):
        async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            (file,) = folder.glob("*.begun")
            begun.append({str(lease.request_id) for _, lease in read_begun(file)})
            await super()._serve(reader, writer)

    async with Watching() as upstream:
        upstream.answer(b'{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}')
        gateway = start_gateway(litellm_urls=upstream.url, state_dir=tmp_path / "state")
        caller = await make_caller(pool, gateway.url, http, ["demo-chat"])
        answers = [await caller.chat() for _ in range(3)]
        await ledger.rows(caller.account_id, 3)
        await gateway.stop_async()

    assert [answer.request_id in seen for answer, seen in zip(answers, begun, strict=True)] == [True] * 3
    assert [path.name for path in folder.iterdir()] == ["kept"]


async def head_of_stream(caller: Caller, prompt: str) -> str:
    """The id of a call that is cut off; empty, where it had no head yet."""
    request_id = ""
    with suppress(aiohttp.ClientError):
        async with caller.open_chat(prompt, stream=True) as answer:
            request_id = answer.headers["x-request-id"]
            await answer.read()
    return request_id


def kill(workers: Workers) -> None:
    """All of them, and their parent, before it can start others."""
    os.kill(workers.program.pid, signal.SIGSTOP)
    for pid in workers.pids:
        os.kill(pid, signal.SIGKILL)
    os.killpg(workers.program.pid, signal.SIGKILL)
