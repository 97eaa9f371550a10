"""All gateways are restarted one after the other under open streams: no stream is cut, and each is settled.

`make rolling` runs it with 200 streams.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from balancer import Balancer
from callers import Caller, MakeCaller
from gateways import Backends, Ledger, RedisState, wait_until

from deploy.embedded.processes import free_port
from deploy.embedded.programs import Program

STREAMS: Final = int(os.environ.get("LITEMAAS_TEST_STREAMS", "20"))
GATEWAYS: Final = 2
# A stream lasts two seconds: longer than the delay, and some begin and end within each restart.
PROMPT: Final = "Tell me [tokens=20] [rate=10]"
DELAY_S: Final = 1
RESTART_S: Final = 60.0


async def _keep_streaming(caller: Caller, ended: list[str], stop: asyncio.Event) -> None:
    """One stream after the other, with what came of each."""
    while not stop.is_set():
        try:
            async with caller.open_chat(PROMPT, stream=True) as answer:
                text = await answer.content.read()
                is_whole = answer.status == 200 and text.endswith(b"data: [DONE]\n\n") and b"error" not in text
                ended.append("whole" if is_whole else f"{answer.status}: {text[-200:]!r}")
        except aiohttp.ClientError as exc:
            ended.append(f"cut: {exc!r}")


async def _restart(program: Program, balancer: Balancer) -> int | None:
    """Its exit code, once it is ready again."""
    os.kill(program.pid, signal.SIGTERM)

    async def has_ended() -> bool:
        return program.child.exit_code is not None

    await wait_until(has_ended, "the gateway to end", timeout_s=RESTART_S)
    code: int | None = program.child.exit_code
    program.launch()
    await asyncio.to_thread(program.wait)
    await wait_until(balancer.has_all, "the balancer to see it", timeout_s=RESTART_S)
    return code


@pytest.fixture
async def gateways(backends: Backends, tmp_path: Path) -> AsyncIterator[list[Program]]:
    programs = []
    for number in range(GATEWAYS):
        folder = tmp_path / f"gateway{number}"
        folder.mkdir()
        program = Program(folder, "gateway", free_port())
        program.env = backends.environment(
            LITEMAAS_STATE_DIR=str(folder / "state"), LITEMAAS_SHUTDOWN_DELAY_S=str(DELAY_S)
        )
        program.launch()
        programs.append(program)
    await asyncio.gather(*(asyncio.to_thread(program.wait) for program in programs))
    yield programs
    for program in programs:
        await asyncio.to_thread(program.stop)


@pytest.mark.timeout(300)
async def test_a_rolling_restart_cuts_no_stream_and_leaves_none_unsettled(
    make: MakeCaller, gateways: list[Program], ledger: Ledger, redis_state: RedisState
) -> None:
    caller, ended, stop = await make("demo-chat"), [], asyncio.Event()
    balancer = Balancer(gateways)
    async with balancer.running() as url:
        await wait_until(balancer.has_all, "the balancer to see all")
        streams = [asyncio.ensure_future(_keep_streaming(caller.at(url), ended, stop)) for _ in range(STREAMS)]
        codes: list[Any] = [await _restart(program, balancer) for program in gateways]
        stop.set()
        await asyncio.gather(*streams)

    assert codes == [0] * GATEWAYS
    assert balancer.without_program == 0
    assert [one for one in ended if one != "whole"] == []
    assert len(ended) > 2 * STREAMS
    rows = await ledger.rows(caller.account_id, len(ended))
    assert {row["ending"] for row in rows} == {"completed"}
    assert {row["completion_tokens"] for row in rows} == {20}
    await redis_state.wait_until_settled(caller.account_id)
    assert await redis_state.open_leases(caller.account_id) == []
